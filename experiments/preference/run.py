"""DPO of a tiny model on real pairs, shortened to its window; every pair is held back once, in one of five folds; see README.

    python experiments/preference/run.py SHARED_DATA [--binary build/prentice] [--only NAME ...]

A way's figures go into result.json as soon as its folds are done; --only makes some anew and keeps the others'.
"""

import argparse
import json
import math
import random
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDS = 5
LETTERS = 300  # of a prompt and of an answer: about 150 tokens of a vocabulary of 512
COMMON = ["data.chat=off", "data.overlong=drop", "train.batch=16", "train.eval_every=100000", "run.device=cpu",
          "run.precision=f32", "run.threads=1", "--quiet"]
FULL = ["adapter.kind=full", "export.peft=false", "preference.reference=precomputed", "optim.warmup=0.1", "optim.lr=1e-4"]
WAYS = {
    "LoRA, 1 epoch": ["optim.lr=5e-4", "train.epochs=1"],
    "all weights, 1 epoch": [*FULL, "train.epochs=1"],
    "all weights, 3 epochs": [*FULL, "train.epochs=3"],
}


def shortened(row):
    """The end of the last question, the beginning of the answers; a line end closes the prompt, so that no token straddles it."""
    return {"prompt": row["conversations"][-1]["value"].strip()[-LETTERS:] + "\n",
            "chosen": row["chosen"]["value"].strip()[:LETTERS], "rejected": row["rejected"]["value"].strip()[:LETTERS]}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def train_fold(binary, model, folder, train_rows, held_rows, words):
    """-> {"pairs", "steps", "before", "after", "margin", "last_batch"}: accuracies and the mean margin of the rewards."""
    rows, held = write(folder / "train.jsonl", train_rows), write(folder / "held.jsonl", held_rows)
    subprocess.run([binary, "dpo", f"model.path={model}", f"data.train={rows}", f"data.eval={held}", f"run.out={folder / 'out'}",
                    *COMMON, *words], check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (folder / "out/metrics.jsonl").open()]
    held_lines = [line for line in lines if "eval.accuracy" in line]
    held_back = json.loads((folder / "out/eval.json").read_text())["tasks"]["preference"]
    return {"pairs": held_back["count"], "steps": lines[-1]["step"], "before": held_lines[0]["eval.accuracy"],
            "after": held_lines[-1]["eval.accuracy"], "margin": held_back["margin"],
            "last_batch": [line["accuracy"] for line in lines if "accuracy" in line][-1]}


def interval(share, count):
    """Wilson's, at 95 %."""
    z = 1.959964
    centre, half = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return [(centre - half) / (1 + z * z / count), (centre + half) / (1 + z * z / count)]


def all_folds(binary, model, rows, words):
    found = []
    for fold in range(FOLDS):
        with tempfile.TemporaryDirectory() as folder:
            train_rows = [row for i, row in enumerate(rows) if i % FOLDS != fold]
            found.append(train_fold(binary, model, Path(folder), train_rows, rows[fold::FOLDS], words))
    count = sum(fold["pairs"] for fold in found)
    mean = {key: sum(fold[key] * fold["pairs"] for fold in found) / count for key in ("before", "after", "margin", "last_batch")}
    return {"words": words, "held_back_pairs": count, "steps": found[0]["steps"], **mean, "interval": interval(mean["after"], count)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--binary", type=Path, default=ROOT / "build/prentice")
    parser.add_argument("--only", nargs="*", default=WAYS)
    parser.add_argument("--result", type=Path, default=ROOT / "experiments/preference/result.json")
    given = parser.parse_args()
    rows = [shortened(row) for row in json.loads((given.data / "datasets/llamafactory_demo/dpo_en_demo.json").read_text())]
    rows = [row for row in rows if row["chosen"] != row["rejected"]]
    random.Random(1).shuffle(rows)
    ways = json.loads(given.result.read_text())["ways"] if given.result.exists() else {}
    for name in given.only:
        ways[name] = all_folds(given.binary.resolve(), (given.data / "models/stories260K-hf").resolve(), rows, WAYS[name])
        given.result.write_text(json.dumps({"pairs": len(rows), "letters": LETTERS, "folds": FOLDS, "ways": ways}, indent=1) + "\n")
        print(name, ways[name], flush=True)


if __name__ == "__main__":
    main()
