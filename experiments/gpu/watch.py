"""Peak memory of a process while it runs: what the driver reports of the device or, dry, what the host holds of it."""

import os
import subprocess
import threading


def device_query(fields):
    """Words of nvidia-smi for the first device that a program sees; [] without one."""
    device = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0] or "0"
    try:
        said = subprocess.run(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits", "-i", device],
                              capture_output=True, text=True, timeout=3)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [word.strip() for word in said.stdout.split(",")] if said.returncode == 0 else []


def device_bytes():
    words = device_query("memory.used")
    return int(words[0]) << 20 if words else 0


def host_bytes(pid):
    try:
        with open(f"/proc/{pid}/status") as status:
            return next((int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS")), 0)
    except OSError:
        return 0


class Watch:
    """with Watch(pid, dry) as watch: ...; watch.peak is in bytes, above what was there before on a device."""

    def __init__(self, pid, dry, every=0.2):
        self.read = (lambda: host_bytes(pid)) if dry else device_bytes
        self.before = 0 if dry else device_bytes()
        self.every, self.peak, self.ended = every, 0, threading.Event()
        self.thread = threading.Thread(target=self.loop, daemon=True)

    def loop(self):
        while not self.ended.wait(self.every):
            self.peak = max(self.peak, self.read() - self.before)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
