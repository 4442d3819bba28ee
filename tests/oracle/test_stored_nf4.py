"""Folders in four bits as transformers and bitsandbytes write and read them: codes in every type of storage, and scales that
are not finite."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_quantized import TICKETS, exact_places, mean_losses, reference_losses
from tiny_models import make_model, save_folder
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

bnb = pytest.importorskip("bitsandbytes")
STATE = ".quant_state.bitsandbytes__nf4"
NAME = "model.layers.1.mlp.down_proj"
ODD = {"hidden_size": 40, "intermediate_size": 191}  # odd rows, blocks that run over their ends, and a short one at the end
EVEN = {"hidden_size": 64, "intermediate_size": 192}


def in_four_bits(folder, storage, nested):
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=nested,
                                  bnb_4bit_compute_dtype=torch.float32, bnb_4bit_quant_storage=storage)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, device_map="cpu", quantization_config=settings)


def stored_folder(tmp_path, storage, nested, name="llama", sizes=EVEN):
    plain = save_folder(make_model(name, **sizes), tmp_path / "model")
    return save_folder(in_four_bits(plain, storage, nested), tmp_path / storage)


def loaded(folder):
    """In training mode: bitsandbytes infers in bf16 on some CPUs."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, device_map="cpu").train()


def layers(model):
    return {name: module.weight for name, module in model.named_modules() if isinstance(module, bnb.nn.Linear4bit)}


def state_text(stored, name):
    return bytes(stored[name + ".weight" + STATE].tolist()).decode()


@pytest.mark.parametrize("name, storage, nested, sizes", [
    ("llama", "bfloat16", True, ODD), ("qwen2", "float16", False, ODD), ("phi3", "float32", True, ODD),
    ("llama", "float32", False, ODD), ("qwen2", "bfloat16", True, ODD), ("phi3", "bfloat16", False, ODD),
    ("llama", "float64", True, EVEN), ("llama", "int8", False, EVEN)])
def test_codes_are_read_in_every_type_of_storage(name, storage, nested, sizes, prentice, tmp_path):
    folder = stored_folder(tmp_path, storage, nested, name, sizes)
    model = loaded(folder)
    weights = layers(model)
    assert len(weights) >= 3 * 4 and all(weight.dtype == getattr(torch, storage) for weight in weights.values())
    ours = mean_losses(prentice, folder, tmp_path)
    assert ours == pytest.approx(reference_losses(model, prentice, tmp_path), rel=2e-5)
    prentice.run("export", f"model.path={folder}", "export.merged=f32", "run.out=whole", "run.device=cpu")
    whole = load_file(tmp_path / "whole/merged/model.safetensors")
    for module, weight in weights.items():
        assert torch.equal(whole[module + ".weight"], bnb.functional.dequantize_4bit(weight.data, weight.quant_state)), module
    prentice.run("verify", f"verify.model={folder}", f"verify.artifact={tmp_path / 'whole/merged'}", "run.device=cpu")


def test_training_on_codes_stored_as_floats_is_that_on_bytes(prentice, tmp_path):
    (tmp_path / "rows.jsonl").write_text("\n".join(TICKETS.read_text().splitlines()[:6]) + "\n")
    adapters = []
    for storage in ("uint8", "bfloat16"):
        prentice.run("sft", f"model.path={stored_folder(tmp_path, storage, True)}", "data.train=rows.jsonl", "data.eval_split=0",
                     "train.steps=3", "train.batch=2", "run.precision=f32", "run.device=cpu", "run.threads=1", "export.verify=false",
                     f"run.out=run-{storage}")
        adapters.append(load_file(tmp_path / f"run-{storage}/adapter/adapter_model.safetensors"))
    assert all(torch.equal(adapters[0][key], adapters[1][key]) for key in adapters[0])


def test_codes_in_another_type_than_the_trained_ones_pass_as_the_model(prentice, tmp_path):
    plain = make_model("llama", **EVEN)
    model = in_four_bits(save_folder(plain, tmp_path / "model"), "float32", True)
    for module in layers(model):
        exact_places(model.get_submodule(module), plain.get_submodule(module).weight.detach())
    folder = save_folder(model, tmp_path / "float32")
    prentice.run("verify", f"verify.model={tmp_path / 'model'}", f"verify.artifact={folder}", "run.device=cpu")
    tensors = load_file(folder / "model.safetensors")
    tensors[NAME + ".weight"].view(torch.uint8)[7] ^= 0xf0
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    refused = prentice.run("verify", f"verify.model={tmp_path / 'model'}", f"verify.artifact={folder}", "run.device=cpu", "--fresh", code=9)
    assert NAME in refused.stderr


def with_state(**changes):
    def change(tensors):
        state = json.loads(state_text(tensors, NAME))
        state.update(changes)
        tensors[NAME + ".weight" + STATE] = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)
    return change


def with_value(ending, value):
    return lambda tensors: tensors[NAME + ".weight" + ending].view(-1)[-1:].fill_(value)


