"""Loading a sharded folder against `cat FILES > /dev/null`, and against plain reads of the same files into memory of
their own, which is the least that any loader that copies does; on warm files and in turns, so that all meet the same load
of the machine. And the memory that loading takes beside the weights themselves.

The folder is made anew with random bytes: Llama's shape, bf16, shards of at most half a gigabyte."""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("PRENTICE_BUILD", ROOT / "build")).resolve() / "test_model"
SHARD_BYTES = 500_000_000
# Memory that a virtual machine has not used for seconds must first be given by its host, at a tenth of the speed: both sides
# take the best of so many, one after the other.
REPEATS = 8


def shapes(hidden, layers, feed_forward, heads, shared_heads, vocabulary):
    narrow = hidden // heads * shared_heads
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    for layer in range(layers):
        start = f"model.layers.{layer}."
        for name, shape in {"self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (narrow, hidden),
                            "self_attn.v_proj": (narrow, hidden), "self_attn.o_proj": (hidden, hidden),
                            "mlp.gate_proj": (feed_forward, hidden), "mlp.up_proj": (feed_forward, hidden),
                            "mlp.down_proj": (hidden, feed_forward), "input_layernorm": (hidden,),
                            "post_attention_layernorm": (hidden,)}.items():
            yield f"{start}{name}.weight", shape
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (vocabulary, hidden)


def write_folder(folder, layers):
    sizes = {"hidden": 2048, "layers": layers, "feed_forward": 8192, "heads": 32, "shared_heads": 8, "vocabulary": 32000}
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048, "num_hidden_layers": layers,
        "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
        "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
        "torch_dtype": "bfloat16", "hidden_act": "silu"}))
    shards = [{}]
    for name, shape in shapes(**sizes):
        if sum(t.nbytes for t in shards[-1].values()) > SHARD_BYTES:
            shards.append({})
        shards[-1][name] = torch.randint(-32768, 32767, shape, dtype=torch.int16).view(torch.bfloat16)
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    for name, shard in zip(names, shards):
        save_file(shard, folder / name, metadata={"format": "pt"})
    index = {tensor: name for name, shard in zip(names, shards) for tensor in shard}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return [folder / name for name in names]


def load(folder):
    """(seconds of the first load of a process, of the best of REPEATS, anonymous memory at the end, its peak)."""
    process = subprocess.Popen([PROGRAM, "--gtest_filter=LoadSpeed.*"], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "PRENTICE_SPEED_MODEL": str(folder), "PRENTICE_SPEED_ROUNDS": str(REPEATS)})
    peak = [0]

    def watch():
        while process.poll() is None:
            try:
                found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
                peak[0] = max(peak[0], 1024 * int(found.group(1)) if found else 0)
            except OSError:
                return
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output = process.stdout.read()
    process.wait()
    watcher.join()
    loads = re.findall(r"SPEED seconds=([\d.]+) anonymous=(\d+)", output)
    seconds = [float(load[0]) for load in loads]
    return seconds[0], min(seconds), max(int(load[1]) for load in loads), peak[0]


def cat(files):
    def once():
        start = time.monotonic()
        with open(os.devnull, "w") as nothing:
            subprocess.run(["cat", *files], stdout=nothing, check=True)
        return time.monotonic() - start

    return min(once() for _ in range(REPEATS))


# readinto() of each file into fresh memory, one thread a file; the clock runs around the reads alone.
READ = """
import mmap, os, sys, threading, time
def read(name, size):
    with open(name, "rb", buffering=0) as file:
        memory = mmap.mmap(-1, size)
        view, at = memoryview(memory), 0
        while at < size:
            at += file.readinto(view[at:])
        kept.append(memory)
kept = []
sizes = [os.path.getsize(name) for name in sys.argv[1:]]
start = time.monotonic()
threads = [threading.Thread(target=read, args=pair) for pair in zip(sys.argv[1:], sizes)]
[t.start() for t in threads]
[t.join() for t in threads]
print(time.monotonic() - start)
"""


def read(files):
    return float(subprocess.run([sys.executable, "-c", READ, *files], capture_output=True, text=True, check=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the model is written for a while; on a disk with room for it")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        files = write_folder(Path(name), options.layers)
        size = sum(file.stat().st_size for file in files)
        cat(files)
        rounds = [(cat(files), read(files), *load(name)) for _ in range(options.rounds)]
    cats, reads, firsts, loads, ends, peaks = zip(*rounds)
    result = {"date": time.strftime("%Y-%m-%d"), "bytes": size, "shards": len(files), "cores": os.cpu_count(), "cat_seconds": cats,
              "read_seconds": reads, "first_load_seconds": firsts, "load_seconds": loads, "share": statistics.median(c / l for c, l in zip(cats, loads)),
              "share_of_read": statistics.median(r / l for r, l in zip(reads, firsts)),
              "anonymous_bytes": max(ends), "peak_anonymous_bytes": max(peaks)}
    print(f"{size / 1e9:.2f} GB in {len(files)} shards")
    for what, seconds in {"cat FILES > /dev/null": cats, "read into own memory": reads, "load_model, first time": firsts, "load_model": loads}.items():
        print(f"{what:<24} {size / statistics.median(seconds) / 1e9:.2f} GB/s  "
              f"({size / max(seconds) / 1e9:.2f} to {size / min(seconds) / 1e9:.2f})")
    print(f"loading runs at {result['share']:.0%} of cat, the first one at {result['share_of_read']:.0%} of plain reads; peak anonymous memory {max(peaks) / 1e9:.2f} GB")
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
