"""File types of GGUF: every tensor's type and bytes against llama.cpp's own quantize call on the F32 file, and llama.cpp's
log-probabilities against transformers with the stored values as weights. Drives test_export."""

import json
import os
import subprocess

import gguf
import numpy as np
import pytest
import torch
from conftest import ROOT, built, setting
from llama_library import quantizer
from test_gguf_llama_cpp import ask_llama_cpp, text_config, with_the_table_of_ggml
from tiny_models import SHAPE, make_model, save_folder
from transformers import (AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM, Phi3Config,
                          Phi3ForCausalLM, Qwen2Config, Qwen2ForCausalLM)

STORIES = "stories260K-hf"
# llama.h, llama_ftype
TYPES = {"Q4_0": 2, "Q8_0": 7, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16,
         "Q5_K_M": 17, "Q6_K": 18}
WIDTH = {**SHAPE, "hidden_size": 256, "intermediate_size": 768, "num_attention_heads": 8, "num_key_value_heads": 4}
MODELS = {
    # Sixteen layers: each rule about eighths and sixteenths of them chooses some; four query heads to one of the values'.
    "llama_deep": (LlamaForCausalLM, LlamaConfig(**{**WIDTH, "num_hidden_layers": 16, "num_key_value_heads": 2})),
    "llama": (LlamaForCausalLM, LlamaConfig(**WIDTH)),
    # Rows of 672 are whole blocks of 32 and not of 256.
    "llama_512": (LlamaForCausalLM, LlamaConfig(**{**WIDTH, "hidden_size": 512, "intermediate_size": 672, "num_hidden_layers": 4},
                                                tie_word_embeddings=True)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**WIDTH, tie_word_embeddings=True)),
    "gemma2": (Gemma2ForCausalLM, Gemma2Config(**WIDTH, head_dim=32, query_pre_attn_scalar=32, sliding_window=64, initializer_range=0.007)),
    "phi3": (Phi3ForCausalLM, Phi3Config(**WIDTH, sliding_window=None)),
}
# Of the families but one those that differ in what is computed: with and without minimums, blocks of 32 and of 256.
FEW = ["Q4_0", "Q8_0", "Q3_K_M", "Q4_K_M"]
FAMILIES = {"llama": ["F32", *TYPES], "qwen2": FEW, "gemma2": ["F32", *FEW], "phi3": FEW, STORIES: ["Q4_0", "Q8_0"]}


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """{name: (base folder, folder of TYPE.gguf)}"""
    program = built("test_export")
    root = tmp_path_factory.mktemp("types")
    made = {}
    for name, (model_class, config) in MODELS.items():
        made[name] = (save_folder(make_model((model_class, config)), root / name / "base"), root / name / "out")
    stories = setting("PRENTICE_TEST_DATA", ROOT.parent / "shared/data") / "models" / STORIES
    if stories.is_dir():
        made[STORIES] = (stories, root / STORIES / "out")
    requests = [{"base": str(base), "adapter": None, "out": str(out), "gguf": ["F32", *TYPES], "merged": None}
                for base, out in made.values()]
    (root / "request.json").write_text(json.dumps(requests))
    result = subprocess.run([program, "--gtest_filter=Oracle.WritesExports"], capture_output=True, text=True,
                            env={**os.environ, "PRENTICE_ORACLE_DIR": str(root)})
    assert result.returncode == 0, result.stdout[-4000:]
    return made


@pytest.fixture(scope="module")
def quantize(node_modules):
    return quantizer(node_modules)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", [*MODELS, STORIES])
def test_every_tensor_has_the_type_and_the_bytes_of_llama_cpp(name, kind, exports, quantize, tmp_path):
    if name not in exports:
        pytest.skip(f"no shared model {name}")
    folder = exports[name][1]
    quantize(folder / "F32.gguf", tmp_path / "theirs.gguf", TYPES[kind])
    theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "theirs.gguf").tensors}
    reader = gguf.GGUFReader(folder / f"{kind}.gguf")
    assert {tensor.name for tensor in reader.tensors} == set(theirs)
    for tensor in reader.tensors:
        assert tensor.tensor_type == theirs[tensor.name].tensor_type, tensor.name
        np.testing.assert_array_equal(tensor.data.view(np.uint8), theirs[tensor.name].data.view(np.uint8), tensor.name)
    assert reader.get_field("general.file_type").contents() == TYPES[kind]


MODULES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_qkv": "self_attn.qkv_proj",
           "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
ENDS = {"token_embd.weight": "model.embed_tokens.weight", "output.weight": "lm_head.weight"}


def stored_model(name, base, path):
    """The model with the matrices of the file, decoded by the package gguf."""
    model = with_the_table_of_ggml(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager").eval())
    weights, head = dict(model.named_parameters()), model.config.hidden_size // model.config.num_attention_heads
    for tensor in gguf.GGUFReader(path).tensors:
        if len(tensor.shape) < 2:
            continue
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(*reversed(tensor.shape.tolist()))
        module = tensor.name.split(".")[2] if tensor.name.startswith("blk.") else ""
        if name in ("llama", STORIES) and module in ("attn_q", "attn_k"):  # rows as llama.cpp rotates them: pairs side by side
            heads = values.reshape(-1, head // 2, 2, values.shape[1])
            values = heads.swapaxes(1, 2).reshape(values.shape)
        known = ENDS.get(tensor.name) or f"model.layers.{tensor.name.split('.')[1]}.{MODULES[module]}.weight"
        if name == "phi3":
            known = known.replace("up_proj", "gate_up_proj")
        with torch.no_grad():
            weights[known].copy_(torch.from_numpy(np.ascontiguousarray(values)))
    return model


def test_llama_cpp_computes_what_the_stored_values_say(exports, tmp_path):
    """Its int8 activations alone move log-probabilities: a small mean divergence is left, and clear winners stay."""
    ids = torch.randint(3, 500, (24,), generator=torch.Generator().manual_seed(4)).tolist()
    cases = [(name, kind) for name, kinds in FAMILIES.items() if name in exports for kind in kinds]
    answers = ask_llama_cpp([{"path": str(exports[name][1] / f"{kind}.gguf"), "contextSize": 256, "sequences": [ids],
                              "vocabulary": text_config(exports[name][0])["vocab_size"]} for name, kind in cases], tmp_path)
    divergences = {}
    for (name, kind), answer in zip(cases, answers):
        with torch.no_grad():
            ours = stored_model(name, exports[name][0], exports[name][1] / f"{kind}.gguf")(torch.tensor([ids])).logits[0, -1]
        ours = ours.double().log_softmax(-1)
        theirs = torch.tensor([-200.0 if x is None else x for x in answer["log_probs"][0]], dtype=torch.float64)
        divergences.setdefault(name, []).append(float((ours.exp() * (ours - theirs)).sum()))
        first, second = ours.topk(2).values
        if first - second > 0.3:
            assert ours.argmax() == theirs.argmax(), f"{name} {kind}"
    for name, found in divergences.items():
        assert np.mean(found) < 1e-3, f"{name}: {found}"
        assert "F32" not in FAMILIES[name] or abs(found[0]) < 1e-5, f"{name}: {found[0]}"  # no int8 there
