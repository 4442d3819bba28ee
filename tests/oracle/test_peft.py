"""Adapter folders, live: peft opens what we write with our logits, and we open what it writes with its logits."""

import json
import os
import subprocess

import pytest
import torch
from conftest import built, relative
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import (AutoModelForCausalLM, Gemma2Config, Gemma3Config, Gemma3TextConfig, GemmaConfig, LlamaConfig,
                          Phi3Config, PhiConfig, Qwen2Config, Qwen3Config, StableLmConfig, Starcoder2Config)

VOCABULARY = 96
LENGTHS = [17, 4, 30]
SMALL = dict(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64)
BASES = {
    "llama": LlamaConfig(**SMALL, attention_bias=True, mlp_bias=True),
    "qwen2_tied": Qwen2Config(**SMALL, tie_word_embeddings=True),
    "phi3": Phi3Config(**SMALL, pad_token_id=None),
    "phi": PhiConfig(**SMALL),
    "qwen3": Qwen3Config(**SMALL, head_dim=24),
    "gemma": GemmaConfig(**SMALL, head_dim=24, pad_token_id=None),
    "gemma2": Gemma2Config(**SMALL, head_dim=24, pad_token_id=None),
    "gemma3": Gemma3TextConfig(**SMALL, head_dim=24, pad_token_id=None),
    "stablelm": StableLmConfig(**SMALL),
    "starcoder2": Starcoder2Config(**SMALL, tie_word_embeddings=False),
    "gemma3_with_images": Gemma3Config(
        text_config={**SMALL, "head_dim": 24, "pad_token_id": None}, mm_tokens_per_image=4, image_token_index=5,
        boi_token_index=6, eoi_token_index=7, vision_config={
            "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16,
            "patch_size": 4}),
}
SECTION = dict(targets=["all-linear"], rank=4, alpha=8, rslora=False, layers=[], rank_pattern={}, alpha_pattern={}, dtype="f32",
               modules_to_save=[], init="default", dora=False)
