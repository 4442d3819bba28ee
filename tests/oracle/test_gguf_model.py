"""GGUF files as models: our forward and our tokenizer on the file against transformers on the folder it was made from, on what
llama-quantize and the package gguf made of it, and against llama.cpp on the same file. Drives test_export."""

import json
import os
import subprocess

import gguf
import numpy as np
import pytest
import torch
from conftest import ROOT, absent, built, setting
from llama_library import quantizer
from test_gguf_adapter import random_adapter
from test_gguf_llama_cpp import TEXTS, ask_llama_cpp, sequences_for, text_config, uses_gelu
from tiny_models import MODELS, make_model, save_folder
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

FOLDER_TOLERANCE = 1e-5  # of logits, relative: the same arithmetic on the same numbers
# Wide enough for blocks of 256; rows of the down projection end within one, and fall back to those of 32.
WIDE = {"hidden_size": 256, "intermediate_size": 352}
MIXES = ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K", "Q4_0", "F16", "BF16"]
QUANTIZED = {"Q4_1": 3, "Q5_0": 8, "Q5_1": 9, "Q4_K_M": 15}  # llama_ftype; by llama-quantize's own hand
WIDE_FAMILIES = ["llama", "qwen2", "phi3_plain", "gemma2_usual_scale", "stablelm"]


def run(test, folder, requests):
    program = built("test_export")
    (folder / "request.json").write_text(json.dumps(requests))
    result = subprocess.run([program, f"--gtest_filter=Oracle.{test}"], capture_output=True, text=True,
                            env={**os.environ, "PRENTICE_ORACLE_DIR": str(folder)})
    assert result.returncode == 0, result.stdout[-4000:]


def export(root, bases, types):
    """{name: folder of TYPE.gguf}"""
    out = {name: root / f"{name}-gguf" for name in bases}
    run("WritesExports", root, [{"base": str(bases[name]), "adapter": None, "out": str(out[name]), "gguf": types, "merged": None}
                                for name in bases])
    return out


def ours(root, files, texts=(), adapter=None):
    """What we make of files: [(path, vocabulary sequences)] -> answers."""
    run("WritesAnswers", root, [{"model": str(path), "adapter": adapter and str(adapter), "texts": list(texts), "sequences": sequences}
                                for path, sequences in files])
    return json.loads((root / "answers.json").read_text())


def log_probs(answer, index=0):
    return torch.tensor([-200.0 if x is None else x for x in answer["log_probs"][index]], dtype=torch.float64)


def divergence(p, q):
    return (p.exp() * (p - q)).sum().item()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    bases = {name: save_folder(make_model(name), root / name) for name in MODELS}
    return {"root": root, "bases": bases, "files": export(root, bases, ["F32", "Q8_0"])}


@pytest.fixture(scope="module")
def tiny_answers(tiny):
    names = list(MODELS)
    vocabulary = {name: text_config(tiny["bases"][name])["vocab_size"] for name in names}
    files = [(tiny["files"][name] / f"{kind}.gguf", sequences_for(name, vocabulary[name])) for name in names for kind in ("F32", "Q8_0")]
    found = ours(tiny["root"], files, TEXTS)
    return {name: {"F32": found[2 * i], "Q8_0": found[2 * i + 1]} for i, name in enumerate(names)}


@pytest.fixture(scope="module")
def tiny_llama_cpp(tiny, tmp_path_factory):
    jobs = []
    for name in MODELS:
        vocabulary = text_config(tiny["bases"][name])["vocab_size"]
        for kind in ("F32", "Q8_0"):
            jobs.append({"path": str(tiny["files"][name] / f"{kind}.gguf"), "contextSize": 256, "vocabulary": vocabulary, "texts": TEXTS,
                         "sequences": sequences_for(name, vocabulary)})
    found = ask_llama_cpp(jobs, tmp_path_factory.mktemp("answers"))
    return {name: {"F32": found[2 * i], "Q8_0": found[2 * i + 1]} for i, name in enumerate(MODELS)}


@pytest.mark.parametrize("name", MODELS)
def test_the_f32_file_gives_the_log_probabilities_of_the_folder(name, tiny, tiny_answers):
    model = AutoModelForCausalLM.from_pretrained(tiny["bases"][name], dtype=torch.float32, attn_implementation="eager").eval()
    for i, ids in enumerate(sequences_for(name, text_config(tiny["bases"][name])["vocab_size"])):
        with torch.no_grad():
            wanted = model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
        found = log_probs(tiny_answers[name]["F32"], i)[: len(wanted)]
        assert (found - wanted).norm() < FOLDER_TOLERANCE * wanted.norm()


@pytest.mark.parametrize("name", MODELS)
def test_token_ids_are_those_of_the_folder_and_of_llama_cpp(name, tiny, tiny_answers, tiny_llama_cpp):
    tokenizer = Tokenizer.from_file(str(tiny["bases"][name] / "tokenizer.json"))
    answer = tiny_answers[name]["F32"]
    for text, found, theirs in zip(TEXTS, answer["texts"], tiny_llama_cpp[name]["F32"]["texts"], strict=True):
        assert found == theirs == tokenizer.encode(text, add_special_tokens=False).ids, text
    assert answer["eos"] == tiny_llama_cpp[name]["F32"]["eos"]


