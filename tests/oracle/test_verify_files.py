"""`recipe: verify`: what a GGUF file says of itself beside its tensors, where it ends, of which types it is, and what it does not say:
that an importance matrix weighted its rounding."""

import json
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


FLOAT32, INT32, STRING, UINT32 = (getattr(gguf.GGUFValueType, kind) for kind in ("FLOAT32", "INT32", "STRING", "UINT32"))
INFINITY, NAN = float("inf"), float("nan")


@pytest.mark.parametrize("key, kind, value, code", [
    ("temp", FLOAT32, 0.6, 0), ("temp", FLOAT32, 0.7, 9), ("top_k", INT32, 20, 0), ("top_k", INT32, 40, 9),
    ("penalty_repeat", FLOAT32, 1.05, 0), ("penalty_repeat", FLOAT32, 1.3, 9),
    # What changes nothing, and what transformers takes where nothing is said.
    ("top_p", FLOAT32, 1.0, 0), ("min_p", FLOAT32, 0.0, 0), ("top_p", FLOAT32, 0.5, 9), ("penalty_last_n", INT32, 64, 0),
    ("temp", FLOAT32, INFINITY, 9), ("temp", FLOAT32, -INFINITY, 9), ("temp", FLOAT32, NAN, 9), ("penalty_repeat", FLOAT32, INFINITY, 9),
    ("penalty_repeat", FLOAT32, -INFINITY, 9), ("top_p", FLOAT32, NAN, 9),
    # Names of samplers, the first of which begins as infinity does.
    ("sequence", STRING, "infill;top_k", 0), ("sequence", STRING, "infill;temperature", 9)])
def test_what_is_sampled_with_is_what_the_model_says(key, kind, value, code, shop, tmp_path):
    """As the package gguf copies them out of generation_config.json; llama-server obeys where a request says nothing."""
    shutil.copytree(shop.root / "llama", tmp_path / "model")
    path = tmp_path / "model/generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"temperature": 0.6, "top_k": 20, "repetition_penalty": 1.05,
                                                               "sequence": "infill;top_k"}))
    file = File(shop.good)
    file.set(f"general.sampling.{key}", value, kind)
    said, _ = shop.verify(tmp_path / "model", file.write(tmp_path / "sampled.gguf"), code)
    assert (f"sampling: general.sampling.{key}" in said.stderr) == (code == 9)


# Tokens 1, 2 and 3, where the keys are right.
@pytest.mark.parametrize("keys, wrong", [
    ({}, None), ({"fim_pre": 1, "fim_suf": 2, "fim_mid": 3}, None), ({"prefix": 1, "suffix": 2, "middle": 3}, None),
    ({"fim_pre": 2, "fim_suf": 1, "fim_mid": 3}, "fim_pre"), ({"fim_pre": 1, "middle": 300}, "middle"), ({"fim_pre": 1, "suffix": 1}, "suffix")])
def test_middles_are_filled_with_the_models_own_tokens(keys, wrong, shop, tmp_path):
    if not (shop.root / "fills").exists():
        shutil.copytree(shop.root / "llama", shop.root / "fills")
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            text = (shop.root / "fills" / name).read_text()
            for old, new in {"<|user|>": "<|fim_prefix|>", "<|assistant|>": "<|fim_suffix|>", "<|system|>": "<|fim_middle|>"}.items():
                text = text.replace(old, new)
            (shop.root / "fills" / name).write_text(text)
        shop.fills = shop.export("fills")
    file = File(shop.fills)
    for key, token in keys.items():
        file.set(f"tokenizer.ggml.{key}_token_id", token, UINT32)
    said, _ = shop.verify("fills", file.write(tmp_path / "fills.gguf"), 9 if wrong else 0)
    assert wrong is None or f"middles: tokenizer.ggml.{wrong}_token_id" in said.stderr, said.stderr
