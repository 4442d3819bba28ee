"""`recipe: verify` of a PEFT folder: what was handed over against what was trained, and where it comes from."""

import json
import shutil

import pytest
import torch
from conftest import Prentice, failed
from safetensors.torch import load_file, save_file
from tiny_models import TOKENIZER, make_model, save_folder, start_adapter

LAYER = "base_model.model.model.layers.0."
Q_B = LAYER + "self_attn.q_proj.lora_B.weight"


@pytest.fixture(scope="module")
def shop(binary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    model = make_model("llama")
    save_folder(model, folder / "model")
    start_adapter(model, folder / "trained")
    save_folder(make_model("llama", seed=7), folder / "stranger")
    return folder, Prentice(binary, folder)


def verify(shop, name, code=0, *words):
    folder, program = shop
    shutil.rmtree(folder / "proof", ignore_errors=True)
    said = program.run("verify", "verify.model=model+trained", f"verify.artifact=model+{name}", "run.out=proof", "run.device=cpu", *words, code=code)
    return said, json.loads((folder / "proof/verify.json").read_text())


def copy(shop, name, change=None, settings=None, tokenizer=False):
    """The trained adapter under another name, its tensors and its config changed."""
    folder = shop[0] / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(shop[0] / "trained", folder)
    tensors = load_file(folder / "adapter_model.safetensors")
    if change:
        tensors = {key: tensor.contiguous().clone() for key, tensor in change(tensors).items()}
        save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **(settings or {})}))
    if tokenizer:
        for file in TOKENIZER.iterdir():
            shutil.copy(file, folder)
    return folder


def test_good_adapters_pass(shop):
    copy(shop, "same")
    copy(shop, "narrow", lambda tensors: {key: tensor.bfloat16() for key, tensor in tensors.items()})
    copy(shop, "with_tokenizer", tokenizer=True)
    for name in ("same", "narrow", "with_tokenizer"):
        report = verify(shop, name)[1]
        names = [check["name"] for check in report["checks"]]
        assert report["passed"] and "values" in names and "log-probabilities" in names, names
        assert ("token ids" in names) == (name == "with_tokenizer")


def with_value(tensors, key, change):
    tensor = tensors[key].clone()
    tensor.view(-1)[7] = change(tensor.view(-1)[7])
    return {**tensors, key: tensor}


def layers_swapped(tensors):
    return {key.replace("layers.0.", "layers.x.").replace("layers.1.", "layers.0.").replace("layers.x.", "layers.1."): tensor
            for key, tensor in tensors.items()}


FAULTS = {
    "a value": (lambda tensors: with_value(tensors, Q_B, lambda value: torch.nextafter(value, value + 1)), {}, "values"),
    "a scaled tensor": (lambda tensors: {**tensors, Q_B: tensors[Q_B] * 1.01}, {}, "values"),
    "zeros": (lambda tensors: {**tensors, Q_B: torch.zeros_like(tensors[Q_B])}, {}, "values"),
    "layers in each other's place": (layers_swapped, {}, "values"),
    "another alpha": (None, {"lora_alpha": 32}, "scale"),
    "rank-stabilized": (None, {"use_rslora": True}, "scale"),
    "a tensor that is missing": (lambda tensors: {key: tensor for key, tensor in tensors.items() if key != Q_B}, {}, "readable"),
    "a module less": (lambda tensors: {key: tensor for key, tensor in tensors.items() if "q_proj" not in key},
                      {"target_modules": ["k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]}, "tensors"),
    "no number": (lambda tensors: with_value(tensors, Q_B, lambda _: float("nan")), {}, "readable"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name, shop):
    change, settings, check = FAULTS[name]
    folder = copy(shop, "faulty", change, settings)
    said, report = verify(shop, "faulty", 9)
    assert failed(report) == [check], report
    assert not folder.exists() and (shop[0] / "faulty.rejected").is_dir() and "faulty.rejected" in said.stderr
    shutil.rmtree(shop[0] / "faulty.rejected")


def test_another_tokenizer_beside_it_is_found(shop):
    folder = copy(shop, "faulty", tokenizer=True)
    words = json.loads((folder / "tokenizer.json").read_text())
    vocab = words["model"]["vocab"]
    first, second = (next(text for text, token in vocab.items() if token == wanted) for wanted in (900, 901))
    vocab[first], vocab[second] = 901, 900
    (folder / "tokenizer.json").write_text(json.dumps(words))
    assert "ids of tokens" in failed(verify(shop, "faulty", 9)[1])
    shutil.rmtree(shop[0] / "faulty.rejected")


def test_a_model_without_an_adapter_has_none_to_compare(shop):
    folder, program = shop
    copy(shop, "same")
    said = program.run("verify", "verify.model=model", "verify.artifact=model+same", "run.out=none", code=2).stderr
    assert "is an adapter, and verify.model has none" in said
    (folder / "rows.so").write_bytes(b"")
    said = program.run("verify", "verify.model=model+trained", "verify.artifact=model+same", "run.out=none", "verify.llama_cpp=rows.so", code=2).stderr
    assert "llama.cpp reads GGUF files" in said


def test_a_run_s_adapter_tells_its_provenance(shop):
    folder, program = shop
    rows = [json.dumps({"prompt": f"{i} + 1 =", "completion": f" {i + 1}"}) for i in range(16)]
    (folder / "rows.jsonl").write_text("\n".join(rows) + "\n")
    program.run("sft", "model.path=model", "data.train=rows.jsonl", "train.steps=2", "train.batch=4", "data.eval_split=0", "run.device=cpu",
                "run.precision=f32", "run.out=run")
    words = ["verify", "verify.model=run", "verify.artifact=run/adapter", "run.device=cpu", "run.out=asked", "--provenance", "--fresh"]
    program.run(*words)
    checks = {check["name"]: check["passed"] for check in json.loads((folder / "asked/verify.json").read_text())["checks"]}
    for name in ("recipe", "program", "input.model.path", "data.train[0] on the disk"):
        assert checks[f"provenance: {name}"] is True, name
    (folder / "rows.jsonl").write_text("\n".join(rows[1:]) + "\n")
    program.run(*words, code=9)
    assert failed(json.loads((folder / "asked/verify.json").read_text())) == ["provenance: data.train[0] on the disk"]
    assert (folder / "run/adapter").is_dir()  # what others have become is no reason to take its name
