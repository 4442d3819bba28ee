"""What is served of what was trained: three ways from one base to a file of four bits; see README.

    python experiments/served/run.py SHARED_DATA [--binary build/prentice] [--types Q4_K_M] [--epochs 2] [--rows 1000]

Each way's figures go into result.json as soon as it ends.
"""

import argparse
import csv
import json
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHAPE = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4}
FILE = "datasets/bitext_support/Bitext_Sample_Customer_Service_{}_Dataset.csv"


def run(binary, folder, *words):
    return subprocess.run([binary, *map(str, words)], cwd=folder, check=True, capture_output=True, text=True).stdout


def sample(data, part, rows, seed, path):
    """Rows drawn from a file that is sorted by intent."""
    with open(data / FILE.format(part), newline="", encoding="utf-8") as stream:
        found = [{"prompt": row["utterance"] + " ->", "completion": " " + row["intent"]} for row in csv.DictReader(stream)]
    random.Random(seed).shuffle(found)
    path.write_text("".join(json.dumps(row) + "\n" for row in found[:rows]))
    return path


def pretrain(binary, folder, data, epochs, words):
    """A Llama of width 256 with stories260K's vocabulary, on TinyStories; -> its folder and its held-out loss."""
    shape = folder / "shape"
    shutil.copytree(data / "models/stories260K-hf", shape, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((shape / "config.json").read_text())
    config.pop("head_dim", None)
    (shape / "config.json").write_text(json.dumps({**config, **SHAPE}))
    run(binary, folder, "pretrain", "model.path=shape", "model.init=random", f"data.train={data / 'datasets/tinystories/train.jsonl'}",
        "data.eval_split=56", "train.batch=8", f"train.epochs={epochs}", "optim.lr=2e-3", "export.merged=f32", "export.verify=false",
        "run.out=base", *words)
    lines = [json.loads(line) for line in (folder / "base/metrics.jsonl").read_text().splitlines()]
    return folder / "base/merged", [line["eval.loss"] for line in lines if "eval.loss" in line][-1]


def scores(report):
    tasks = json.loads(Path(report).read_text())["tasks"]
    return {"loss": tasks["loss"]["mean"], "accuracy": tasks["choice"]["accuracy"]}


def scored(binary, folder, model, words):
    run(binary, folder, "eval", f"model.path={model}", "run.out=score", *words)
    found = scores(folder / "score/eval.json")
    shutil.rmtree(folder / "score")
    return found


def tune(binary, folder, model, name, words):
    run(binary, folder, "sft", f"model.path={model}", f"run.out={name}", "export.name=x", *words)
    return folder / name


def proof(out):
    """Of verify.json: KLD of the file from what was trained, and what is left of the update."""
    report = json.loads((out / "verify.json").read_text())
    left = report["delta_survival"][0] if report["delta_survival"] else {}
    return {"kld": report.get("kld_mean"), "top1": report.get("top1"), **{key: left.get(key) for key in ("survival", "alignment", "noise")}}


def ways(binary, folder, base, kind, train, score):
    """Calls back (name, figures) for each way to a file of type `kind`."""
    out = tune(binary, folder, base, "merge", [*train, f"export.gguf=[{kind}]"])
    file = out / f"gguf/x-{kind}.gguf"
    yield "LoRA, merged, then rounded", {"trained": scores(out / "eval.json"), "served": scored(binary, folder, file, score), **proof(out)}
    run(binary, folder, "export", f"model.path={base}", f"export.gguf=[{kind}]", "export.name=base", "run.out=rounded")
    rounded = folder / f"rounded/gguf/base-{kind}.gguf"
    before = scored(binary, folder, rounded, score)
    out = tune(binary, folder, rounded, "beside", [*train, "export.gguf_adapter=true"])
    served = scored(binary, folder, f"{rounded}+{out / 'adapter'}", score)
    yield "LoRA on the rounded base, beside it", {"trained": scores(out / "eval.json"), "served": served, "base": before}
    out = tune(binary, folder, base, "qat", [*train, f"adapter.qat={kind}", f"export.gguf=[{kind}]"])
    file = out / f"gguf/x-{kind}.gguf"
    yield "adapter.qat, merged", {"trained": scores(out / "eval.json"), "served": scored(binary, folder, file, score), **proof(out)}
    for name in ("merge", "rounded", "beside", "qat"):
        shutil.rmtree(folder / name)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--binary", type=Path, default=ROOT / "build/prentice")
    parser.add_argument("--types", nargs="+", default=["Q4_K_M"])
    parser.add_argument("--epochs", type=float, default=2, help="of TinyStories")
    parser.add_argument("--rows", type=int, default=1000, help="to tune on")
    parser.add_argument("--tuning-epochs", type=float, default=2, help="of those rows")
    parser.add_argument("--lr", type=float, default=5e-3, help="of the tuning")
    parser.add_argument("--rank", type=int, default=16, help="of the adapter, and its alpha")
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--folder", type=Path, help="a base that an earlier call trained is taken from it")
    parser.add_argument("--result", type=Path, default=ROOT / "experiments/served/result.json")
    given = parser.parse_args()
    binary, data = given.binary.resolve(), given.data.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder.resolve() if given.folder else Path(scratch)
        folder.mkdir(exist_ok=True)
        machine = ["run.device=cpu", "run.precision=f32", "run.threads=2", f"run.seed={given.seed}"]
        known = folder / "loss.json"
        if known.exists():
            base, loss = folder / "base/merged", json.loads(known.read_text())
        else:
            base, loss = pretrain(binary, folder, data, given.epochs, machine)
            known.write_text(json.dumps(loss))
        train, test = (sample(data, part, rows, given.seed, folder / f"{part}.jsonl")
                       for part, rows in (("Training", given.rows), ("Validation", given.held_out)))
        score = [f"data.eval={test}", "data.chat=off", "eval.tasks=[loss,choice]", f"eval.choices={folder / 'intents.txt'}", *machine[:-1]]
        intents = sorted({json.loads(line)["completion"] for line in train.read_text().splitlines()})
        (folder / "intents.txt").write_text("\n".join(intents) + "\n")
        tuning = [*score, machine[-1], f"data.train={train}", "train.batch=8", f"train.epochs={given.tuning_epochs}",
                  f"optim.lr={given.lr}", f"adapter.rank={given.rank}", f"adapter.alpha={given.rank}", "train.eval_every=100000"]
        result = {"shape": SHAPE, "tinystories_epochs": given.epochs, "tinystories_loss": loss, "rows": given.rows,
                  "tuning_epochs": given.tuning_epochs, "lr": given.lr, "rank": given.rank, "held_out": given.held_out, "seed": given.seed,
                  "before": scored(binary, folder, base, score), "ways": {}}
        for kind in given.types:
            for name, figures in ways(binary, folder, base, kind, tuning, score):
                result["ways"][f"{kind}: {name}"] = figures
                given.result.write_text(json.dumps(result, indent=1) + "\n")
                print(f"{kind}: {name:36} {json.dumps(figures)}", flush=True)


if __name__ == "__main__":
    main()
