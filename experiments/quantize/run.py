"""Quantizing beside llama.cpp. Files: `prentice export` of a bf16 folder to one GGUF file, its whole process, against
llama.cpp's quantize call on the BF16 GGUF file of the same weights, in turns, with the same threads. Types: one thread of
each encoder beside ggml's on the same values, in turns."""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gguf
import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("PRENTICE_BUILD", ROOT / "build")).resolve()
NODE_MODULES = Path(os.environ.get("PRENTICE_NODE_MODULES", ROOT / "node_modules"))
HIDDEN, FEED_FORWARD, HEADS, SHARED_HEADS, VOCABULARY = 2048, 5632, 16, 4, 32768
FILE_TYPES = {"Q4_K_M": 15, "Q8_0": 7}

sys.path.insert(0, str(ROOT / "tests/oracle"))
from llama_library import quantizer  # noqa: E402


def write_folder(folder, layers):
    """Llama's shape with random bf16 weights and the quickstart's tokenizer."""
    torch.manual_seed(0)
    narrow = HIDDEN // HEADS * SHARED_HEADS
    shapes = {"self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (narrow, HIDDEN), "self_attn.v_proj": (narrow, HIDDEN),
              "self_attn.o_proj": (HIDDEN, HIDDEN), "mlp.gate_proj": (FEED_FORWARD, HIDDEN), "mlp.up_proj": (FEED_FORWARD, HIDDEN),
              "mlp.down_proj": (HIDDEN, FEED_FORWARD), "input_layernorm": (HIDDEN,), "post_attention_layernorm": (HIDDEN,)}
    tensors = {f"model.layers.{layer}.{name}.weight": shape for layer in range(layers) for name, shape in shapes.items()}
    tensors |= {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCABULARY, HIDDEN)}
    folder.mkdir()
    save_file({name: (torch.randn(shape) * 0.02).bfloat16() for name, shape in tensors.items()}, folder / "model.safetensors",
              metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "num_hidden_layers": layers,
        "intermediate_size": FEED_FORWARD, "num_attention_heads": HEADS, "num_key_value_heads": SHARED_HEADS,
        "vocab_size": VOCABULARY, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "hidden_act": "silu", "eos_token_id": 0}))
    for file in (ROOT / "data/quickstart/tokenizer").iterdir():
        shutil.copy(file, folder)


def export(folder, out, kind, threads):
    shutil.rmtree(out, ignore_errors=True)
    start = time.monotonic()
    subprocess.run([BUILD / "prentice", "export", f"model.path={folder}", f"export.gguf=[{kind}]", "export.verify=false",
                    "export.name=model", f"run.threads={threads}", f"run.out={out}"], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def same_tensors(a, b):
    theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(b).tensors}
    return all(t.tensor_type == theirs[t.name].tensor_type and t.data.tobytes() == theirs[t.name].data.tobytes()
               for t in gguf.GGUFReader(a).tensors)


def whole_files(options):
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        write_folder(scratch / "model", options.layers)
        export(scratch / "model", scratch / "bf16", "BF16", options.threads)
        source = scratch / "bf16/gguf/model-BF16.gguf"
        quantize = quantizer(NODE_MODULES)
        for kind in FILE_TYPES:
            pairs = []
            for turn in range(options.rounds + 1):
                start = time.monotonic()
                quantize(source, scratch / "theirs.gguf", FILE_TYPES[kind], options.threads)
                theirs = time.monotonic() - start
                ours = export(scratch / "model", scratch / "ours", kind, options.threads)
                if turn:  # the first pair warms up
                    pairs.append([ours, theirs])
            assert same_tensors(scratch / f"ours/gguf/model-{kind}.gguf", scratch / "theirs.gguf"), kind
            ratios = sorted(theirs / ours for ours, theirs in pairs)
            rows[kind] = {"seconds_ours_theirs": pairs, "times_as_fast": statistics.median(ratios), "range": [ratios[0], ratios[-1]]}
            print(f"{kind}: {statistics.median(ratios):.2f} times as fast ({ratios[0]:.2f} to {ratios[-1]:.2f}); "
                  f"{statistics.median(p[0] for p in pairs):.1f} s and {statistics.median(p[1] for p in pairs):.1f} s", flush=True)
        rows["source_bytes"] = source.stat().st_size
    return rows


def single_types():
    output = subprocess.run([BUILD / "test_quant", "--gtest_filter=QuantSpeed.*"], check=True, capture_output=True, text=True, cwd=ROOT,
                            env={**os.environ, "PRENTICE_QUANT_SPEED": "1", "OMP_NUM_THREADS": "1"}).stdout
    speeds = {}
    for kind, who, speed in re.findall(r"SPEED (\S+) (\S+) ([\d.]+)", output):
        speeds.setdefault(kind, {}).setdefault(who, []).append(float(speed))
    rows = {}
    for kind, by in speeds.items():
        rows[kind] = {who: {"million_values_a_second": statistics.median(found),
                            "times_ggml": statistics.median(x / y for x, y in zip(found, by["ggml"]))} for who, found in by.items()}
        print(kind, " ".join(f"{who} {row['million_values_a_second']:.1f} ({row['times_ggml']:.1f} x)" for who, row in rows[kind].items()))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    result = {"date": time.strftime("%Y-%m-%d"), "threads": options.threads, "layers": options.layers, "types": single_types(),
              "files": whole_files(options)}
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
