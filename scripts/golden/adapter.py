#!/usr/bin/env python3
"""Adapter folders written by peft on the tiny models of tests/golden/model, with their logits: tests/golden/adapter/NAME/.

Run: PYTHON scripts/golden/adapter.py   (PYTHON = the venv of scripts/setup.sh; peft 0.21)

Besides peft's own two files a folder holds expected.safetensors: `logits` [T, V] of the base model with the adapter, in
f32, on the tokens of the base's expected.safetensors, and `merged.NAME` of two weights after merge_and_unload.
"""
import json
import pathlib
import shutil

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

ROOT = pathlib.Path(__file__).resolve().parents[2] / "tests/golden"
CASES = {
    "plain": ("llama_biased_llama3", dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], lora_dropout=0.25)),
    "regex_rslora": ("llama_biased_llama3", dict(
        r=3, lora_alpha=7, use_rslora=True,
        target_modules=r".*\.layers\.(0|1)\.(?:self_attn\.[qo]_proj|mlp\.(?!up)\w+_proj)")),
    "patterns": ("qwen2_window", dict(
        r=4, lora_alpha=6, target_modules="all-linear", exclude_modules=["k_proj"],
        rank_pattern={"layers.1.mlp.up_proj": 5, "up_proj": 3, "q_proj": 2},
        alpha_pattern={r".*\.0\.self_attn\.v_proj": 3.5})),
    "layers": ("mistral_window", dict(
        r=2, lora_alpha=4, target_modules=["k_proj", "gate_proj"], layers_to_transform=[1], layers_pattern="layers")),
    "head": ("llama_biased_llama3", dict(r=2, lora_alpha=4, target_modules=["lm_head", "o_proj"])),
}


def make(name, base, options):
    torch.manual_seed(sum(name.encode()))
    model = AutoModelForCausalLM.from_pretrained(ROOT / "model" / base, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **options)).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_" in key:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    folder = ROOT / "adapter" / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = base
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()  # peft writes a set
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    reference = load_file(ROOT / "model" / base / "expected.safetensors")
    bounds = reference["starts"].tolist()
    with torch.no_grad():
        rows = [model(reference["tokens"][None, a:b], use_cache=False).logits[0] for a, b in zip(bounds, bounds[1:])]
        expected = {"logits": torch.cat(rows)}
        adapted = {key.split(".lora_")[0].removeprefix("base_model.model.")
                   for key, _ in model.named_parameters() if "lora_" in key}
        weights = dict(model.merge_and_unload().named_parameters())
    for module in sorted(adapted)[:2]:
        expected["merged." + module + ".weight"] = weights[module + ".weight"].contiguous()
    save_file(expected, folder / "expected.safetensors")


if __name__ == "__main__":
    for name, (base, options) in CASES.items():
        make(name, base, options)
