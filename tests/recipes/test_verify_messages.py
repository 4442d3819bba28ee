"""What `verify` says of an artifact or a model that it cannot read: once, in one line, of the right one of the two."""

import json
import shutil

import numpy as np
import pytest
from conftest import Prentice
from tiny_models import make_model, save_folder

EPSILON = b"llama.attention.layer_norm_rms_epsilon"


@pytest.fixture
def program(tmp_path, binary):
    save_folder(make_model("llama"), tmp_path / "model")
    made = Prentice(binary, tmp_path)
    made.run("export", "model.path=model", "export.gguf=[F32]", "export.name=it", "run.out=exported", "run.device=cpu")
    return made


def refusal(program, artifact, out):
    said = program.run("verify", "verify.model=model", f"verify.artifact={artifact}", f"run.out={out}", "run.device=cpu", code=9)
    [check] = json.loads((program.folder / out / "verify.json").read_text())["checks"]
    assert check["name"] == "readable"
    assert check["detail"] in said.stderr and "x0a" not in check["detail"] + said.stderr and "\n" not in check["detail"]
    return check["detail"]


def test_what_cannot_be_read_is_told_in_one_line_and_names_the_file_once(program, tmp_path):
    whole = (tmp_path / "exported/gguf/it-F32.gguf").read_bytes()
    at = whole.index(EPSILON) + len(EPSILON) + 4  # behind the kind of the value
    path = tmp_path / "nan.gguf"
    path.write_bytes(whole[:at] + np.float32("nan").tobytes() + whole[at + 4:])
    assert refusal(program, path, "of-file") == f"{path}: key {EPSILON.decode()} is not finite"
    folder = shutil.copytree(tmp_path / "model", tmp_path / "two")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": -1, "initializer_range": "x"}))
    first, second = refusal(program, folder, "of-folder").split("; ")
    assert "rms_norm_eps" in first and "initializer_range" in second


def test_a_run_that_trained_nothing_is_no_fault_of_the_artifact(program):
    said = program.run("verify", "verify.model=exported", "verify.artifact=exported/gguf/it-F32.gguf", "run.out=proof", code=4)
    assert "verify.model: " in said.stderr and "this run (export) did not train a model" in said.stderr
    assert "verify.artifact" not in said.stderr
