"""Times training steps of every family at one shape, in turns with plain Llama, on the CPU with random weights."""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LENGTH, BATCH, WARM_UP = 256, 4, 2
SHAPE = {"vocab_size": 2048, "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8,
         "num_key_value_heads": 8, "head_dim": 64, "max_position_embeddings": 2048, "tie_word_embeddings": False,
         "bos_token_id": None, "eos_token_id": 0}
# name -> architecture, what it needs beside the shape, and whether the arithmetic is plain Llama's
FAMILIES = {
    "Llama": ("LlamaForCausalLM", {}, True),
    "Mistral": ("MistralForCausalLM", {"sliding_window": None}, True),
    "Mistral, window": ("MistralForCausalLM", {"sliding_window": 512}, True),
    "Qwen2": ("Qwen2ForCausalLM", {}, True),
    "Phi-3, fused": ("Phi3ForCausalLM", {"sliding_window": None}, True),
    "Qwen3": ("Qwen3ForCausalLM", {}, False),
    "Gemma": ("GemmaForCausalLM", {}, False),
    "Gemma 2": ("Gemma2ForCausalLM", {}, False),
    "Gemma 3": ("Gemma3ForCausalLM", {}, False),
    "Phi-2": ("PhiForCausalLM", {}, False),
    "StableLM 2": ("StableLmForCausalLM", {}, False),
}


def make_folder(folder, architecture, more):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture], **SHAPE, **more}))
    for file in (ROOT / "data/quickstart/tokenizer").iterdir():
        shutil.copy(file, folder)


def make_rows(path, count):
    draw = random.Random(3)
    words = (ROOT / "data/office.txt").read_text().split()
    with open(path, "w") as out:
        for _ in range(count):
            at = draw.randrange(len(words) - LENGTH)
            out.write(json.dumps({"text": " ".join(words[at : at + LENGTH])}) + "\n")


def seconds_a_step(model, rows, out, steps):
    subprocess.run([ROOT / "build/prentice", "sft", f"model.path={model}", "model.init=random", f"data.train={rows}",
                    "data.format=text", f"data.max_length={LENGTH}", "data.overlong=truncate", "data.eval_split=0",
                    "data.shuffle=false", f"train.batch={BATCH}", f"train.micro_tokens={LENGTH * BATCH}",
                    f"train.steps={steps}", "train.recompute=none", "run.device=cpu", "run.precision=f32", "run.threads=2",
                    "run.log_every=1", f"run.out={out}", "--quiet"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=dict(os.environ))
    times = [line["time"] for line in map(json.loads, (out / "metrics.jsonl").open()) if "loss" in line]
    return statistics.median(b - a for a, b in zip(times[WARM_UP - 1 :], times[WARM_UP:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    found = {name: [] for name in FAMILIES}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_rows(folder / "rows.jsonl", options.steps * BATCH)
        for i, (architecture, more, _) in enumerate(FAMILIES.values()):
            make_folder(folder / f"model-{i}", architecture, more)
        for round_ in range(options.rounds):
            for i, name in enumerate(FAMILIES):
                # Llama again beside each family: both of a pair meet the machine in the same minute.
                pair = [seconds_a_step(folder / f"model-{k}", folder / "rows.jsonl", folder / f"run-{round_}-{i}-{k}-{n}", options.steps)
                        for n, k in enumerate((0, i))]
                found[name].append(pair)
    rows = {}
    for name, pairs in found.items():
        ratios = sorted(own / llama for llama, own in pairs)
        rows[name] = {"same_arithmetic": FAMILIES[name][2], "ratio": statistics.median(ratios), "range": [ratios[0], ratios[-1]],
                      "seconds_a_step": statistics.median(own for _, own in pairs)}
        print(f"{name:<16} {rows[name]['ratio']:.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})  {rows[name]['seconds_a_step']:.3f} s a step")
    options.out.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "shape": SHAPE, "length": LENGTH, "batch": BATCH,
                                       "families": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
