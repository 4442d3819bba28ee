"""What a teacher is worth at equal steps: stories260K teaches a smaller Llama of random weights on TinyStories; see README.

    python experiments/distill/run.py SHARED_DATA [--binary build/prentice] [--steps 300] [--only NAME ...]
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STUDENT = {"hidden_size": 32, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
           "num_key_value_heads": 2}
# name -> (kind, settings); STORE is the teacher's store of 50 entries a token at most
RUNS = {
    "hard labels": ("sft", []),
    "live": ("distill", ["distill.teacher=TEACHER"]),
    "live, distillation alone": ("distill", ["distill.teacher=TEACHER", "distill.weight=1"]),
    "stored, k = 50": ("distill", ["distill.teacher=STORE"]),
    "stored, k = 50, renormalized": ("distill", ["distill.teacher=STORE", "distill.tail=renormalize"]),
    "stored, k = 5": ("distill", ["distill.teacher=STORE", "distill.top_k=5"]),
    "stored, k = 5, renormalized": ("distill", ["distill.teacher=STORE", "distill.top_k=5", "distill.tail=renormalize"]),
    "on-policy, 1/4 of the examples": ("distill", ["distill.teacher=TEACHER", "distill.on_policy=0.25", "distill.loss=jsd",
                                                   "distill.beta=0.1", "distill.weight=0.5", "distill.max_new_tokens=64"]),
}


def make_student(folder, teacher):
    """The teacher's folder without weights, its shape narrower."""
    shutil.copytree(teacher, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((folder / "config.json").read_text())
    del config["head_dim"]
    (folder / "config.json").write_text(json.dumps({**config, **STUDENT}))


def run(binary, folder, *words):
    return subprocess.run([binary, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def held_out(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["eval.loss"] for line in lines if "eval.loss" in line], sum(line.get("data_share", 0) for line in lines) / max(
        1, sum("data_share" in line for line in lines))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--binary", type=Path, default=ROOT / "build/prentice")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", nargs="*")
    given = parser.parse_args()
    binary, teacher = given.binary.resolve(), (given.data / "models/stories260K-hf").resolve()
    rows = f"data.train={(given.data / 'datasets/tinystories/train.jsonl').resolve()}"
    place = ["run.device=cpu", "run.precision=f32", "run.threads=2"]
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_student(folder / "student", teacher)
        store, bytes_per_token = folder / "teach/store", None
        for name, (kind, settings) in RUNS.items():
            if given.only and name not in given.only:
                continue
            if "distill.teacher=STORE" in settings and not store.exists():
                made = json.loads(run(binary, folder, "teach", f"model.path={teacher}", rows, "run.out=teach", "--json", *place))
                bytes_per_token = made["bytes_per_token"]
            words = [word.replace("TEACHER", str(teacher)).replace("STORE", str(store)) for word in settings]
            out = folder / f"run-{len(results)}"
            run(binary, folder, kind, "model.path=student", "model.init=random", "adapter.kind=full", rows, "data.eval_split=100",
                f"train.steps={given.steps}", "train.batch=16", "train.eval_every=100", "optim.lr=3e-3", "export.verify=false",
                f"run.out={out}", *place, *words)
            losses, waited = held_out(out)
            results.append({"run": name, "settings": settings, "before": losses[0], "after": losses[-1], "data_share": waited,
                            "bytes_per_token": bytes_per_token if "distill.teacher=STORE" in settings else None})
            print(f"{name:32} {losses[0]:.4f} -> {losses[-1]:.4f}   data wait {100 * waited:.1f} %", flush=True)
    if not given.only:
        path = ROOT / "experiments/distill/result.json"
        path.write_text(json.dumps({"steps": given.steps, "student": STUDENT, "runs": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
