"""`recipe: verify` on files of strangers: whatever bytes they put where texts belong, the report can be read, the file loses its name,
and no terminal obeys it."""

import json
import shutil

import gguf
import numpy as np
import pytest
from gguf_faults import File
from test_verify_faults import Shop
from tiny_models import make_model, save_folder, start_adapter

CHINESE = "{% for message in messages %}<|\u7528\u6237|> {{ message['content'] }}\u3002\u8bf7\u7528\u4e2d\u6587\u56de\u7b54\u95ee\u9898\u3002{% endfor %}"


@pytest.fixture(scope="module")
def shop(binary, tmp_path_factory):
    shop = Shop(binary, tmp_path_factory.mktemp("strangers"))
    save_folder(make_model("llama"), shop.root / "llama")
    (shop.root / "llama/chat_template.jinja").write_text(CHINESE)
    shop.good = shop.export("llama", "F32")
    start_adapter(make_model("llama"), shop.root / "adapter")
    shop.program.run("export", "model.path=llama+adapter", "export.gguf_adapter=F32", "run.out=made/adapter", "run.device=cpu")
    shop.adapter = shop.root / "made/adapter/gguf/adapter.gguf"
    return shop


def first_difference(one, other):
    return next(at for at, (a, b) in enumerate(zip(one, other)) if a != b)


# A space more, which moves where the texts are cut, and characters that differ in their last or middle byte.
@pytest.mark.parametrize("old, new", [("\u3002\u8bf7", "\u3002 \u8bf7"), ("<|", " <|"), ("\u7528\u6237", "\u7528\u6238"), ("\u4e2d", "\u4e6d")])
def test_a_template_that_differs_at_a_character_of_several_bytes_is_refused(old, new, shop, tmp_path):
    shutil.copytree(shop.root / "llama", tmp_path / "copy")
    template = CHINESE.replace(old, new, 1)
    (tmp_path / "copy/chat_template.jinja").write_text(template)
    said, report = shop.verify("llama", tmp_path / "copy", 9)
    told = next(check["detail"] for check in report["checks"] if check["name"] == "chat template")
    wanted, found = CHINESE.encode(), template.encode()
    at = first_difference(wanted, found)
    assert told.startswith(f"differs at byte {at}, line 1: expected ") and f"error: verify: chat template: {told}" in said.stderr
    # Whole characters of the model's template from the one that differs on.
    shown = json.loads(told.split("expected ", 1)[1].split(", got ", 1)[0])
    first = len(wanted[:at].decode(errors="ignore"))
    assert shown and CHINESE[first:].startswith(shown) and 22 <= len(shown.encode()) <= 24
    assert not (tmp_path / "copy").exists() and (tmp_path / "copy.rejected").is_dir()


def planted(shop, path, old, new):
    file = File(shop.good)
    if old == b"extra_tensor":
        file.put(old.decode(), np.zeros(32))
    content = file.write(path).read_bytes()
    assert len(old) == len(new) and content.count(old) >= 1
    path.write_bytes(content.replace(old, new, 1))
    return path


@pytest.mark.parametrize("old, new, told", [
    (b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0lla\xffa", "architecture: expected llama, got lla\\xffa"),
    (b"extra_tensor", b"extra_\xffensor", "tensors: extra_\\xffensor does not belong here"),
    (b"extra_tensor", b"extra_\x1b[2Jor", "tensors: extra_\\x1b[2Jor does not belong here"),
    (b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0\x1b[2Ja", "architecture: expected llama, got \\x1b[2Ja")],
    ids=["architecture", "tensor", "escape in a tensor's name", "escape in the architecture"])
def test_bytes_that_are_no_text_and_escape_sequences_are_told_as_what_they_are(old, new, told, shop, tmp_path):
    path = planted(shop, tmp_path / "planted.gguf", old, new)
    said, report = shop.verify("llama", path, 9)
    assert told in said.stderr and "\x1b" not in said.stdout + said.stderr
    assert not report["passed"] and not path.exists() and (tmp_path / "planted.gguf.rejected").is_file()


def test_a_refused_file_is_refused_again_and_so_by_programs(shop, tmp_path):
    old, new = b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0lla\xffa"
    path = planted(shop, tmp_path / "planted.gguf", old, new)
    words = ["verify", "verify.model=llama", f"verify.artifact={path}", "run.out=again", "run.device=cpu"]
    said = shop.program.run(*words, "--json", code=9)
    assert not json.loads(said.stdout)["passed"]
    planted(shop, path, old, new)
    assert "got lla\\xffa" in shop.program.run(*words, code=9).stderr and not path.exists()


@pytest.mark.parametrize("damage", [lambda text: text.replace(b"architecture", b"architectur\xff"), lambda _: None], ids=["damaged", "missing"])
def test_a_report_that_cannot_be_read_passes_nothing(damage, shop, tmp_path):
    """The verification is done, and what it found is not known any more: it is found again."""
    path = planted(shop, tmp_path / "planted.gguf", b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0lxama")
    words = ["verify", "verify.model=llama", f"verify.artifact={path}", f"run.out={tmp_path}/damaged", "run.device=cpu"]
    shop.program.run(*words, code=9)
    shutil.move(tmp_path / "planted.gguf.rejected", path)
    report = tmp_path / "damaged/verify.json"
    whole = report.read_bytes()
    damaged = damage(whole)
    report.unlink()
    if damaged:
        report.write_bytes(damaged)
    assert "architecture: expected llama, got lxama" in shop.program.run(*words, code=9).stderr
    assert report.read_bytes() == whole and not path.exists()


def retyped(file, name, kind):
    """A tensor of zeros of another type."""
    file.types[name] = kind
    rows, columns = file.shapes[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    file.bytes[name] = np.zeros((rows, columns), np.int32) if kind.name == "I32" else np.zeros((rows, columns // elements * size), np.uint8)


@pytest.mark.parametrize("which", [0, -1], ids=["the first", "the last"])
@pytest.mark.parametrize("kind", ["I32", "IQ4_NL"])
def test_an_adapter_of_a_type_that_nobody_reads_is_refused_and_its_tensor_named(kind, which, shop, tmp_path):
    file = File(shop.adapter)
    name = [name for name, shape in file.shapes.items() if len(shape) == 2 and shape[1] % 32 == 0][which]
    retyped(file, name, gguf.GGMLQuantizationType[kind])
    path = file.write(tmp_path / "typed.gguf")
    said, report = shop.verify("llama+adapter", path, 9)
    assert f"error: verify: types and shapes: {name} is of the type {kind}" in said.stderr
    assert not report["passed"] and not path.exists() and (tmp_path / "typed.gguf.rejected").is_file()


def test_a_broken_model_that_lies_within_the_artifact_is_not_its_fault(shop, tmp_path):
    shutil.copytree(shop.root / "llama", tmp_path / "it")
    shutil.copytree(shop.root / "llama", tmp_path / "it/trained")
    (tmp_path / "it/trained/model.safetensors").write_bytes(b"no weights")
    said, report = shop.verify(tmp_path / "it/trained", tmp_path / "it", 4)
    assert "it/trained/model.safetensors" in said.stderr and report is None and (tmp_path / "it").is_dir()
