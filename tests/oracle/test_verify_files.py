"""`recipe: verify`: what a GGUF file says of itself beside its tensors, where it ends, of which types it is, and what it does not say:
that an importance matrix weighted its rounding."""

import shutil

import gguf
import pytest
import torch
from conftest import failed
from gguf_faults import File
from test_verify_faults import TEMPLATE, WIDE, Shop
from tiny_models import make_model, save_folder


@pytest.fixture(scope="module")
def shop(binary, tmp_path_factory):
    shop = Shop(binary, tmp_path_factory.mktemp("files"))
    save_folder(make_model("llama"), shop.root / "llama")
    (shop.root / "llama/chat_template.jinja").write_text(TEMPLATE)
    shop.good = shop.export("llama")
    save_folder(make_model("llama", **WIDE), shop.root / "wide")
    shop.program.run("export", "model.path=wide", "export.gguf=[Q4_K_M, Q4_0]", "export.name=it", "run.out=made/wide", "run.device=cpu")
    shop.wide = shop.root / "made/wide/gguf"
    uneven(shop.root)
    return shop


def uneven(root):
    """Activations that differ much by column, as those of trained models do, weight the rounding much. And the model trained on."""
    model = make_model("llama", **WIDE)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layernorm" in name:
                parameter.mul_(torch.exp(1.5 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))))
        save_folder(model, root / "uneven")
        (root / "text.txt").write_text("The printer on the third floor has no paper. " * 200)
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter.add_(0.12 * parameter.std() * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4)))
    save_folder(model, root / "uneven-trained-on")


@pytest.mark.parametrize("more", [b"\0" * 33, b"hidden" * 1000])
def test_bytes_behind_the_last_tensor_are_found(more, shop, tmp_path):
    path = tmp_path / "longer.gguf"
    path.write_bytes(shop.good.read_bytes() + more)
    said, report = shop.verify("llama", path, 9)
    last = max(gguf.GGUFReader(shop.good).tensors, key=lambda tensor: tensor.data_offset)
    padding = shop.good.stat().st_size - int(last.data_offset + last.n_bytes)
    assert f"end of file: {len(more) + padding} bytes stand behind the last tensor" in said.stderr, said.stderr
    assert failed(report) == ["end of file"]


def test_a_file_without_its_last_padding_passes(shop, tmp_path):
    """The writer fills up to the alignment; llama.cpp reads a file that ends with its last tensor, too."""
    path = tmp_path / "odd.gguf"
    written = File(shop.good).write(path, alignment=4096).read_bytes()
    last = max(gguf.GGUFReader(path).tensors, key=lambda tensor: tensor.data_offset)
    end = int(last.data_offset + last.n_bytes)
    assert len(written) > end
    shop.verify("llama", path)
    path.write_bytes(written[:end])
    shop.verify("llama", path)


@pytest.mark.parametrize("kind, number, told", [("Q4_K_M", 14, "says Q4_K_S, the tensors are those of Q4_K_M"),
                                                ("Q4_0", 3, "says Q4_1, the tensors are those of Q4_0")])
def test_the_name_of_another_mix_is_found(kind, number, told, shop, tmp_path):
    file = File(shop.wide / f"it-{kind}.gguf")
    file.set("general.file_type", number)
    said, _ = shop.verify("wide", file.write(tmp_path / "named.gguf"), 9)
    assert told in said.stderr, said.stderr


def test_a_mix_of_ones_own_may_be_called_by_a_type_that_it_has(shop, tmp_path):
    shop.program.run("export", "model.path=wide", "export.gguf=[Q4_K_M]", "export.types={attn_v: Q8_0, ffn_up: Q5_1}", "export.name=it",
                     "run.out=made/own-mix", "run.device=cpu")
    shop.verify("wide", shop.root / "made/own-mix/gguf/it-Q4_K_M.gguf")
    file = File(shop.root / "made/own-mix/gguf/it-Q4_K_M.gguf")
    file.set("general.file_type", 12)
    assert "says Q3_K_M, and no matrix has that type" in shop.verify("wide", file.write(tmp_path / "own.gguf"), 9)[0].stderr


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_K_M", "Q2_K"])
def test_a_file_that_does_not_say_its_importance_matrix_passes_and_another_models_does_not(kind, shop, tmp_path):
    file = File(shop.export("uneven", kind, name=f"uneven-{kind}", **{"export.imatrix": "text.txt"}))
    shop.verify("uneven", file.write(tmp_path / "said.gguf"))
    for key in [key for key in file.metadata if key.startswith("quantize.imatrix.")]:
        file.drop(key)
    path = file.write(tmp_path / "unsaid.gguf")
    _, report = shop.verify("uneven", path)
    detail = next(check["detail"] for check in report["checks"] if check["name"] == "rounding")
    # The limits of plain files hold that of Q2_K, which needs no others.
    assert ("rounded as with an importance matrix, of which the file says nothing" in detail) == (kind != "Q2_K")
    # Where all tensors are of other weights, other blocks do not excuse them.
    stale = shop.export("uneven-trained-on", kind, name=f"uneven-trained-on-{kind}")
    shutil.copy(stale, tmp_path / "stale.gguf")
    said, _ = shop.verify("uneven", tmp_path / "stale.gguf", 9)
    assert "rounding: " in said.stderr or "blocks: " in said.stderr or "values: " in said.stderr, said.stderr


@pytest.mark.parametrize("imatrix", [{}, {"export.imatrix": "text.txt"}], ids=["plain", "weighted"])
def test_a_check_without_a_bound_names_none(imatrix, shop):
    """Columns that an importance matrix gives nothing may lose everything: no limit holds for every block."""
    path = shop.export("uneven", "Q4_0", name=f"bounds-{len(imatrix)}", **imatrix)
    blocks = next(check for check in shop.verify("uneven", path)[1]["checks"] if check["name"] == "blocks")
    assert blocks["passed"] and (blocks["limit"] is None if imatrix else blocks["value"] < blocks["limit"])
