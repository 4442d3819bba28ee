"""Seconds from the start of the process to the end of its first training step on the quickstart's model, and of verbs that
load no model. Run the quickstart first: its base model is what is trained."""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
VERBS = [["--version"], ["explain", "optim.lr"], ["recipes"], ["validate", "recipes/quickstart.yaml"]]


def run(words):
    return subprocess.run([ROOT / "build/prentice", *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL)


def seconds_of_verb(words):
    start = time.monotonic()
    run(words)
    return time.monotonic() - start


def seconds_to_first_step(base, folder, number):
    """metrics.jsonl says when the step was done, by the clock of the machine."""
    out = folder / f"run-{number}"
    start = time.time()
    run(["run", "recipes/quickstart/sft.yaml", f"model.path={base}", "train.steps=1", "train.epochs=0", "run.device=cpu",
         f"run.out={out}", "--quiet"])
    return next(line for line in map(json.loads, (out / "metrics.jsonl").open()) if "loss" in line)["time"] - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, default=ROOT / "runs/quickstart/pretrain")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rounds = range(-1, options.rounds)  # one to warm the page cache
        times = {"first step": [seconds_to_first_step(options.base.resolve(), Path(name), n) for n in rounds][1:]}
        for words in VERBS:
            times[" ".join(words)] = [seconds_of_verb(words) for _ in rounds][1:]
    for what, seconds in times.items():
        print(f"{what:<32} {statistics.median(seconds):.3f} s  ({min(seconds):.3f} to {max(seconds):.3f})")
    options.out.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "seconds": times}, indent=1) + "\n")


if __name__ == "__main__":
    main()
