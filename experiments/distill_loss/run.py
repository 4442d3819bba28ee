#!/usr/bin/env python3
"""The distillation share in chunks against the same loss written out over all logits: time, and by how much the peak
of resident memory rises. Every figure is a process of its own, and the two forms take turns so that both meet the same
load. Prints tables and writes result.json beside this file.

usage: PRENTICE_BUILD=build experiments/distill_loss/run.py [--rounds N] [--rows N] [--full-rows N]
"""
import argparse
import json
import os
import re
import statistics
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
BINARY = Path(os.environ.get("PRENTICE_BUILD", HERE.parents[1] / "build")).resolve() / "test_objective"
KINDS = [("forward_kl", 1), ("jsd", 1), ("forward_kl", 2)]
HUNGRIEST = ("jsd", 2)  # keeps the most beside the logits
VOCABULARY, WIDTH = 151_936, 256


def measure(form, kind, rows, temperature):
    done = subprocess.run([BINARY, "--gtest_filter=Measure.DistillationFromLogits"], capture_output=True, text=True, check=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1",
                               "PRENTICE_MEASURE": f"{form} {kind} {rows} {VOCABULARY} {WIDTH} {temperature}"})
    wall, cpu, peak, loss = map(float, re.search(r"MEASURED (\S+) (\S+) (\S+) (\S+)", done.stdout).groups())
    return {"wall_seconds": wall, "cpu_seconds": cpu, "peak_megabytes": peak / 1e6, "loss": loss}


def compare(kind, temperature, rows, rounds):
    found = {"chunks": [], "whole": []}
    for turn in range(rounds):
        for form in (("chunks", "whole"), ("whole", "chunks"))[turn % 2]:
            found[form].append(measure(form, kind, rows, temperature))
    ratios = sorted(a["cpu_seconds"] / b["cpu_seconds"] for a, b in zip(found["chunks"], found["whole"]))
    walls = sorted(a["wall_seconds"] / b["wall_seconds"] for a, b in zip(found["chunks"], found["whole"]))
    middle = {form: {key: statistics.median(one[key] for one in runs) for key in runs[0]} for form, runs in found.items()}
    return {"kind": kind, "temperature": temperature, "rows": rows, "rounds": rounds, **middle,
            "cpu_ratio": [ratios[0], statistics.median(ratios), ratios[-1]],
            "wall_ratio": [walls[0], statistics.median(walls), walls[-1]]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=256, help="of the comparison; the whole form needs gigabytes")
    parser.add_argument("--full-rows", type=int, default=4096, help="of the memory figure, in chunks only")
    options = parser.parse_args()
    times = [compare(kind, temperature, options.rows, options.rounds) for kind, temperature in KINDS]
    kind, temperature = HUNGRIEST
    peak = {"kind": kind, "temperature": temperature, "rows": options.full_rows,
            **measure("chunks", kind, options.full_rows, temperature)}
    for one in times:
        low, middle, high = one["cpu_ratio"]
        print(f"{one['kind']} T {one['temperature']}: CPU {one['chunks']['cpu_seconds']:.1f} s in chunks, "
              f"{one['whole']['cpu_seconds']:.1f} s whole, ratio {middle:.2f} ({low:.2f}-{high:.2f}); peak "
              f"{one['chunks']['peak_megabytes']:.0f} and {one['whole']['peak_megabytes']:.0f} MB")
    print(f"{kind} T {temperature}, {options.full_rows} rows in chunks: peak {peak['peak_megabytes']:.0f} MB")
    result = {"vocabulary": VOCABULARY, "width": WIDTH, "threads": 1, "times": times, "peak": peak}
    (HERE / "result.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
