"""Times `prentice sft` and peer.py (TRL + PEFT) in turns on the same rows; writes every step's time and the ratio."""

import argparse
import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LENGTH, BATCH, ANSWER, WARM_UP = 512, 4, 64, 2


def make_model(folder, layers):
    """The SmolLM2-135M shape with random weights; the quickstart's tokenizer uses the first 1,536 of its words."""
    import shutil

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=layers, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=2048, tie_word_embeddings=True, bos_token_id=None, eos_token_id=0,
    )).save_pretrained(folder)
    for file in (ROOT / "data/quickstart/tokenizer").iterdir():
        shutil.copy(file, folder)


def lengths_of(mode, count):
    """Tokens of each row and of its answer. `varied`: lengths as instruction data has them (log-normal, median 150)."""
    draw = random.Random(7)
    for _ in range(count):
        if mode == "varied":
            length = max(24, min(LENGTH, round(150 * math.exp(draw.gauss(0, 0.8)))))
            yield length, max(4, length // 4)
        else:
            yield LENGTH, ANSWER


def make_rows(path, mode, count):
    """Prompt and completion of the wanted lengths together with the end token, cut where no token straddles."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(ROOT / "data/quickstart/tokenizer/tokenizer.json"))
    words = (ROOT / "data/office.txt").read_text().replace("\n", " ")
    spans = tokenizer.encode(words[: count * LENGTH * 8]).offsets
    at = 0
    with open(path, "w") as out:
        for length, answer in lengths_of(mode, count):
            while True:
                # A row starts and its answer begins at a word, so that cutting does not change the tokens.
                while not words[spans[at][0]].isspace():
                    at += 1
                border, end = at + length - 1 - answer, at + length - 1
                prompt, completion = words[spans[at][0] : spans[border][0]], words[spans[border][0] : spans[end][0]]
                apart = len(tokenizer.encode(prompt).ids) + len(tokenizer.encode(completion).ids)
                at = end if len(tokenizer.encode(prompt + completion).ids) == apart == length - 1 else at + 1
                if at == end:
                    break
            out.write(json.dumps({"prompt": prompt, "completion": completion}) + "\n")


def measured(command, environment):
    """Runs the command; seconds, and the peak resident memory of it alone."""
    start = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{errors.decode()[-3000:]}")
    return time.monotonic() - start, usage.ru_maxrss * 1024


def run_ours(folder, steps, mode, base, number):
    out = folder / f"ours-{mode}-{number}"
    began = time.time()
    seconds, memory = measured([
        ROOT / "build/prentice", "sft", f"model.path={folder / 'model'}", f"data.train={folder / mode}.jsonl",
        "data.format=completion", f"data.train_on={'all' if mode == 'all' else 'completion'}", "data.shuffle=false",
        "data.eval_split=0", f"data.max_length={LENGTH}", f"train.batch={BATCH}", f"train.steps={steps}",
        f"train.micro_tokens={LENGTH * BATCH}", "run.precision=f32", "run.device=cpu", "run.threads=2", "run.log_every=1",
        "train.recompute=none", "export.verify=false", f"model.quantize={'none' if base == 'f32' else base}", f"run.out={out}"], dict(os.environ))
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    times = [line["time"] for line in lines if "loss" in line]
    return describe(times, mode, steps, began, seconds, memory)


def run_peer(folder, steps, mode, base, number):
    report = folder / f"peer-{mode}-{number}.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "TOKENIZERS_PARALLELISM": "false"}
    began = time.time()
    seconds, memory = measured([sys.executable, HERE / "peer.py", folder / "model", folder / f"{mode}.jsonl", mode, str(steps),
                                str(BATCH), str(LENGTH), base, report], environment)
    return describe(json.loads(report.read_text()), mode, steps, began, seconds, memory)


def describe(times, mode, steps, began, seconds, memory):
    """`times`: the clock at the end of each step. Tokens are those of the rows, without padding; each side sees every row
    once, in an order of its own."""
    seconds_of_steps = [b - a for a, b in zip(times, times[1:])][WARM_UP - 1 :]
    tokens = sum(length for length, _ in lengths_of(mode, steps * BATCH)) / steps
    return {"step_seconds": seconds_of_steps, "tokens_per_second": tokens * len(seconds_of_steps) / sum(seconds_of_steps),
            "first_step_after_seconds": times[0] - began, "wall_seconds": seconds, "peak_bytes": memory}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--modes", nargs="+", default=["all", "answers", "varied"])
    parser.add_argument("--base", choices=["f32", "nf4"], default="f32", help="of the frozen weights: nf4 is QLoRA")
    parser.add_argument("--layers", type=int, default=30, help="fewer for a trial")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make_model(options.make, options.layers)
        return
    result = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "threads": 2, "length": LENGTH,
              "batch": BATCH, "base": options.base, "layers": options.layers, "date": time.strftime("%Y-%m-%d"), "modes": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own: the peak of a child counts the memory its parent had when it was started.
        subprocess.run([sys.executable, __file__, "--make", folder / "model", "--layers", str(options.layers)], check=True, stderr=subprocess.DEVNULL)
        for mode in options.modes:
            make_rows(folder / f"{mode}.jsonl", mode, options.steps * BATCH)
            rounds = [{side: run(folder, options.steps, mode, options.base, number) for side, run in (("ours", run_ours), ("peer", run_peer))}
                      for number in range(options.rounds)]
            ratios = sorted(r["ours"]["tokens_per_second"] / r["peer"]["tokens_per_second"] for r in rounds)
            result["modes"][mode] = {"ratio": statistics.median(ratios), "ratio_range": [ratios[0], ratios[-1]], "rounds": rounds}
            print(f"{mode}: {statistics.median(ratios):.2f} times TRL + PEFT ({ratios[0]:.2f} to {ratios[-1]:.2f}); ours "
                  f"{rounds[0]['ours']['tokens_per_second']:.0f} tokens/s, {rounds[0]['ours']['peak_bytes'] / 1e9:.2f} GB; theirs "
                  f"{rounds[0]['peer']['tokens_per_second']:.0f} tokens/s, {rounds[0]['peer']['peak_bytes'] / 1e9:.2f} GB", flush=True)
            if options.out:
                options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
