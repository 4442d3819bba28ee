"""`recipe: verify`: what becomes of an artifact that fails, whatever its name leads to and whatever else bears that name."""

import os
import shutil

import pytest
from gguf_faults import File
from test_verify_faults import Shop
from tiny_models import make_model, save_folder


@pytest.fixture(scope="module")
def shop(binary, tmp_path_factory):
    shop = Shop(binary, tmp_path_factory.mktemp("rejected"))
    save_folder(make_model("llama"), shop.root / "llama")
    file = File(shop.export("llama", "F32"))
    file.set("ARCH.context_length", 128)
    shop.bad = file.write(shop.root / "bad.gguf")
    shop.folder = shop.root / "bad"
    shutil.copytree(shop.root / "llama", shop.folder)
    config = (shop.folder / "config.json").read_text()
    assert '"rms_norm_eps": 1e-06' in config
    (shop.folder / "config.json").write_text(config.replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'))
    return shop


def tree(root):
    """Every name below, with what a link says."""
    return {str(path.relative_to(root)): os.readlink(path) if path.is_symlink() else path.is_dir() for path in root.rglob("*")}


def linked(root, links, blobs, target):
    """links/m.gguf -> ../blobs/0123abcd"""
    (root / links).mkdir(parents=True)
    (root / blobs).mkdir(parents=True)
    shutil.copy(target, root / blobs / "0123abcd")
    link = root / links / "m.gguf"
    link.symlink_to(os.path.relpath(root / blobs / "0123abcd", root / links))
    return link


def test_of_a_link_the_link_loses_its_name(shop, tmp_path):
    link = linked(tmp_path, "snap", "store", shop.bad)
    shop.verify("llama", link, 9)
    assert tree(tmp_path) == {"snap": True, "store": True, "store/0123abcd": False, "snap/m.gguf.rejected": "../store/0123abcd"}
    shutil.copytree(shop.folder, tmp_path / "made")
    (tmp_path / "served").symlink_to("made")
    shop.verify("llama", f"{tmp_path}/served/", 9)
    assert (tmp_path / "made").is_dir() and not os.path.lexists(tmp_path / "served")
    assert os.readlink(tmp_path / "served.rejected") == "made"


@pytest.mark.parametrize("way", ["the file", "a folder that links there", "a link to the file"])
def test_in_the_hub_cache_nothing_is_renamed(way, shop, tmp_path):
    """Its names are those of hashes and revisions, and other programs look for them."""
    hub = tmp_path / "hub/models--org--name"
    link = linked(hub, "snapshots/c0ffee", "blobs", shop.bad)
    before = tree(hub)
    if way == "a folder that links there":
        (tmp_path / "here").symlink_to(link.parent)
        link = tmp_path / "here/m.gguf"
    elif way == "a link to the file":
        (tmp_path / "mine.gguf").symlink_to(link)
        link = tmp_path / "mine.gguf"
    said, report = shop.verify("llama", link, 9)
    assert tree(hub) == before and not report["passed"]
    if way == "a link to the file":  # which is the user's
        assert os.readlink(tmp_path / "mine.gguf.rejected") == str(hub / "snapshots/c0ffee/m.gguf")
    else:
        assert f"{hub}/snapshots/c0ffee/m.gguf keeps its name: it is in the Hugging Face cache" in said.stderr


def test_a_folder_of_the_hub_cache_keeps_its_name(shop, tmp_path, monkeypatch):
    hub = tmp_path / "hub/models--org--name"
    shutil.copytree(shop.folder, hub / "snapshots/c0ffee")
    (hub / "refs").mkdir()
    (hub / "refs/main").write_text("c0ffee")
    before = tree(hub)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for artifact in ("org/name", hub / "snapshots/c0ffee"):
        assert "keeps its name" in shop.verify("llama", artifact, 9)[0].stderr
        assert tree(hub) == before


def test_what_is_called_rejected_already_stays(shop, tmp_path):
    """Somebody's notes, and the file that was refused before."""
    path, notes = tmp_path / "m.gguf", tmp_path / "m.gguf.rejected"
    notes.mkdir()
    (notes / "why.txt").write_text("of another day")
    for number in (2, 3):
        shutil.copy(shop.bad, path)
        said, _ = shop.verify("llama", path, 9)
        assert f"is kept as m.gguf.rejected.{number}\n" in said.stderr
    assert (notes / "why.txt").read_text() == "of another day"
    assert {name for name in tree(tmp_path)} == {"m.gguf.rejected", "m.gguf.rejected/why.txt", "m.gguf.rejected.2", "m.gguf.rejected.3"}