OURS = {
    "all": {},
    "names": dict(targets=["q_proj", "down_proj"]),
    "expression": dict(targets=[r".*\.[02]\.(self_attn\.[kv]|mlp\.up)_proj"]),
    "layers": dict(targets=["o_proj", "gate_proj"], layers=[0, 2]),
    "uneven": dict(targets=["model.layers.0.self_attn.q_proj", "up_proj"], layers=[1]),
    "rslora": dict(rslora=True, alpha=10.5, rank=6),
    "patterns": dict(rank_pattern={"q_proj": 2, r"layers\.1\.mlp\.up_proj": 7}, alpha_pattern={"v_proj": 3}),
    "rslora_patterns": dict(rslora=True, rank_pattern={"k_proj": 9}, alpha_pattern={"k_proj": 2.5, r"layers\.2\..*down_proj": 1}),
    "dora": dict(dora=True),
    "dora_rslora": dict(dora=True, rslora=True, targets=["q_proj", "lm_head", "down_proj"], rank_pattern={"q_proj": 3}),
    "embedding": dict(targets=[".*(embed_tokens|o_proj|fc2)"]),
    "saved": dict(modules_to_save=["embed_tokens", "lm_head"]),
    "saved_head": dict(targets=["q_proj"], modules_to_save=["lm_head", "input_layernorm"]),
    "saved_embedding": dict(targets=["o_proj"], modules_to_save=["embed_tokens"]),
    "saved_layer": dict(modules_to_save=["k_proj"]),
    "pissa": dict(init="pissa"),
    "pissa_rslora": dict(init="pissa", rslora=True, alpha=3, rank_pattern={"o_proj": 2}),
    "bf16": dict(dtype="bf16"),
    "f16": dict(dtype="f16"),
}
THEIRS = {
    "names": dict(target_modules=["q_proj", "v_proj"]),
    "all": dict(target_modules="all-linear"),
    "expression": dict(target_modules=r"(?:.*\.)?layers\.(?P<i>[01])\.(?!self_attn)\w+\.(up|down)_proj"),
    "rslora": dict(target_modules="all-linear", use_rslora=True, r=6, lora_alpha=9),
    "patterns": dict(target_modules="all-linear", rank_pattern={"^model.layers.1.mlp.up_proj": 5, "up_proj": 2},
                     alpha_pattern={r"\d\.self_attn\..*": 3.5}),
    "layers": dict(target_modules=["o_proj"], layers_to_transform=2),
    "excluded": dict(target_modules="all-linear", exclude_modules=r".*(q|k)_proj"),
    "head": dict(target_modules=["lm_head", "q_proj"]),
    "gaussian": dict(target_modules=["k_proj"], init_lora_weights="gaussian"),
    "dora": dict(target_modules="all-linear", use_dora=True),
    "dora_head": dict(target_modules=["lm_head", "up_proj"], use_dora=True, use_rslora=True),
    "embedding": dict(target_modules=["embed_tokens", "down_proj", "fc2"]),
    "saved": dict(target_modules="all-linear", modules_to_save=["embed_tokens", "lm_head"]),
    "saved_norms": dict(target_modules="all-linear", modules_to_save=["norm"]),
    "saved_layer": dict(target_modules="all-linear", modules_to_save=["k_proj"]),
    "saved_tied": dict(target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"], ensure_weight_tying=True),
    "saved_tied_head": dict(target_modules=["q_proj"], modules_to_save=["lm_head"], ensure_weight_tying=True),
}
# Cases for any names; all others go with the bases that have Llama's.
ANY_NAMES = {"all", "rslora", "bf16", "dora", "embedding", "saved", "pissa"}
OURS_FUSED = {
    "fused": dict(targets=["qkv_proj", "gate_up_proj"], layers=[0, 2]),
    "fused_patterns": dict(targets=["qkv_proj", "down_proj"], rank_pattern={"qkv_proj": 7}, alpha_pattern={"qkv_proj": 3}),
}
THEIRS_FUSED = {
    "fused": dict(target_modules=["qkv_proj", "o_proj"]),
    "fused_expression": dict(target_modules=r".*layers\.[12]\..*gate_up_proj"),
}
FOR_BASE = {"phi3": (OURS_FUSED, THEIRS_FUSED), **{base: ({}, {}) for base in ("phi", "qwen3", "gemma", "gemma2", "gemma3", "stablelm", "starcoder2")}}
# Names that the model of images has too: what peft is told must say which.
BESIDE_IMAGES = {
    "language": dict(target_modules=r".*language_model.*\.(q_proj|o_proj|down_proj)"),
    "language_dora": dict(target_modules=r".*language_model.*\.(k_proj|up_proj)", use_dora=True),
}
FOR_BASE["gemma3_with_images"] = ({}, BESIDE_IMAGES)


def cases(side):
    """(base, name, case) of every pair that fits."""
    for base in BASES:
        common = (OURS, THEIRS)[side]
        if base in FOR_BASE:
            any_names = {name: case for name, case in common.items() if name in ANY_NAMES}
            common = FOR_BASE[base][side] | (any_names if FOR_BASE[base][side] is not BESIDE_IMAGES else {})
        yield from (pytest.param(base, case, id=f"{base}-{name}") for name, case in common.items())


@pytest.fixture(scope="module")
def program():
    return built("test_adapter")


@pytest.fixture
def base(request, tmp_path):
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(BASES[request.param], attn_implementation="eager", dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(tmp_path / "base")
    sequences = [torch.randint(0, VOCABULARY, (length,)).tolist() for length in LENGTHS]
    (tmp_path / "tokens.json").write_text(json.dumps(sequences))
    return model, sequences


def ours_of(program, folder):
    """logits, merged (logits after merging), grad.NAME"""
    subprocess.run([program, "--gtest_filter=Oracle.WritesAdapterAndLogits"], check=True, capture_output=True,
                   env={**os.environ, "PRENTICE_ORACLE_DIR": str(folder)})
    return load_file(folder / "ours.safetensors")


@torch.no_grad()
def their_logits(model, sequences):
    return torch.cat([model(torch.tensor([ids]), use_cache=False).logits[0] for ids in sequences])


def their_gradients(tuned, sequences):
    """Of the mean loss over all labels, in f64, by our names."""
    tuned = tuned.double()
    total = sum(len(ids) - 1 for ids in sequences)
    for ids in sequences:
        logits = tuned(torch.tensor([ids]), use_cache=False).logits[0, :-1]
        (torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum") / total).backward()
    gradients = {}
    for key, parameter in tuned.named_parameters():
        if not parameter.requires_grad:
            continue
        name = key.removeprefix("base_model.model.").replace(".modules_to_save.default", "").replace(".default", "")
        gradients[name.replace("lora_magnitude_vector.weight", "lora_magnitude_vector")] = parameter.grad
    return gradients


def compare_gradients(ours, tuned, sequences):
    theirs = their_gradients(tuned, sequences)
    assert {name.removeprefix("grad.") for name in ours if name.startswith("grad.")} == set(theirs)
    for name, gradient in theirs.items():
        assert relative(ours["grad." + name], gradient) < 1e-5, name


@pytest.mark.parametrize("base,case", cases(0), indirect=["base"])
def test_peft_opens_our_folder_with_our_logits(case, base, program, tmp_path):
    model, sequences = base
    section = {**SECTION, **case}
    (tmp_path / "section.json").write_text(json.dumps(section))
    ours = ours_of(program, tmp_path)
    without = their_logits(model, sequences)
    pissa = section["init"] == "pissa"
    tuned = PeftModel.from_pretrained(model, tmp_path / "ours", is_trainable=not pissa).eval()
    theirs = their_logits(tuned, sequences)
    assert relative(theirs, without) > 1e-2, "the adapter does nothing"
    assert relative(ours["logits"], theirs) < {"f32": 1e-5, "bf16": 1e-2, "f16": 2e-3}[section["dtype"]]
    assert relative(ours["merged"], ours["logits"]) < 1e-5
    if section["dtype"] == "f32" and not pissa:  # whose folder is a plain adapter of another shape
        compare_gradients(ours, tuned, sequences)
        tuned = tuned.float()
    words = str(section["targets"] + section["modules_to_save"])
    if not model.config.tie_word_embeddings or ("embed_tokens" not in words and "lm_head" not in words):
        merged = their_logits(tuned.merge_and_unload(), sequences)
        assert relative(merged, theirs) < 1e-5


@pytest.mark.parametrize("base,case", cases(1), indirect=["base"])
def test_we_open_the_folder_of_peft_with_its_logits(case, base, program, tmp_path):
    model, sequences = base
    tuned = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **{"r": 4, "lora_alpha": 6, **case})).eval()
    with torch.no_grad():
        for key, parameter in tuned.named_parameters():
            if "lora_magnitude" in key:
                parameter.mul_(1 + 0.3 * torch.rand_like(parameter))
            elif "lora_" in key:
                parameter.copy_(torch.randn_like(parameter) * 0.2)
            elif "modules_to_save" in key:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    tuned.save_pretrained(tmp_path / "theirs")
    ours = ours_of(program, tmp_path)
    assert relative(ours["logits"], their_logits(tuned, sequences)) < 1e-5
    assert relative(ours["merged"], ours["logits"]) < 1e-5
    compare_gradients(ours, tuned, sequences)