def with_tensor(ending, change):
    return lambda tensors: tensors.update({NAME + ".weight" + ending: change(tensors[NAME + ".weight" + ending]).clone()})


NOT_FINITE = "its scales are not finite"
DAMAGE = {  # what is wrong -> storage, nested, damage, message
    "too_few_bytes": ("bfloat16", True, with_tensor("", lambda codes: codes[:-1]), "its codes are 6142 bytes, and its shape needs 6144"),
    "too_many_bytes": ("float32", False, with_tensor("", lambda codes: torch.cat([codes, codes[:2]])), "its codes are 6152 bytes"),
    "values": ("float32", True, with_tensor("", lambda codes: codes.float().repeat(8, 1).reshape(64, -1)), "its codes are "),
    "another_shape": ("bfloat16", True, with_state(shape=[192, 64]), "its shape is not [64, 192]"),
    "no_state": ("float16", True, lambda tensors: tensors.pop(NAME + ".weight" + STATE), STATE + " is missing"),
    "no_scales": ("bfloat16", False, lambda tensors: tensors.pop(NAME + ".weight.absmax"), ".absmax is not there"),
    "infinite_offset": ("uint8", True, with_state(nested_offset=float("inf")), NOT_FINITE),
    "negative_infinite_offset": ("uint8", True, with_state(nested_offset=-float("inf")), NOT_FINITE),
    "offset_nan": ("uint8", True, with_state(nested_offset=float("nan")), NOT_FINITE),
    "offset_beyond_f32": ("uint8", True, with_state(nested_offset=1e39), NOT_FINITE),
    "offset_null": ("uint8", True, with_state(nested_offset=None), "expected a number, got null"),
    "infinite_nested_scale": ("uint8", True, with_value(".nested_absmax", float("inf")), NOT_FINITE),
    "scale_nan": ("uint8", False, with_value(".absmax", float("nan")), NOT_FINITE),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_one_error(what, prentice, tmp_path):
    storage, nested, damage, message = DAMAGE[what]
    folder = stored_folder(tmp_path, storage, nested)
    tensors = load_file(folder / "model.safetensors")
    damage(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "rows.jsonl").write_text(TICKETS.read_text().splitlines()[0] + "\n")
    for command in (["eval", "data.eval=rows.jsonl"], ["export", "export.merged=f32"]):
        refused = prentice.run(*command, f"model.path={folder}", "run.out=out", "run.device=cpu", code=4)
        assert NAME in refused.stderr and message in refused.stderr, refused.stderr
        assert refused.stderr.count("error: ") == 1, refused.stderr


def test_a_mean_of_scales_that_overflows_is_written_as_bitsandbytes_does_and_not_read(prentice, tmp_path):
    """Infinity in the state, of which every value comes out as NaN."""
    model = make_model("llama", **EVEN)
    model.get_submodule(NAME).weight.data.fill_(3e38)
    folder = save_folder(model, tmp_path / "model")
    theirs = save_folder(in_four_bits(folder, "uint8", True), tmp_path / "theirs")
    prentice.run("export", f"model.path={folder}", "export.merged=nf4", "export.verify=false", "run.out=made", "run.device=cpu")
    ours, expected = load_file(tmp_path / "made/merged/model.safetensors"), load_file(theirs / "model.safetensors")
    assert '"nested_offset": Infinity}' in state_text(expected, NAME)
    for name in layers(loaded(theirs)):
        assert state_text(ours, name).rstrip(" ") == state_text(expected, name), name
    for ending in ("", ".absmax", ".nested_absmax"):  # alike scales have one place, whichever path of bitsandbytes finds it
        assert torch.equal(ours[NAME + ".weight" + ending], expected[NAME + ".weight" + ending])
    made = loaded(tmp_path / "made/merged")
    weight = layers(made)[NAME]
    assert bnb.functional.dequantize_4bit(weight.data, weight.quant_state).isnan().all()
    assert made(torch.arange(8)[None]).logits.isnan().all()

    (tmp_path / "rows.jsonl").write_text(TICKETS.read_text().splitlines()[0] + "\n")
    score = ["eval", "data.eval=rows.jsonl", "run.out=score", "run.device=cpu"]
    for four_bits in (tmp_path / "made/merged", theirs):
        refused = prentice.run(*score, f"model.path={four_bits}", code=4)
        assert f"tensor {NAME}.weight: {NOT_FINITE}" in refused.stderr and refused.stderr.count("error: ") == 1
    refused = prentice.run(*score, f"model.path={folder}", "model.quantize=nf4", code=4)
    assert f"tensor {NAME}.weight: the mean of its scales is not finite" in refused.stderr and "nf4-single" in refused.stderr
    rejected = prentice.run("export", f"model.path={folder}", "export.merged=nf4", "run.out=proven", "run.device=cpu", code=9)
    assert f"{NAME}.weight: {NOT_FINITE}" in rejected.stderr
