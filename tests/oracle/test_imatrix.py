"""Importance matrices: sums against a forward pass of transformers with hooks, and files quantized with one against
llama.cpp's own quantize call with the same one."""

import json
import shutil

import gguf
import numpy as np
import pytest
import torch
from conftest import ROOT, read_rows, write_rows
from llama_library import quantizer
from test_gguf_types import MODULES, STORIES, TYPES, WIDTH
from tiny_models import make_model, save_folder
from transformers import (AutoModelForCausalLM, AutoTokenizer, Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM,
                          PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM)

CPU = ["run.device=cpu", "run.precision=f32"]
TEXT = (ROOT / "data/office.txt").read_text()[:20000]


def read_matrix(path):
    """{weight: (sums, count)} of a file in GGUF's form."""
    tensors = {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(path).tensors}
    return {name.removesuffix(".in_sum2"): (values, float(tensors[name.replace(".in_sum2", ".counts")][0]))
            for name, values in tensors.items() if name.endswith(".in_sum2")}


def sums_of_transformers(folder, chunks):
    """{module: (sum over all tokens of the squares that enter it, tokens)}"""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    sums = {}

    def see(name):
        def hook(_, inputs):
            sums[name] = sums.get(name, 0) + inputs[0].detach().double().square().sum((0, 1))
        return hook

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and ".layers." in name:
            module.register_forward_pre_hook(see(name))
    with torch.no_grad():
        for chunk in chunks:
            model(torch.tensor([chunk]))
    return sums


