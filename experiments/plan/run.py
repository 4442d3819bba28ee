"""The memory that a plan promises beside the peak that the run reports, both above the bare program, on a CPU."""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from tiny_models import make_model, save_folder  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

TICKETS, REPLIES = ROOT / "data/tickets", ROOT / "data/replies"
TINY = ["model.path=quickstart-1m", "model.init=random", f"model.tokenizer={ROOT / 'data/quickstart/tokenizer'}"]
FULL = ["adapter.kind=full", "train.steps=8"]
ROWS = ["data.format=text", "data.eval_split=0", "train.steps=2", "train.micro_tokens=2048", "optim.warmup=0"]
TEXT = ("The printer on floor {} has no paper and the queue is stuck again since this morning; nobody knows who has the key to "
        "the store room.")
SIZES = {"28M": (512, 1536, 8), "85M": (768, 2048, 12)}  # width, feed-forward, layers
SETTINGS = {"LoRA": [], "QLoRA": ["model.quantize=nf4"], "LoRA, recomputed": ["train.recompute=block"],
            "LoRA, bf16": ["run.precision=bf16"], "full": ["adapter.kind=full"]}


def make_folder(path, width, feed_forward, layers):
    save_folder(LlamaForCausalLM(LlamaConfig(
        vocab_size=1536, hidden_size=width, intermediate_size=feed_forward, num_hidden_layers=layers, num_attention_heads=8,
        max_position_embeddings=512, bos_token_id=None, eos_token_id=0, pad_token_id=0)), path)


def cases():
    yield "1M full, 64 rows a step", ["sft", *TINY, *FULL, f"data.train={TICKETS / 'train.jsonl'}", "train.batch=64"]
    yield "1M full with a choice task", ["sft", *TINY, *FULL, f"data.train={TICKETS / 'train.jsonl'}", "train.batch=64",
                                         f"data.eval={TICKETS / 'test.jsonl'}", "eval.tasks=[choice]"]
    yield "1M reward", ["reward", *TINY, *FULL, f"data.train={REPLIES / 'train.jsonl'}"]
    yield "1M DPO, LoRA", ["dpo", *TINY, f"data.train={REPLIES / 'train.jsonl'}", "train.steps=8"]
    yield "1M DPO, full, precomputed", ["dpo", *TINY, *FULL, f"data.train={REPLIES / 'train.jsonl'}",
                                        "preference.reference=precomputed"]
    yield "1M distilled", ["distill", *TINY, *FULL, f"data.train={TICKETS / 'train.jsonl'}", "train.batch=64",
                           "distill.teacher=teacher"]
    yield "gemma2 DPO, LoRA", ["dpo", "model.path=gemma2", f"data.train={REPLIES / 'train.jsonl'}", "train.steps=8", "data.chat=off"]
    for size in SIZES:
        for batch in (4, 16):
            for name, settings in SETTINGS.items():
                yield f"{size} {name}, {batch} rows", ["sft", f"model.path={size}", "data.train=rows.jsonl", *ROWS,
                                                       f"train.batch={batch}", *settings]
    yield "qwen3 (0.1M) full", ["sft", "model.path=qwen3", "data.train=rows.jsonl", *ROWS, "train.batch=16", "adapter.kind=full"]
    yield "phi3 (0.1M) LoRA", ["sft", "model.path=phi3_plain", "data.train=rows.jsonl", *ROWS, "train.batch=16"]
    for optimizer in ("lion", "sgd"):
        yield f"28M full, {optimizer}, 4 rows", ["sft", "model.path=28M", "data.train=rows.jsonl", *ROWS, "train.batch=4", *SETTINGS["full"],
                                                 f"optim.name={optimizer}"]
    yield "28M DPO, LoRA, 8 pairs", ["dpo", "model.path=28M", f"data.train={REPLIES / 'train.jsonl'}", "data.eval_split=0",
                                     "data.limit=64", "train.batch=8", "train.steps=2", "data.chat=off"]
    yield "28M distilled from 85M, LoRA, 8 rows", ["distill", "model.path=28M", "data.train=rows.jsonl", *ROWS, "train.batch=8",
                                                   "distill.teacher=85M"]
    yield "28M LoRA, 4 rows of 500 tokens", ["sft", "model.path=28M", "data.train=long.jsonl", *ROWS, "train.batch=4",
                                             "data.overlong=truncate", "data.max_length=500"]
    yield "28M LoRA, 64 rows", ["sft", "model.path=28M", "data.train=rows.jsonl", *ROWS, "train.batch=64"]


def measure(binary, folder, words):
    precision = [] if any("precision" in word for word in words) else ["run.precision=f32"]
    kept = {**os.environ, "OMP_WAIT_POLICY": "passive"}  # beside other programs it is faster, and takes no other memory
    subprocess.run([binary, *words, *precision, "run.device=cpu", "run.threads=2", "run.out=run", "export.verify=false", "--fresh",
                    "--quiet"], cwd=folder, env=kept, check=True, capture_output=True)
    row = re.search(r"peak memory</td><td>([\d.]+) ([MG])B</td><td>([\d.]+) ([MG])B", (folder / "run/report.html").read_text())
    megabytes = {"M": 1, "G": 1000}
    return [float(row[1]) * megabytes[row[2]], float(row[3]) * megabytes[row[4]]]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=Path, default=ROOT / "build/prentice")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size, shape in SIZES.items():
            make_folder(folder / size, *shape)
        for family in ("llama", "gemma2", "qwen3", "phi3_plain"):
            save_folder(make_model(family), folder / ("teacher" if family == "llama" else family))
        (folder / "rows.jsonl").write_text("".join(json.dumps({"text": TEXT.format(i % 10)}) + "\n" for i in range(64)))
        (folder / "long.jsonl").write_text("".join(json.dumps({"text": " ".join(
            TEXT.format((i + j) % 10) for j in range(20))}) + "\n" for i in range(16)))
        for case, words in cases():
            plan, fact = measure(options.binary, folder, words)
            found.append({"case": case, "plan_mb": plan, "peak_mb": fact, "ratio": plan / fact})
            print(f"| {case} | {plan:.0f} | {fact:.0f} | {plan / fact:.2f} |", flush=True)
    options.out.write_text(json.dumps({"date": str(date.today()), "cases": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
