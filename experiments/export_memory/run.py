"""Peak resident memory of `prentice export`. Without --shape: models of growing depth and one width; it must stay below 1.5
times the largest tensor plus 500 MB, whatever the model's size. With --shape 8b: embedding, head and layers of a model of
8 billion parameters, written shard by shard, with an adapter, to Q4_K_M; it must stay below 2.5 GB. With --alone nothing is
verified."""

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


LARGE = {"vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8}
RANK = 16


def matrix(rows, columns, scale):
    """Random values; a large one repeats a part, for the clock's sake: rounding does not see that."""
    import torch

    some = torch.randn(min(rows, 1024), columns).mul_(scale)
    return some.repeat(-(-rows // some.shape[0]), 1)[:rows]


def make_large_model(folder, layers):
    """A Hugging Face folder, one shard a layer, and a PEFT adapter on every linear layer beside it."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig

    torch.manual_seed(0)
    folder.mkdir()
    width, feed, heads = LARGE["hidden_size"], LARGE["intermediate_size"], LARGE["num_key_value_heads"] * 128
    shapes = {"self_attn.q_proj": (width, width), "self_attn.k_proj": (heads, width), "self_attn.v_proj": (heads, width),
              "self_attn.o_proj": (width, width), "mlp.gate_proj": (feed, width), "mlp.up_proj": (feed, width), "mlp.down_proj": (width, feed)}
    index, adapter, sizes = {}, {}, []

    def save(number, tensors):
        name = f"model-{number:05}-of-{layers + 2:05}.safetensors"
        save_file({key: value.bfloat16().contiguous() for key, value in tensors.items()}, folder / name, {"format": "pt"})
        index.update(dict.fromkeys(tensors, name))
        sizes.extend(value.numel() for value in tensors.values())

    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        tensors = {f"{prefix}{name}.weight": torch.ones(width) for name in ("input_layernorm", "post_attention_layernorm")}
        for name, (rows, columns) in shapes.items():
            tensors[f"{prefix}{name}.weight"] = matrix(rows, columns, 0.02)
            adapter[f"base_model.model.{prefix}{name}.lora_A.weight"] = matrix(RANK, columns, 0.02)
            adapter[f"base_model.model.{prefix}{name}.lora_B.weight"] = matrix(rows, RANK, 0.002)
        save(layer + 1, tensors)
    save(layers + 1, {"model.embed_tokens.weight": matrix(LARGE["vocab_size"], width, 0.02), "model.norm.weight": torch.ones(width)})
    save(layers + 2, {"lm_head.weight": matrix(LARGE["vocab_size"], width, 0.02)})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 2 * sum(sizes)}, "weight_map": index}))
    LlamaConfig(**LARGE, num_hidden_layers=layers, bos_token_id=None, eos_token_id=0, dtype="bfloat16",
                architectures=["LlamaForCausalLM"]).save_pretrained(folder)
    for file in (ROOT / "data/quickstart/tokenizer").iterdir():
        shutil.copy(file, folder)
    (folder / "adapter").mkdir()
    save_file({key: value.contiguous() for key, value in adapter.items()}, folder / "adapter/adapter_model.safetensors", {"format": "pt"})
    (folder / "adapter/adapter_config.json").write_text(json.dumps({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(folder), "r": RANK, "lora_alpha": 32,
        "lora_dropout": 0.0, "bias": "none", "target_modules": sorted(name.split(".")[1] for name in shapes)}))
    return 2 * max(sizes), sum(sizes)


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
    parser.add_argument("--layers", type=int, nargs="+")
    parser.add_argument("--shape", choices=["narrow", "8b"], default="narrow")
    parser.add_argument("--alone", action="store_true", help="export.verify=false: the writing without the proof")
    parser.add_argument("--binary", type=Path, default=ROOT / "build/prentice")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    large = options.shape == "8b"
    if options.make:
        print(*(make_large_model if large else make_model)(options.make, options.layers[0]))
        return
    rows = []
    for layers in options.layers or ([1, 3] if large else [4, 16, 48]):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            # In a process of its own: the peak of a child counts the memory its parent had when it was started.
            made = subprocess.run([sys.executable, __file__, "--make", folder / "model", "--layers", str(layers),
                                   "--shape", options.shape], check=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            largest, parameters = map(int, made.stdout.split())
            start = time.monotonic()
            model = f"{folder / 'model'}+{folder / 'model/adapter'}" if large else folder / "model"
            # Random weights of many layers answer a rounding with more than any limit of trained ones.
            products = ["export.peft=false", "export.gguf=[Q4_K_M]", "export.limits={Q4_K_M: {kld: 10}}"] if large else ["export.merged=bf16", "export.gguf=[F16, Q8_0]"]
            products += ["export.verify=false"] if options.alone else []
            peak = peak_bytes([options.binary, "export", f"model.path={model}", *products, f"run.out={folder / 'out'}"])
            row = {"layers": layers, "verified": not options.alone, "parameters": parameters, "largest_tensor_bytes": largest, "peak_bytes": peak,
                   "limit_bytes": 2.5e9 if large else 1.5 * largest + 500e6, "seconds": time.monotonic() - start}
        rows.append(row)
        print(f"{layers:>3} layers, {parameters / 1e6:5.0f} M: peak {peak / 1e6:4.0f} MB, limit {row['limit_bytes'] / 1e6:4.0f} MB, "
              f"{row['seconds']:.1f} s", flush=True)
    if options.out:
        options.out.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "shape": options.shape, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
