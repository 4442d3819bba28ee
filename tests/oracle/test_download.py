"""`prentice download` against huggingface_hub: from one hub both make the same cache, and each finds what the other made."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Prentice
from hub_server import Hub, Repository
from tiny_models import make_model, save_folder

NAME = "acme/Tiny-1.5B_chat"
# What a repository holds beside a model of ours, and a download leaves out.
OTHER_FILES = {"README.md": b"# Tiny\n", ".gitattributes": b"* text\n", "original/params.json": b"{}",
               "consolidated.safetensors": b"twice the weights", "pytorch_model.bin": b"a pickle", "LICENSE": b"MIT\n"}
LEFT_OUT = ["README.md", ".gitattributes", "original/*", "consolidated.safetensors", "*.bin"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A sharded model folder as {name: bytes}."""
    folder = tmp_path_factory.mktemp("model")
    network = make_model("llama")
    save_folder(network, folder)
    (folder / "model.safetensors").unlink()
    network.save_pretrained(folder, max_shard_size="200KB")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(model, monkeypatch, tmp_path):
    with Hub() as hub:
        hub.repositories[NAME] = Repository({**model, **OTHER_FILES}, refs=("main", "v1.0"))
        hub.stand_in(monkeypatch, tmp_path / "ours")
        yield hub


def in_python(home, code):
    """What `code` prints in a process of its own: huggingface_hub reads its variables once, when it is imported."""
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def cache_tree(home):
    """{path below the model's folder: link target or bytes}, locks and other bookkeeping aside."""
    root = home / "hub" / ("models--" + NAME.replace("/", "--"))
    return {path.relative_to(root).as_posix(): os.readlink(path) if path.is_symlink() else path.read_bytes()
            for path in sorted(root.rglob("*"))
            if not path.is_dir() and path.relative_to(root).parts[0] in ("blobs", "snapshots", "refs")}


@pytest.mark.parametrize("revision", ["main", "v1.0", "c" * 40])
def test_both_make_the_same_cache(hub, binary, tmp_path, revision):
    words = [] if revision == "main" else ["--revision", revision]
    ours = Prentice(binary, tmp_path).run("download", NAME, *words)
    theirs = in_python(tmp_path / "theirs", f"""
from huggingface_hub import snapshot_download
print(snapshot_download({NAME!r}, revision={revision!r}, ignore_patterns={LEFT_OUT!r}))""")
    tree = cache_tree(tmp_path / "ours")
    assert tree == cache_tree(tmp_path / "theirs")
    assert any(name.startswith("blobs/") for name in tree) and "snapshots/" + "c" * 40 + "/config.json" in tree
    assert Path(ours.stdout.strip()).relative_to(tmp_path / "ours") == Path(theirs).relative_to(tmp_path / "theirs")


def test_huggingface_hub_and_transformers_find_ours(hub, binary, tmp_path, model):
    snapshot = Prentice(binary, tmp_path).run("download", NAME).stdout.strip()
    hub.requests.clear()
    found = json.loads(in_python(tmp_path / "ours", f"""
import json
from huggingface_hub import hf_hub_download, snapshot_download
from transformers import AutoModelForCausalLM
network = AutoModelForCausalLM.from_pretrained({NAME!r}, local_files_only=True)
print(json.dumps([snapshot_download({NAME!r}, local_files_only=True),
                  hf_hub_download({NAME!r}, "config.json", local_files_only=True),
                  sum(p.numel() for p in network.parameters())]))"""))
    assert found[:2] == [snapshot, snapshot + "/config.json"]
    assert found[2] > 0
    assert [request for request in hub.requests if request[0] == "GET" and NAME in request[1]] == []


def test_a_model_that_huggingface_hub_fetched_is_used_by_name_and_not_fetched_again(hub, binary, tmp_path):
    in_python(tmp_path / "ours", f"""
from huggingface_hub import snapshot_download
snapshot_download({NAME!r})""")
    program = Prentice(binary, tmp_path)
    before = [request for request in hub.requests if request[0] == "GET"]
    done = program.run("download", NAME)
    fetched = [request[1] for request in hub.requests if request[0] == "GET"][len(before):]
    assert fetched == [f"/api/models/{NAME}/revision/main"]
    assert "all of it was in the cache" in done.stderr
    text = program.run("generate", f"model.path={NAME}", "generate.prompt=Hello", "generate.max_new_tokens=3",
                       "run.device=cpu", "run.precision=f32")
    assert text.stdout


def test_an_adapter_calls_its_base_by_the_name_it_has_at_the_hub(hub, binary, tmp_path):
    program = Prentice(binary, tmp_path)
    assert f"hint: prentice download {NAME}" in program.run("generate", f"model.path={NAME}", "generate.prompt=Hi", code=2).stderr
    program.run("download", NAME)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "What is it?", "completion": " A test."}\n' * 4)
    program.run("sft", f"model.path={NAME}", "data.train=rows.jsonl", "data.chat=off", "train.steps=1", "train.batch=2",
                "run.device=cpu", "run.precision=f32", "run.out=run")
    config = json.loads((tmp_path / "run/adapter/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == NAME
    # The folder alone finds its base by that name.
    program.run("generate", "model.path=run/adapter", "generate.prompt=Hi", "generate.max_new_tokens=2", "run.device=cpu",
                "run.precision=f32")
