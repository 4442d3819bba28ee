"""What a teacher is worth at equal steps: stories260K teaches a smaller Llama of random weights on TinyStories; see README.

    python experiments/distill/run.py SHARED_DATA [--binary build/prentice] [--rows 100] [--steps 800] [--tails] [--only NAME ...]
        [--tokenizer FILE.model]    # a teacher with this vocabulary is trained on the same rows first

Each run's figures go into result.json (tails.json) as soon as it ends; --only makes some runs anew and keeps the others' figures.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from sentencepiece import SentencePieceProcessor

ROOT = Path(__file__).resolve().parents[2]
STUDENT = {"hidden_size": 48, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
           "num_key_value_heads": 2}
TEACHER = {"hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 4, "num_attention_heads": 8,
           "num_key_value_heads": 4}  # of another vocabulary
HELD_OUT = 100  # rows
LIVE, STORE = "distill.teacher=TEACHER", "distill.teacher=STORE"  # the store holds 50 entries a token at most
ON_POLICY = ["distill.on_policy=0.25", "distill.max_new_tokens=64"]
# name -> (kind, settings)
RUNS = {
    "hard labels": ("sft", []),
    "live": ("distill", [LIVE]),
    "live, distillation alone": ("distill", [LIVE, "distill.weight=1"]),
    "stored, k = 50": ("distill", [STORE]),
    "stored, k = 50, renormalized": ("distill", [STORE, "distill.tail=renormalize"]),
    "stored, k = 5": ("distill", [STORE, "distill.top_k=5"]),
    "stored, k = 5, renormalized": ("distill", [STORE, "distill.top_k=5", "distill.tail=renormalize"]),
    "on-policy, 1/4 of the examples": ("distill", [LIVE, *ON_POLICY]),
}
# What a tail is worth, without labels beside it.
TAILS = {f"k = {k}, {name}": ("distill", [STORE, f"distill.top_k={k}", f"distill.tail={tail}", "distill.weight=1"])
         for k in (50, 5) for name, tail in (("tail as an event", "event"), ("renormalized", "renormalize"))}


def make_student(folder, teacher):
    """The teacher's folder without weights, its shape narrower."""
    shutil.copytree(teacher, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((folder / "config.json").read_text())
    config.pop("head_dim", None)
    (folder / "config.json").write_text(json.dumps({**config, **STUDENT}))


def make_teacher(binary, folder, like, tokenizer, words):
    """A Llama with the vocabulary of a SentencePiece file, trained for three epochs; -> its folder."""
    shape = folder / "shape"
    shutil.copytree(like, shape, ignore=shutil.ignore_patterns("*.safetensors", "tokenizer.*"))
    shutil.copyfile(tokenizer, shape / "tokenizer.model")
    config = json.loads((shape / "config.json").read_text())
    del config["head_dim"]
    pieces = SentencePieceProcessor(str(tokenizer)).vocab_size()
    (shape / "config.json").write_text(json.dumps({**config, **TEACHER, "vocab_size": pieces}))
    run(binary, folder, "pretrain", "model.path=shape", "model.init=random", "train.batch=4", "train.epochs=3", "optim.lr=2e-3",
        "export.merged=f32", "export.verify=false", "run.out=teacher", *words)
    return folder / "teacher/merged"


def run(binary, folder, *words):
    return subprocess.run([binary, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def figures(out):
    """Of a run's metrics: [(step, held-out loss)], and the mean share of a step that waited for data."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    shares = [line["data_share"] for line in lines if "data_share" in line]
    return [(line["step"], line["eval.loss"]) for line in lines if "eval.loss" in line], sum(shares) / len(shares)


def write_store(binary, folder, teacher, words):
    """-> the store, and its bytes per token."""
    made = json.loads(run(binary, folder, "teach", f"model.path={teacher}", "run.out=teach", "--json", *words))
    return folder / "teach/store", made["bytes_per_token"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--binary", type=Path, default=ROOT / "build/prentice")
    parser.add_argument("--rows", type=int, default=100, help="to train on")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--tails", action="store_true", help="the runs of the tail instead of those of the teacher")
    parser.add_argument("--tokenizer", type=Path, help="train a teacher of this SentencePiece vocabulary instead of stories260K")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--result", type=Path, help="default: result.json here, or tails.json")
    given = parser.parse_args()
    result = given.result or ROOT / f"experiments/distill/{'tails' if given.tails else 'result'}.json"
    binary, teacher = given.binary.resolve(), (given.data / "models/stories260K-hf").resolve()
    common = [f"data.train={(given.data / 'datasets/tinystories/train.jsonl').resolve()}", "run.device=cpu", "run.precision=f32",
              "run.threads=1"]
    setting = {"rows": given.rows, "held_out_rows": HELD_OUT, "steps": given.steps, "seed": given.seed, "student": STUDENT}
    found = json.loads(result.read_text()) if result.exists() else {}
    runs = found["runs"] if all(found.get(key) == value for key, value in setting.items()) else {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if given.tokenizer:
            teacher = make_teacher(binary, folder, teacher, given.tokenizer.resolve(),
                                   [*common, f"data.limit={given.rows + HELD_OUT}", f"data.eval_split={HELD_OUT}"])
            setting["teacher"] = {**TEACHER, "tokenizer": given.tokenizer.name, "losses": figures(folder / "teacher")[0]}
        make_student(folder / "student", teacher)
        store = bytes_per_token = None
        for name, (kind, settings) in (TAILS if given.tails else RUNS).items():
            if given.only and name not in given.only:
                continue
            stored = STORE in settings
            if stored and not store:
                store, bytes_per_token = write_store(binary, folder, teacher, common)
            words = [word.replace("TEACHER", str(teacher)).replace("STORE", str(store)) for word in settings]
            out = folder / f"run-{len(runs)}"
            run(binary, folder, kind, "model.path=student", "model.init=random", "adapter.kind=full", *common,
                f"data.limit={given.rows + HELD_OUT}", f"data.eval_split={HELD_OUT}", f"train.steps={given.steps}", "train.batch=4",
                f"train.eval_every={given.steps // 4}", "optim.lr=5e-3", f"run.seed={given.seed}", "export.verify=false",
                f"run.out={out}", *words)
            losses, waited = figures(out)
            runs[name] = {"settings": settings, "losses": losses, "data_share": waited,
                          "bytes_per_token": bytes_per_token if stored else None}
            shutil.rmtree(out)
            result.write_text(json.dumps({**setting, "runs": runs}, indent=1) + "\n")
            print(f"{name:32} {'  '.join(f'{loss:.4f}' for _, loss in losses)}   data wait {100 * waited:.2f} %", flush=True)


if __name__ == "__main__":
    main()
