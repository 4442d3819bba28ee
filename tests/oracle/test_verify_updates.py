"""`recipe: verify`: an adapter's update that is small beside the rounding of the file's type is in the file or is missed, and one byte of
a file that an importance matrix weighted is not another."""

import json
import random
import shutil

import peft
import pytest
import torch
from gguf_faults import File, flip
from llama_library import quantizer
from safetensors.torch import load_file, save_file
from test_verify_faults import TEMPLATE, THEIRS, WIDE, Shop
from tiny_models import make_model, save_folder
from transformers import AutoModelForCausalLM

ADAPTERS = {"trained": {}, "other": {}, "faint": {}, "dora": {"use_dora": True}, "saved": {"modules_to_save": ["lm_head"]},
            "whole": {"modules_to_save": ["lm_head", "embed_tokens"]}}
SMALL, FAINT = 0.08, 0.002  # of B: updates of three percent of the weights, and of less than one in a thousand
WHOLE = 0.004  # of what is saved whole, by its own size: less than six bits keep
TYPES = ["Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "Q4_0", "F16"]


@pytest.fixture(scope="module")
def shop(binary, tmp_path_factory):
    """A model with weights of the usual size, adapters on it, and files of the model without them."""
    shop = Shop(binary, tmp_path_factory.mktemp("updates"))

    def model():
        made = make_model("llama", **WIDE)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.div_(3 if parameter.dim() == 2 else 1)
        return made

    save_folder(model(), shop.root / "base")
    (shop.root / "base/chat_template.jinja").write_text(TEMPLATE)
    for number, (name, options) in enumerate(ADAPTERS.items()):
        base = model()
        torch.manual_seed(number)
        tuned = peft.get_peft_model(base, peft.LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM", **options))
        with torch.no_grad():
            for key, parameter in tuned.named_parameters():
                if "lora_B" in key:
                    parameter.normal_(std=0.02 * (FAINT if name == "faint" else SMALL))
                elif name == "whole" and "modules_to_save" in key:
                    parameter.add_(WHOLE * parameter.std() * torch.randn_like(parameter) - WHOLE * parameter)  # decayed, too
        tuned.save_pretrained(shop.root / name)
    (shop.root / "text.txt").write_text("The printer on the third floor has no paper. " * 200)
    return shop


def update(report):
    return next(check for check in report["checks"] if check["name"] == "adapter's update")


def export(shop, model, kind, weighted=False):
    return shop.export(model, kind, name=f"{model}-{kind}-{weighted}".replace("+", "-"),
                       **({"export.imatrix": "text.txt"} if weighted else {}), **{"export.verify": "false"})


@pytest.mark.parametrize("kind, weighted", [("Q2_K", False), ("Q3_K_M", False), ("Q2_K", True), ("Q4_K_M", True), ("Q5_K_M", True)])
@pytest.mark.parametrize("made_of", ["base", "base+other"])
def test_a_file_without_a_small_update_is_found(made_of, kind, weighted, shop, tmp_path):
    path = shutil.copy(export(shop, made_of, kind, weighted), tmp_path / "stale.gguf")
    said, report = shop.verify("base+trained", path, 9)
    assert "adapter's update: " in said.stderr, said.stderr
    assert abs(update(report)["value"] - 1) < 0.2, "nothing of it, or of what points elsewhere"


@pytest.mark.parametrize("kind, weighted", [*((kind, False) for kind in TYPES), *((kind, True) for kind in TYPES if kind not in ("Q8_0", "F16"))])
@pytest.mark.parametrize("adapter", ["trained", "faint", "dora", "saved", "whole"])
def test_a_file_with_it_passes(adapter, kind, weighted, shop):
    _, report = shop.verify(f"base+{adapter}", export(shop, f"base+{adapter}", kind, weighted))
    found = update(report)
    assert found["value"] <= (0.8 * found["limit"] if weighted else 1e-9), found
    assert ("too small" in found["detail"]) == (found["limit"] > 0.2)


@pytest.mark.parametrize("kind, weighted", [("Q8_0", False), ("Q4_K_M", False), ("Q4_K_M", True), ("Q2_K", False), ("Q2_K", True), ("Q4_0", False)])
@pytest.mark.parametrize("left, tensor", [("lm_head", "output.weight"), ("embed_tokens", "token_embd.weight")])
def test_a_file_that_forgot_what_is_saved_whole_is_found(left, tensor, kind, weighted, shop, tmp_path):
    """The rest of the adapter is in it, and the base's own rows where the trained ones belong."""
    folder = shop.root / f"without-{left}"
    if not folder.exists():
        shutil.copytree(shop.root / "whole", folder)
        config = json.loads((folder / "adapter_config.json").read_text())
        config["modules_to_save"].remove(left)
        (folder / "adapter_config.json").write_text(json.dumps(config))
        tensors = load_file(folder / "adapter_model.safetensors")
        kept = {name: value for name, value in tensors.items() if f".{left}." not in name}
        assert len(kept) == len(tensors) - 1
        save_file(kept, folder / "adapter_model.safetensors", {"format": "pt"})
    said, _ = shop.verify("base+whole", shutil.copy(export(shop, f"base+without-{left}", kind, weighted), tmp_path / "left.gguf"), 9)
    assert f"adapter's update: {tensor} holds" in said.stderr or f"; {tensor} holds" in said.stderr, said.stderr


@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_K_M", "Q2_K"])
@pytest.mark.parametrize("share", [0.7, 1.3])
def test_a_file_with_too_little_or_too_much_of_it_is_found(share, kind, shop, tmp_path):
    """As of an earlier state of the same training."""
    folder = shop.root / f"part{share}"
    if not folder.exists():
        shutil.copytree(shop.root / "trained", folder)
        tensors = load_file(folder / "adapter_model.safetensors")
        save_file({name: tensor * (share if "lora_B" in name else 1) for name, tensor in tensors.items()},
                  folder / "adapter_model.safetensors", {"format": "pt"})
    said, report = shop.verify("base+trained", shutil.copy(export(shop, f"base+part{share}", kind), tmp_path / "part.gguf"), 9)
    assert abs(update(report)["value"] - 0.3) < 0.1 and "adapter's update: " in said.stderr, said.stderr


def merged_in_halves(shop, adapter, dtype=torch.bfloat16):
    """peft's merge of a base that was loaded in BF16 or F16, which rounds base and sum."""
    halves = shop.root / {torch.bfloat16: "halves", torch.float16: "f16"}[dtype]
    folder = shop.root / f"merged-{adapter}-{halves.name}"
    if not folder.exists():
        base = AutoModelForCausalLM.from_pretrained(shop.root / "base", dtype=dtype)
        if not halves.exists():
            shutil.copytree(shop.root / "base", halves)
            base.save_pretrained(halves)
        shutil.copytree(halves, folder)
        peft.PeftModel.from_pretrained(base, shop.root / adapter).merge_and_unload().save_pretrained(folder)
    return folder.name


@pytest.mark.parametrize("base", ["halves", "base"])
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q4_K_M"])
def test_what_peft_merged_in_bf16_passes(kind, base, shop):
    """The usual way to a GGUF file: a base loaded in BF16, merge_and_unload, convert_hf_to_gguf.py. Its own weights are in BF16, or
    in F32, and then rounded twice."""
    _, report = shop.verify(f"{base}+trained", export(shop, merged_in_halves(shop, "trained"), kind))
    assert update(report)["value"] < 0.1


@pytest.mark.parametrize("base", ["f16", "base"])
@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_K_M"])
def test_what_peft_merged_in_f16_passes(kind, base, shop):
    _, report = shop.verify(f"{base}+trained", export(shop, merged_in_halves(shop, "trained", torch.float16), kind))
    assert update(report)["value"] < 0.1


def test_a_folder_that_peft_merged_in_f16_passes(shop):
    merged = merged_in_halves(shop, "trained", torch.float16)
    shop.verify("base+trained", shop.root / merged)


@pytest.mark.parametrize("kind", ["BF16", "Q8_0"])
@pytest.mark.parametrize("base", ["halves", "base"])
def test_what_peft_merged_in_bf16_of_another_adapter_is_found(base, kind, shop, tmp_path):
    path = shutil.copy(export(shop, merged_in_halves(shop, "other"), kind), tmp_path / "stale.gguf")
    assert "adapter's update: " in shop.verify(f"{base}+trained", path, 9)[0].stderr
    whole = File(export(shop, merged_in_halves(shop, "trained"), kind))
    whole.change("blk.1.ffn_norm.weight", lambda w: w * 1.01)
    assert "blk.1.ffn_norm.weight" in shop.verify(f"{base}+trained", whole.write(tmp_path / "scaled.gguf"), 9)[0].stderr


@pytest.mark.parametrize("kind", ["Q4_K_M", "Q2_K"])
def test_files_of_llama_quantize_pass(kind, shop, tmp_path, node_modules):
    path = tmp_path / "theirs.gguf"
    quantizer(node_modules)(export(shop, "base+trained", "F16"), path, THEIRS[kind])
    _, report = shop.verify("base+trained", path)
    assert update(report)["value"] < 0.05, update(report)


def damaged(source, target, seed):
    """One byte of a matrix in K-blocks is another: not the lowest bits of a block's scales, which no value feels."""
    choose = random.Random(seed)
    file = File(source)
    name = choose.choice([name for name, kind in file.types.items() if kind.name.endswith("_K")])
    block = {"Q2_K": 84, "Q3_K": 110, "Q4_K": 144, "Q5_K": 176, "Q6_K": 210}[file.types[name].name]
    halves = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}[file.types[name].name]
    at = choose.choice([at for at in range(block) if at not in halves])
    return flip(source, target, name, choose.randrange(file.bytes[name].size // block) * block + at, choose.randrange(1, 256)), name


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K"])
def test_one_byte_of_a_weighted_file_that_is_another_is_found(kind, seed, shop, tmp_path):
    path, name = damaged(export(shop, "base", kind, True), tmp_path / "damaged.gguf", seed)
    said, _ = shop.verify("base", path, 9)
    assert name in said.stderr, said.stderr


LEGACY = ["Q4_0", "Q4_1", "Q5_0", "Q5_1"]


def legacy(shop, model):
    """Of all four older types, weighted."""
    return shop.export(model, "Q4_0", name=f"legacy-{model}".replace("+", "-"),
                       **{"export.types": "{attn_q: Q4_1, attn_output: Q4_1, ffn_up: Q5_0, ffn_gate: Q5_1, attn_v: Q5_1}",
                          "export.imatrix": "text.txt", "export.verify": "false"})


@pytest.mark.parametrize("model", ["base", "base+trained", "base+whole"])
def test_weighted_files_of_older_types_pass(model, shop):
    shop.verify(model, legacy(shop, model))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", LEGACY)
def test_one_code_of_a_weighted_file_of_an_older_type_that_is_another_is_found(kind, seed, shop, tmp_path):
    """By at least two steps: for one there may be another step of which all codes of the block are the nearest."""
    choose = random.Random(seed)
    file = File(legacy(shop, "base"))
    name = choose.choice([name for name, type_ in file.types.items() if type_.name == kind])
    block, codes = {"Q4_0": (18, 2), "Q4_1": (20, 4), "Q5_0": (22, 6), "Q5_1": (24, 8)}[kind]
    at = choose.randrange(file.bytes[name].size // block) * block + choose.randrange(codes, block)
    path = flip(legacy(shop, "base"), tmp_path / "damaged.gguf", name, at, choose.choice([0x02, 0x04, 0x08, 0x20, 0x40, 0x80]))
    said, _ = shop.verify("base", path, 9)
    assert name in said.stderr, said.stderr
