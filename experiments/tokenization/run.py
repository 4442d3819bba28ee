#!/usr/bin/env python3
"""Batch tokenization: Prentice against the crate's own Python binding, same texts, same number of threads, rounds taken
in turns so that both meet the same load. Prints a table and writes result.json beside this file.

usage: PRENTICE_BUILD=build experiments/tokenization/run.py [--rounds N] [--threads N...]
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("PRENTICE_TEST_DATA", ROOT / "../shared/data")).resolve()
BINARY = Path(os.environ.get("PRENTICE_BUILD", ROOT / "build")).resolve() / "test_text"
TOKENIZERS = ["tokenizers/gpt2_hf_json", "tokenizers/smollm_hf_json", "models/stories260K-hf"]

REFERENCE = """
import sys, time
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(sys.argv[1])
tokenizer.no_truncation(); tokenizer.no_padding()
texts = open(sys.argv[2], encoding="utf-8", newline="\\n").read().split("\\n")[:-1]
size = sum(len(t.encode()) for t in texts)
for offsets, encode in ((0, tokenizer.encode_batch_fast), (1, tokenizer.encode_batch)):
    wall = cpu = 1e9
    for _ in range(3):
        start, start_cpu = time.perf_counter(), time.process_time()
        out = encode(texts)
        wall, cpu = min(wall, time.perf_counter() - start), min(cpu, time.process_time() - start_cpu)
    print(f"SPEED offsets={offsets} ids={sum(len(e.ids) for e in out)} wall={size / wall / 1e6:.3f} cpu={size / cpu / 1e6:.3f}")
"""


def texts(path):
    rows = []
    for line in (DATA / "datasets/tinystories/train.jsonl").read_text().splitlines()[:300]:
        rows.append(json.loads(line)["text"])
    for line in (DATA / "datasets/gsm8k/train.jsonl").read_text().splitlines()[:600]:
        rows.append(" ".join(str(v) for v in json.loads(line).values()))
    rows += [line for line in (DATA / "datasets/wikitext2/valid.txt").read_text().splitlines() if line.strip()][:600]
    path.write_text("".join(row.replace("\n", " ").replace("\r", " ") + "\n" for row in rows), newline="\n")
    return len(rows), path.stat().st_size


def measure(command, environment):
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    found = re.findall(r"SPEED offsets=(\d) ids=(\d+) wall=([\d.]+) cpu=([\d.]+)", done.stdout)
    return {int(o): (int(i), float(w), float(c)) for o, i, w, c in found}


def both_sides(name, lines, threads):
    """({offsets: (ids, wall MB/s, CPU MB/s)} of the crate's Python binding, the same of Prentice), one after the other."""
    reference = measure([sys.executable, "-c", REFERENCE, DATA / name / "tokenizer.json", lines], {"RAYON_NUM_THREADS": str(threads)})
    ours = measure([BINARY, "--gtest_filter=BatchSpeed.*"],
                   {"PRENTICE_SPEED_TOKENIZER": str(DATA / name), "PRENTICE_SPEED_TEXT": str(lines), "PRENTICE_SPEED_THREADS": str(threads)})
    for offsets in (0, 1):
        assert reference[offsets][0] == ours[offsets][0], f"{name}: {reference[offsets][0]} ids against {ours[offsets][0]}"
    return reference, ours


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count()])
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "lines.txt"
        count, size = texts(lines)
        print(f"{count} rows, {size / 1e6:.2f} MB; medians of {options.rounds} rounds, MB/s by wall clock and by CPU time\n")
        print("| tokenizer | threads | offsets | crate | Prentice | ratio by CPU time (range) | ratio by wall clock (range) |")
        print("|---|---|---|---|---|---|---|")
        for name in TOKENIZERS:
            for threads in options.threads:
                rounds = [both_sides(name, lines, threads) for _ in range(options.rounds)]
                for offsets in (0, 1):
                    row = {"tokenizer": name, "threads": threads, "offsets": bool(offsets), "rows": count, "bytes": size}
                    for side, label in ((0, "crate"), (1, "prentice")):
                        row[label] = {unit: [r[side][offsets][k] for r in rounds] for k, unit in ((1, "wall"), (2, "cpu"))}
                    results.append(row)
                    print(table_line(row), flush=True)
    (Path(__file__).parent / "result.json").write_text(json.dumps(results, indent=1) + "\n")


def table_line(row):
    def side(label):
        return " / ".join(f"{statistics.median(row[label][unit]):.2f}" for unit in ("wall", "cpu"))

    def ratio(unit):
        ratios = [b / a for a, b in zip(row["crate"][unit], row["prentice"][unit])]
        return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"

    return (f"| {row['tokenizer']} | {row['threads']} | {'yes' if row['offsets'] else 'no'} | {side('crate')} | {side('prentice')} "
            f"| {ratio('cpu')} | {ratio('wall')} |")


if __name__ == "__main__":
    main()