@pytest.mark.parametrize("name", MODELS)
def test_log_probabilities_are_those_of_llama_cpp(name, tiny_answers, tiny_llama_cpp):
    """In F32 up to rounding, and ggml's table where there is a GELU; with Q8_0 llama.cpp rounds the activations to 8 bits."""
    gelu = uses_gelu(make_model(name))
    for i in range(len(tiny_answers[name]["F32"]["log_probs"])):
        found, theirs = log_probs(tiny_answers[name]["F32"], i), log_probs(tiny_llama_cpp[name]["F32"], i)
        likely = found > -80
        assert (found - theirs)[likely].abs().max() < (5e-2 if gelu else 1e-4)
        found, theirs = log_probs(tiny_answers[name]["Q8_0"], i), log_probs(tiny_llama_cpp[name]["Q8_0"], i)
        assert divergence(theirs, found) < 1e-2


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Models of width 256 in every mix, and what llama-quantize makes of their F32 files."""
    root = tmp_path_factory.mktemp("wide")
    bases = {name: save_folder(make_model(name, **WIDE), root / name) for name in WIDE_FAMILIES}
    files = export(root, bases, ["F32", *MIXES])
    modules = setting("PRENTICE_NODE_MODULES", ROOT / "node_modules")
    if not (modules / "node-llama-cpp").is_dir():
        absent(f"no node-llama-cpp in {modules}")
    quantize = quantizer(modules)
    for folder in files.values():
        for kind, number in QUANTIZED.items():
            quantize(folder / "F32.gguf", folder / f"theirs-{kind}.gguf", number)
    return {"root": root, "bases": bases, "files": files}


def dequantized_copy(path, target):
    """The same file in F32, every value by the package gguf: metadata as they are, tensors by its own decoders and writer."""
    reader = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        kind = field.types[0]
        writer.add_key_value(key, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, np.ascontiguousarray(values, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


KINDS = [*MIXES, *(f"theirs-{kind}" for kind in QUANTIZED)]


@pytest.mark.parametrize("name", WIDE_FAMILIES)
def test_blocks_are_the_values_that_the_package_gguf_decodes(name, wide, tmp_path):
    """Every mix against the same numbers in F32, in files of another writer."""
    folder = wide["files"][name]
    sequences = sequences_for(name, 1536)
    for kind in KINDS:
        dequantized_copy(folder / f"{kind}.gguf", tmp_path / f"{kind}.gguf")
    answers = ours(tmp_path, [(at / f"{kind}.gguf", sequences) for kind in KINDS for at in (folder, tmp_path)], TEXTS[:2])
    exact = log_probs(ours(tmp_path, [(folder / "F32.gguf", sequences)])[0])
    for i, kind in enumerate(KINDS):
        blocks, plain = answers[2 * i], answers[2 * i + 1]
        assert blocks["texts"] == plain["texts"]
        found, wanted = log_probs(blocks), log_probs(plain)
        assert (found - wanted).norm() < FOLDER_TOLERANCE * wanted.norm(), kind
        assert (found - exact).norm() > 1e-4 * exact.norm() or kind in ("F16", "BF16"), kind  # rounding has done something


@pytest.mark.parametrize("name", WIDE_FAMILIES)
def test_every_type_agrees_with_llama_cpp(name, wide, tmp_path):
    folder = wide["files"][name]
    sequences = sequences_for(name, 1536)
    theirs = ask_llama_cpp([{"path": str(folder / f"{kind}.gguf"), "contextSize": 256, "vocabulary": 1536, "sequences": sequences}
                            for kind in KINDS], tmp_path)
    found = ours(tmp_path, [(folder / f"{kind}.gguf", sequences) for kind in KINDS])
    for kind, a, b in zip(KINDS, found, theirs, strict=True):
        for i in range(len(sequences)):
            p, q = log_probs(a, i), log_probs(b, i)
            assert divergence(q, p) < 5e-3, f"{kind}: KLD {divergence(q, p):.2e}"
            best = p.topk(2).values
            assert p.argmax() == q.argmax() or best[0] - best[1] < 0.3, kind


@pytest.mark.parametrize("name, kind", [("llama", "Q4_K_M"), ("qwen2", "Q2_K"), ("phi3_plain", "Q6_K"), ("stablelm", "F32")])
def test_an_adapter_on_the_file_is_what_llama_cpp_serves(name, kind, wide, prentice, tmp_path):
    """The served weights are the trained ones: no merging, no second rounding."""
    base = wide["files"][name] / f"{kind}.gguf"
    random_adapter(wide["bases"][name], tmp_path / "adapter", {"target_modules": "all-linear"})
    prentice.run("export", f"model.path={base}+{tmp_path / 'adapter'}", "export.gguf_adapter=true", "run.out=out")
    sequences = sequences_for(name, 1536)
    theirs = ask_llama_cpp([{"path": str(base), "lora": str(tmp_path / "out/gguf/adapter.gguf"), "contextSize": 256, "vocabulary": 1536,
                             "sequences": sequences}], tmp_path)[0]
    adapted = ours(tmp_path, [(base, sequences)], adapter=tmp_path / "adapter")[0]
    plain = ours(tmp_path, [(base, sequences)])[0]
    for i in range(len(sequences)):
        found, wanted = log_probs(adapted, i), log_probs(theirs, i)
        assert divergence(wanted, found) < (1e-5 if kind == "F32" else 5e-3)
        assert divergence(wanted, log_probs(plain, i)) > 0.1, "the adapter does nothing"
