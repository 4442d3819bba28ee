"""The real program run many times with its start paid once: tests/fork_server.cpp, and what a run of it must keep to."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from conftest import built

MEGABYTE = 1 << 20


@dataclass
class Run:
    code: int
    seconds: float  # of the processor
    out: str
    err: str

    def __str__(self):
        return f"exit {self.code} after {self.seconds:.1f} s\n{self.out[-1000:]}\n{self.err[-3000:]}"


class Forks:
    """`with Forks(folder) as forks: forks.run("inspect", path)`"""

    def __init__(self, folder):
        program = built("prentice_forks")
        self.out = Path(folder) / "run"
        # One thread: the stacks of others would count as memory.
        environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "OMP_NUM_THREADS": "1",
                       "XDG_CACHE_HOME": str(Path(folder) / "cache")}
        self.process = subprocess.Popen([program], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        assert self.process.wait(timeout=60) == 0

    def run(self, *words, megabytes=4096, seconds=30):
        """Above the program's own data when it starts; beyond it an allocation fails."""
        line = "\t".join(map(str, [megabytes, seconds, self.out, *words]))
        assert "\n" not in line
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        code, used = self.process.stdout.readline().split("\t")
        texts = [(self.out.parent / f"run.{end}").read_text(errors="replace") for end in ("out", "err")]
        return Run(int(code), float(used), *texts)
