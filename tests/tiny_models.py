"""Tiny random models in the Hugging Face layout, made by transformers: the reference and the input of the oracle tests."""

import copy
import shutil
from pathlib import Path

import peft
import torch
from transformers import (Gemma2Config, Gemma2ForCausalLM, Gemma3Config, Gemma3ForCausalLM, Gemma3ForConditionalGeneration,
                          Gemma3TextConfig, GemmaConfig, GemmaForCausalLM,
                          LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Phi3Config, Phi3ForCausalLM, PhiConfig,
                          PhiForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM, StableLmConfig,
                          StableLmForCausalLM, Starcoder2Config, Starcoder2ForCausalLM)

ROOT = Path(__file__).resolve().parent.parent
TOKENIZER = ROOT / "data/quickstart/tokenizer"
VOCABULARY, END = 1536, 0

SHAPE = {"vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": None,
         "eos_token_id": END, "pad_token_id": END, "attn_implementation": "eager"}

LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
LINEAR_ROPE = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}

YARN_ROPE = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
YARN_ROPE_OWN = {**YARN_ROPE, "beta_fast": 8.0, "beta_slow": 0.5, "truncate": False, "attention_factor": 1.3}
GLOBAL_AND_LOCAL_ROPE = {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                         "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
WIDE = {**SHAPE, "head_dim": 24}


def long_rope(rotated, **more):
    """Sequences above 16 tokens take the long factors."""
    return {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 16,
            "short_factor": [1 + 0.05 * i for i in range(rotated // 2)],
            "long_factor": [1.5 + 0.7 * i for i in range(rotated // 2)], **more}


# name -> (model class, config); all that GGUF carries
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
    "qwen2_yarn": (Qwen2ForCausalLM, Qwen2Config(**SHAPE, rope_parameters=YARN_ROPE)),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**WIDE)),
    "phi3_longrope": (Phi3ForCausalLM, Phi3Config(**SHAPE, original_max_position_embeddings=16,
                                                  rope_parameters=long_rope(16))),
    "phi3_longrope_partial_tied": (Phi3ForCausalLM, Phi3Config(
        **SHAPE, original_max_position_embeddings=16, sliding_window=30, tie_word_embeddings=True,
        rope_parameters=long_rope(12, partial_rotary_factor=0.75))),
    "gemma": (GemmaForCausalLM, GemmaConfig(**WIDE)),
    "phi": (PhiForCausalLM, PhiConfig(**SHAPE, partial_rotary_factor=0.4, hidden_act="gelu_new")),
    "stablelm": (StableLmForCausalLM, StableLmConfig(**SHAPE, use_qkv_bias=True)),
    "stablelm_parallel_head_norms": (StableLmForCausalLM, StableLmConfig(
        **SHAPE, use_parallel_residual=True, qk_layernorm=True, partial_rotary_factor=0.5)),
    "phi3_plain": (Phi3ForCausalLM, Phi3Config(**SHAPE, sliding_window=None)),
    "gemma2_usual_scale": (Gemma2ForCausalLM, Gemma2Config(
        **WIDE, sliding_window=8, query_pre_attn_scalar=24, attn_logit_softcapping=2.0, final_logit_softcapping=3.0)),
    "gemma3_usual_scale": (Gemma3ForCausalLM, Gemma3TextConfig(
        **{**WIDE, "num_hidden_layers": 4}, sliding_window=8, query_pre_attn_scalar=24, rope_parameters=GLOBAL_AND_LOCAL_ROPE,
        sliding_window_pattern=3)),
    "starcoder2": (Starcoder2ForCausalLM, Starcoder2Config(**SHAPE, tie_word_embeddings=True)),
    "gemma3_with_images": (Gemma3ForConditionalGeneration, Gemma3Config(
        text_config={**WIDE, "sliding_window": 8, "query_pre_attn_scalar": 24, "sliding_window_pattern": 2},
        vision_config={"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
                       "image_size": 16, "patch_size": 4},
        mm_tokens_per_image=4, image_token_index=5, boi_token_index=6, eoi_token_index=7, eos_token_id=END,
        attn_implementation="eager")),
}
# What GGUF does not carry, or llama.cpp computes otherwise.
HF_MODELS = {
    "llama_gelu": (LlamaForCausalLM, LlamaConfig(**SHAPE, hidden_act="gelu")),
    "qwen2_yarn_own": (Qwen2ForCausalLM, Qwen2Config(**SHAPE, rope_parameters=YARN_ROPE_OWN)),
    "qwen3_bias_window_tied": (Qwen3ForCausalLM, Qwen3Config(
        **WIDE, attention_bias=True, tie_word_embeddings=True, use_sliding_window=True, sliding_window=8, max_window_layers=1)),
    "phi3": (Phi3ForCausalLM, Phi3Config(**SHAPE, sliding_window=7)),
    "gemma2": (Gemma2ForCausalLM, Gemma2Config(**WIDE, sliding_window=8, query_pre_attn_scalar=40, attn_logit_softcapping=2.0,
                                               final_logit_softcapping=3.0)),
    "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig(
        **{**WIDE, "num_hidden_layers": 4}, sliding_window=8, query_pre_attn_scalar=40, rope_parameters=GLOBAL_AND_LOCAL_ROPE,
        sliding_window_pattern=3)),
    "gemma3_final_cap": (Gemma3ForCausalLM, Gemma3TextConfig(**WIDE, sliding_window=6, final_logit_softcapping=3.0,
                                                             sliding_window_pattern=2)),
    "phi_head_norms": (PhiForCausalLM, PhiConfig(**SHAPE, qk_layernorm=True)),
}


def make_model(kind, seed=1, **changes):
    """The model with weights large enough that every part matters, norms and biases included. `kind`: a name, or a class
    and a config; `changes`: of that config."""
    torch.manual_seed(seed)
    model_class, config = (MODELS | HF_MODELS)[kind] if isinstance(kind, str) else kind
    config = copy.deepcopy(config)
    for key, value in changes.items():
        setattr(config, key, value)
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


def office_rows():
    """A little to learn: prompts and completions."""
    return [{"prompt": f"The office number {i}", "completion": f" is on floor {i % 5}."} for i in range(24)]


def make_talker(sharpness, end):
    """A model that ends its answers: the end token has about 7 % everywhere, by a logit of `end`; the others' logits depend
    on what stands before them, the more the sharper."""
    model = make_model("llama")
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 5
        model.model.norm.weight.fill_(1)
        model.lm_head.weight *= sharpness
        model.lm_head.weight[:, 0] = 0
        model.lm_head.weight[END] = 0
        model.lm_head.weight[END, 0] = end
    return model


def start_adapter(model, folder, task_type="CAUSAL_LM"):
    """A LoRA whose B is not zero, so that A has a gradient from the first step; saved, and still attached."""
    torch.manual_seed(5)
    tuned = peft.get_peft_model(model, peft.LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type=task_type))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    tuned.save_pretrained(folder)
    return tuned
