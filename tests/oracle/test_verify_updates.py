"""`recipe: verify`: an adapter's update that is small beside the rounding of the file's type is in the file or is missed, and one byte of
a file that an importance matrix weighted is not another."""

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

ADAPTERS = {"trained": {}, "other": {}, "faint": {}, "dora": {"use_dora": True}, "saved": {"modules_to_save": ["lm_head"]}}
SMALL, FAINT = 0.08, 0.002  # of B: updates of three percent of the weights, and of less than one in a thousand
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
@pytest.mark.parametrize("adapter", ["trained", "faint", "dora", "saved"])
def test_a_file_with_it_passes(adapter, kind, weighted, shop):
    _, report = shop.verify(f"base+{adapter}", export(shop, f"base+{adapter}", kind, weighted))
    found = update(report)
    assert found["value"] <= (0.8 * found["limit"] if weighted else 1e-9), found
    assert ("too small" in found["detail"]) == (found["limit"] > 0.2)


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


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_K_M"])
def test_what_peft_merged_in_bf16_passes(kind, shop):
    """The usual way to a GGUF file: a base in BF16, merge_and_unload, convert_hf_to_gguf.py --outtype f16."""
    if not (shop.root / "halves").exists():
        base = AutoModelForCausalLM.from_pretrained(shop.root / "base", dtype=torch.bfloat16)
        shutil.copytree(shop.root / "base", shop.root / "halves")
        base.save_pretrained(shop.root / "halves")
        shutil.copytree(shop.root / "halves", shop.root / "merged")
        peft.PeftModel.from_pretrained(base, shop.root / "trained").merge_and_unload().save_pretrained(shop.root / "merged")
    _, report = shop.verify("halves+trained", export(shop, "merged", kind))
    assert update(report)["value"] < 0.1


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
