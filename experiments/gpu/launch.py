"""One program of a step: its output in a log, its peak memory watched, killed with all it started when its time is over."""

import os
import signal
import subprocess
import time

from watch import Watch


def end(process):
    """One that waits for the driver may not even be killed: then it is left behind."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=3)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass


def launch(command, seconds, log, folder, environment, dry):
    """(exit status, None where it was killed; output; seconds; peak bytes)."""
    begin = time.monotonic()
    with open(log, "w") as sink:  # a file, not a pipe: what a killed program leaves running may hold a pipe open
        process = subprocess.Popen([str(word) for word in command], cwd=folder, stdin=subprocess.DEVNULL, stdout=sink,
                                   stderr=subprocess.STDOUT, env=environment, start_new_session=True)
    try:
        with Watch(process.pid, dry) as watch:
            try:
                status = process.wait(timeout=max(0.5, seconds))
            except subprocess.TimeoutExpired:
                status = None
    finally:
        end(process)  # what it left running, too
    return status, log.read_text(errors="replace"), time.monotonic() - begin, watch.peak