# Modules that a family calls otherwise than most.
OWN = {"phi3_plain": {"ffn_up": "mlp.gate_up_proj"},
       "phi": {"attn_output": "self_attn.dense", "ffn_up": "mlp.fc1", "ffn_down": "mlp.fc2"},
       "starcoder2": {"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}}


def compare(name, folder, path, chunks, size):
    wanted, found = sums_of_transformers(folder, chunks), read_matrix(path)
    modules = {**MODULES, **OWN.get(name, {})}
    module_of = {weight: f"model.layers.{weight.split('.')[1]}.{modules[weight.split('.')[2]]}" for weight in found}
    assert set(module_of.values()) == set(wanted)
    for weight, (sums, count) in found.items():
        assert count == sum(map(len, chunks)), weight
        np.testing.assert_allclose(sums, wanted[module_of[weight]].numpy(), rtol=2e-4, atol=1e-6, err_msg=weight)
    reader = gguf.GGUFReader(path)
    names = [tensor.name for tensor in reader.tensors]
    assert names[::2] == sorted(names[::2])
    assert reader.fields["general.type"].contents() == "imatrix"
    assert reader.fields["imatrix.chunk_size"].contents() == size
    assert reader.fields["imatrix.chunk_count"].contents() == -(-sum(map(len, chunks)) // size)


@pytest.mark.parametrize("name", ["llama", "qwen2", "phi3_plain", "gemma2_usual_scale", "phi", "stablelm_parallel_head_norms", "starcoder2"])
def test_sums_are_those_of_a_forward_pass_of_transformers(name, prentice, tmp_path):
    folder = save_folder(make_model(name), tmp_path / "model")
    (tmp_path / "text.txt").write_text(TEXT)
    prentice.run("imatrix", "model.path=model", "data.train=text.txt", "data.max_length=200", "run.out=run", *CPU)
    ids = PreTrainedTokenizerFast.from_pretrained(folder).encode(TEXT)
    chunks = [ids[i:i + 200] for i in range(0, len(ids) - 199, 200)]
    compare(name, folder, tmp_path / "run/imatrix.gguf", chunks, 200)


def test_chunks_begin_as_the_tokenizer_begins_a_text(prentice, shared_data, tmp_path):
    """Of several files one stream is made, and the first token of every chunk is replaced (llama-imatrix)."""
    folder = shared_data / "models" / STORIES
    if not folder.is_dir():
        pytest.skip(f"no shared model {STORIES}")
    texts = [TEXT[:9000], TEXT[9000:14000]]
    for name, text in zip("ab", texts):
        (tmp_path / f"{name}.txt").write_text(text)
    prentice.run("imatrix", f"model.path={folder}", "data.train=[a.txt, b.txt]", "run.out=run", *CPU)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [token for text in texts for token in tokenizer.encode(text)]
    assert ids[0] == tokenizer.bos_token_id
    chunks = [[tokenizer.bos_token_id, *ids[i + 1:i + 512]] for i in range(0, len(ids) - 511, 512)]
    assert len(chunks) > 3
    compare(STORIES, folder, tmp_path / "run/imatrix.gguf", chunks, 512)
    assert gguf.GGUFReader(tmp_path / "run/imatrix.gguf").fields["imatrix.datasets"].contents() == ["a.txt", "b.txt"]


def test_conversations_are_run_as_the_model_sees_them(prentice, tmp_path):
    folder = save_folder(make_model("llama"), tmp_path / "model")
    rows = read_rows(ROOT / "data/tickets/train.jsonl")[:60]
    write_rows(tmp_path / "rows.jsonl", rows)
    prentice.run("imatrix", "model.path=model", "data.train=rows.jsonl", "run.out=run", *CPU)
    audit = json.loads(prentice.run("audit", "--json", "--rows", "60", write_recipe(tmp_path)).stdout)
    compare("llama", folder, tmp_path / "run/imatrix.gguf", [sequence["ids"] for sequence in audit["sequences"]], 512)


def write_recipe(folder):
    (folder / "audit.yaml").write_text("recipe: imatrix\nmodel: {path: model}\ndata: {train: rows.jsonl}\nrun: {device: cpu}\n")
    return folder / "audit.yaml"


@pytest.fixture(scope="module")
def quantize(node_modules):
    return quantizer(node_modules)


WIDE = {
    # Eight layers: with a matrix, the first one of Q4_0 has a finer type.
    "llama": (LlamaForCausalLM, LlamaConfig(**{**WIDTH, "num_hidden_layers": 8})),
    # Rows of 672 are whole blocks of 32 and not of 256.
    "llama_512": (LlamaForCausalLM, LlamaConfig(**{**WIDTH, "hidden_size": 512, "intermediate_size": 672, "num_hidden_layers": 4},
                                                tie_word_embeddings=True)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**WIDTH, tie_word_embeddings=True)),
    "gemma2": (Gemma2ForCausalLM, Gemma2Config(**WIDTH, head_dim=32, query_pre_attn_scalar=32, sliding_window=512, initializer_range=0.007)),
}


@pytest.mark.parametrize("name", WIDE)
def test_whole_files_have_the_types_and_bytes_of_llama_cpp(name, prentice, quantize, tmp_path):
    save_folder(make_model(WIDE[name]), tmp_path / "model")
    (tmp_path / "text.txt").write_text(TEXT)
    prentice.run("imatrix", "model.path=model", "data.train=text.txt", "data.max_length=128", "run.out=calibrated", *CPU)
    matrix = tmp_path / "calibrated/imatrix.gguf"
    prentice.run("export", "model.path=model", "export.gguf=[F32]", "run.out=plain", "run.device=cpu")
    prentice.run("export", "model.path=model", f"export.gguf=[{', '.join(TYPES)}]", f"export.imatrix={matrix}", "run.out=run",
                 "run.device=cpu")
    weights = {weight: sums / np.float32(count) for weight, (sums, count) in read_matrix(matrix).items()}
    for kind, number in TYPES.items():
        quantize(tmp_path / "plain/gguf/plain-F32.gguf", tmp_path / "theirs.gguf", number, imatrix=weights)
        theirs = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "theirs.gguf").tensors}
        reader = gguf.GGUFReader(tmp_path / f"run/gguf/run-{kind}.gguf")
        assert {tensor.name for tensor in reader.tensors} == set(theirs)
        for tensor in reader.tensors:
            assert tensor.tensor_type == theirs[tensor.name].tensor_type, f"{kind} {tensor.name}"
            np.testing.assert_array_equal(tensor.data.view(np.uint8), theirs[tensor.name].data.view(np.uint8), f"{kind} {tensor.name}")
        assert reader.fields["quantize.imatrix.file"].contents() == "imatrix.gguf"
        assert reader.fields["quantize.imatrix.entries_count"].contents() == len(weights)
        if kind == "Q4_K_M":
            quantize(tmp_path / "plain/gguf/plain-F32.gguf", tmp_path / "without.gguf", number)
            without = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "without.gguf").tensors}
            differ = sum(not np.array_equal(tensor.data, without[tensor.name].data) for tensor in reader.tensors)
    assert differ > len(weights) / 2  # it is used
    shutil.rmtree(tmp_path / "run")
