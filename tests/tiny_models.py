"""Tiny random models in the Hugging Face layout, made by transformers: the reference and the input of the oracle tests."""

import shutil
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

ROOT = Path(__file__).resolve().parent.parent
TOKENIZER = ROOT / "data/quickstart/tokenizer"
VOCABULARY, END = 1536, 0

SHAPE = {"vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": None,
         "eos_token_id": END, "pad_token_id": END, "attn_implementation": "eager"}

LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
LINEAR_ROPE = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}

# name -> (model class, config)
MODELS = {
    "llama": (LlamaForCausalLM, LlamaConfig(**SHAPE)),
    "llama_tied_llama3_rope": (LlamaForCausalLM, LlamaConfig(**SHAPE, tie_word_embeddings=True, rope_parameters=LLAMA3_ROPE)),
    "llama_linear_rope_wide_heads": (LlamaForCausalLM, LlamaConfig(**SHAPE, head_dim=32, rope_parameters=LINEAR_ROPE)),
    "llama_attention_and_mlp_bias": (LlamaForCausalLM, LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True)),
    "mistral": (MistralForCausalLM, MistralConfig(**SHAPE, sliding_window=None, rms_norm_eps=1e-5)),
    "mistral_window": (MistralForCausalLM, MistralConfig(**SHAPE, sliding_window=8)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SHAPE)),
    "qwen2_tied_window": (Qwen2ForCausalLM, Qwen2Config(**SHAPE, tie_word_embeddings=True, use_sliding_window=True,
                                                        sliding_window=8, max_window_layers=1)),
}


def make_model(name, seed=1):
    """The model with weights large enough that every part matters, norms and biases included."""
    torch.manual_seed(seed)
    model_class, config = MODELS[name]
    model = model_class(config).float().eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith("norm.weight"):
                parameter.copy_(1 + 0.2 * torch.randn_like(parameter))
            elif parameter.dim() == 1:
                parameter.copy_(0.2 * torch.randn_like(parameter))
            else:
                parameter.mul_(3)
    return model


def save_folder(model, folder):
    """A folder that Prentice and transformers both open; the quickstart's tokenizer goes with it."""
    model.save_pretrained(folder)
    for file in TOKENIZER.iterdir():
        shutil.copy(file, folder)
    return folder
