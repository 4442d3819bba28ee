"""Peak resident memory of `prentice export` for models of growing depth and one width: it must stay below 1.5 times the
largest tensor plus 500 MB, whatever the model's size."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HIDDEN, FEED_FORWARD, HEADS, VOCABULARY = 1024, 2816, 16, 65536


def make_model(folder, layers):
    """A Llama shape with random bf16 weights; the quickstart's tokenizer uses the first of its words."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=FEED_FORWARD, num_hidden_layers=layers,
        num_attention_heads=HEADS, num_key_value_heads=HEADS // 4, tie_word_embeddings=False, bos_token_id=None,
        eos_token_id=0)).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="200MB")
    for file in (ROOT / "data/quickstart/tokenizer").iterdir():
        shutil.copy(file, folder)
    return max(p.numel() * p.element_size() for p in model.parameters()), sum(p.numel() for p in model.parameters())


def peak_bytes(command):
    """Pages of mapped files count too: they are resident while they are read."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(errors.decode())
    return usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, nargs="+", default=[4, 16, 48])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        print(*make_model(options.make, options.layers[0]))
        return
    rows = []
    for layers in options.layers:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            # In a process of its own: the peak of a child counts the memory its parent had when it was started.
            made = subprocess.run([sys.executable, __file__, "--make", folder / "model", "--layers", str(layers)], check=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            largest, parameters = map(int, made.stdout.split())
            start = time.monotonic()
            peak = peak_bytes([ROOT / "build/prentice", "export", f"model.path={folder / 'model'}", "export.merged=bf16",
                               "export.gguf=[F16, Q8_0]", f"run.out={folder / 'out'}"])
            row = {"layers": layers, "parameters": parameters, "largest_tensor_bytes": largest, "peak_bytes": peak,
                   "limit_bytes": 1.5 * largest + 500e6, "seconds": time.monotonic() - start}
        rows.append(row)
        print(f"{layers:>3} layers, {parameters / 1e6:5.0f} M: peak {peak / 1e6:4.0f} MB, limit {row['limit_bytes'] / 1e6:4.0f} MB, "
              f"{row['seconds']:.1f} s", flush=True)
    if options.out:
        options.out.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
