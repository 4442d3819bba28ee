"""`recipe: verify` of files in blocks: what rounding explains passes, whoever rounded; what it does not is found."""

import re
import shutil

import pytest
from gguf_faults import File, flip
from llama_library import quantizer
from safetensors.torch import load_file, save_file
from test_verify_faults import THEIRS, WIDE, Shop
from tiny_models import make_model, save_folder

MIXES = ["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q4_0", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K"]


@pytest.fixture(scope="module")
def shop(binary, tmp_path_factory):
    return Shop(binary, tmp_path_factory.mktemp("rounding"))


@pytest.fixture(scope="module")
def wide(shop):
    save_folder(make_model("llama", **WIDE), shop.root / "wide")
    shop.program.run("export", "model.path=wide", f"export.gguf=[{', '.join(MIXES)}]", "export.name=it", "run.out=made/wide", "run.device=cpu")
    return shop.root / "made/wide/gguf"


@pytest.mark.parametrize("kind", MIXES)
def test_good_files_of_every_type_pass(kind, shop, wide):
    _, report = shop.verify("wide", wide / f"it-{kind}.gguf")
    rounding = next(check for check in report["checks"] if check["name"] == "rounding")
    assert rounding["value"] <= 1 + 1e-6, "our own rounding"


@pytest.mark.parametrize("kind", THEIRS)
def test_files_of_llama_quantize_pass(kind, shop, wide, tmp_path, node_modules):
    path = tmp_path / "theirs.gguf"
    quantizer(node_modules)(wide / "it-F32.gguf", path, THEIRS[kind])
    _, report = shop.verify("wide", path)
    assert report["kld_mean"] > 0


@pytest.mark.parametrize("kind, tensor, offset, mask", [
    ("Q8_0", "blk.1.ffn_gate.weight", 34 * 100, 0x10),           # a scale, by a hundredth
    ("Q8_0", "blk.2.ffn_down.weight", 34 * 55 + 2 + 30, 0x03),   # a code, by three
    ("Q4_K_M", "blk.0.attn_q.weight", 144 * 9 + 16 + 77, 0x40),  # a code, by four
    ("Q4_K_M", "blk.1.ffn_up.weight", 144 * 40 + 4 + 5, 0x04),   # a scale of 32 codes
    ("Q6_K", "blk.0.ffn_gate.weight", 210 * 3 + 128 + 9, 0x10),  # two high bits of a code
    ("Q2_K", "blk.2.ffn_up.weight", 84 * 11 + 16 + 20, 0x08)])
def test_a_damage_within_the_bounds_of_rounding_is_found(kind, tensor, offset, mask, shop, wide, tmp_path):
    """All other blocks show who rounded, and that this one is not theirs."""
    said, _ = shop.verify("wide", flip(wide / f"it-{kind}.gguf", tmp_path / "flipped.gguf", tensor, offset, mask), 9)
    assert tensor in said.stderr, said.stderr


@pytest.mark.parametrize("kind, factor", [("Q8_0", 1.01), ("Q6_K", 0.98), ("Q5_K_M", 1.03), ("Q4_K_M", 1.03), ("Q4_K_M", 0.96), ("Q4_0", 0.97),
                                          ("Q3_K_M", 1.06), ("Q2_K", 1.15)])
def test_a_matrix_that_is_a_little_too_large_or_small_is_found(kind, factor, shop, wide, tmp_path):
    """Far below what the type itself rounds by: only the direction of all errors shows it."""
    stored, name = "model.layers.1.mlp.up_proj.weight", "blk.1.ffn_up.weight"
    shutil.copytree(shop.root / "wide", tmp_path / "scaled")
    tensors = load_file(tmp_path / "scaled/model.safetensors")
    save_file({**tensors, stored: tensors[stored] * factor}, tmp_path / "scaled/model.safetensors", {"format": "pt"})
    other = File(shop.export(tmp_path / "scaled", kind, f"scaled-{kind}-{factor}"))
    file = File(wide / f"it-{kind}.gguf")
    file.bytes[name] = other.bytes[name]
    said, report = shop.verify("wide", file.write(tmp_path / "grafted.gguf"), 9)
    scale = next(check for check in report["checks"] if check["name"] == "scale")
    assert not scale["passed"], report
    assert re.search(rf"{name} is ([0-9.]+) times", scale["detail"]), scale
    assert float(re.search(rf"{name} is ([0-9.]+) times", scale["detail"])[1]) == pytest.approx(factor, abs=0.3 * abs(factor - 1)), scale
