#!/usr/bin/env python3
"""Tiny random models from transformers with their logits and gradients: tests/golden/model/NAME/.

Run: PYTHON scripts/golden/model.py   (PYTHON = the venv of scripts/setup.sh)

The reference runs in f64. transformers takes norms in f32 whatever the model's type, so the norm is replaced by its own
formula in f64; rotary angles stay f32 as there. expected.safetensors holds tokens, starts (offsets of the sequences),
logits [T, V] and grad.NAME of the mean cross-entropy of every next token inside its sequence.
"""
import pathlib

import torch
from safetensors.torch import save_file
from transformers import (AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config)
from transformers.models.llama import modeling_llama
from transformers.models.mistral import modeling_mistral
from transformers.models.qwen2 import modeling_qwen2

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/model"
LENGTHS = [13, 7, 1, 5]
SMALL = dict(vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64)
CONFIGS = {
    "llama_biased_llama3": LlamaConfig(
        **SMALL, attention_bias=True, mlp_bias=True, head_dim=8, rms_norm_eps=1e-5,
        rope_parameters=dict(rope_type="llama3", rope_theta=100.0, factor=8.0, low_freq_factor=1.0,
                             high_freq_factor=4.0, original_max_position_embeddings=32)),
    "llama_tied_linear": LlamaConfig(
        **{**SMALL, "num_key_value_heads": 4}, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.0)),
    "mistral_window": MistralConfig(**SMALL, sliding_window=5, rope_parameters=dict(rope_type="default", rope_theta=1e4)),
    "qwen2_window": Qwen2Config(
        **SMALL, use_sliding_window=True, sliding_window=6, max_window_layers=1, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="default", rope_theta=1e6)),
}


def norm_in_own_type(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


for norm in (modeling_llama.LlamaRMSNorm, modeling_mistral.MistralRMSNorm, modeling_qwen2.Qwen2RMSNorm):
    norm.forward = norm_in_own_type


def make(name, config):
    torch.manual_seed(sum(name.encode()))
    config.architectures = None
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms too, so that a forgotten one shows
            parameter.add_(torch.randn_like(parameter) * 0.2)
    folder = OUT / name
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    model = model.double()
    tokens = torch.randint(0, config.vocab_size, (sum(LENGTHS),))
    logits, loss, start = [], 0.0, 0
    for length in LENGTHS:
        ids = tokens[start:start + length]
        out = model(ids[None], use_cache=False).logits[0]
        logits.append(out)
        loss = loss + torch.nn.functional.cross_entropy(out[:-1], ids[1:], reduction="sum")
        start += length
    (loss / (sum(LENGTHS) - len(LENGTHS))).backward()
    expected = {"tokens": tokens, "starts": torch.tensor([0] + LENGTHS).cumsum(0), "logits": torch.cat(logits).detach()}
    for key, parameter in model.named_parameters():
        expected["grad." + key] = parameter.grad.contiguous()
    save_file(expected, folder / "expected.safetensors")


if __name__ == "__main__":
    for name, config in CONFIGS.items():
        make(name, config)
