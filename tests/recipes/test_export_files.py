"""GGUF exports of an adapter: what is left of it, and what a kill leaves."""

import hashlib
import json
import time

import gguf
import numpy as np
import pytest
from conftest import Prentice
from tiny_models import SHAPE, make_model, save_folder, start_adapter
from transformers import LlamaConfig, LlamaForCausalLM

WIDE = (LlamaForCausalLM, LlamaConfig(**{**SHAPE, "hidden_size": 256, "intermediate_size": 768}))
EXPORT = ["export", "run.device=cpu", "export.peft=false"]


@pytest.fixture
def program(tmp_path, binary):
    model = make_model(WIDE)
    save_folder(model, tmp_path / "model")
    start_adapter(model, tmp_path / "adapter")
    return Prentice(binary, tmp_path)


def values(path):
    return {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float64).reshape(-1)
            for tensor in gguf.GGUFReader(path).tensors}


def test_what_is_left_of_an_update_is_told_as_four_files_show_it(program, tmp_path):
    program.run(*EXPORT, "model.path=model", "export.gguf=[F32, Q4_K_M, Q2_K]", "run.out=base")
    said = json.loads(program.run(*EXPORT, "model.path=model+adapter", "export.gguf=[F32, Q4_K_M, Q2_K]", "run.out=merged",
                                  "--json").stdout)
    before, after = (values(tmp_path / f"{name}/gguf/{name}-F32.gguf") for name in ("base", "merged"))
    files = {entry["file"]: entry for entry in json.loads((tmp_path / "merged/verify.json").read_text())["delta_survival"]}
    assert set(files) == {"gguf/merged-Q4_K_M.gguf", "gguf/merged-Q2_K.gguf"}
    for kind in ("Q4_K_M", "Q2_K"):
        base, merged = (values(tmp_path / f"{name}/gguf/{name}-{kind}.gguf") for name in ("base", "merged"))
        told, sums = files[f"gguf/merged-{kind}.gguf"], np.zeros(4)
        assert len(told["tensors"]) == 7 * SHAPE["num_hidden_layers"]
        for tensor in told["tensors"]:
            name = tensor["name"]
            update, change = after[name] - before[name], merged[name] - base[name]
            error = merged[name] - after[name]
            found = np.array([change @ update, update @ update, change @ change, error @ error])
            sums += found
            assert tensor["survival"] == pytest.approx(found[0] / found[1], rel=1e-4), name
            assert tensor["noise"] == pytest.approx((found[3] / found[1]) ** 0.5, rel=1e-4), name
        assert told["survival"] == pytest.approx(sums[0] / sums[1], rel=1e-4)
        assert told["alignment"] == pytest.approx(sums[0] / (sums[1] * sums[2]) ** 0.5, rel=1e-4)
    assert files["gguf/merged-Q4_K_M.gguf"]["noise"] < files["gguf/merged-Q2_K.gguf"]["noise"]
    assert len(said["survival"]) == 2 and said["warnings"] == [], said


def hashes(folder):
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*") if path.is_file() and path.suffix in (".gguf", ".safetensors")}


def test_a_killed_export_leaves_whole_files_or_none_and_goes_on(program, tmp_path):
    words = [*EXPORT, "model.path=model+adapter", "export.gguf=[Q4_K_M, Q6_K]", "export.merged=bf16", "export.name=it"]
    start = time.monotonic()
    program.run(*words, "run.out=wanted")
    seconds = time.monotonic() - start
    wanted = hashes(tmp_path / "wanted")
    assert len(wanted) == 3
    for share in (0.3, 0.5, 0.7, 0.85):
        process = program.start(*words, "run.out=run")
        time.sleep(share * seconds)
        process.kill()
        process.communicate()
        for name, found in hashes(tmp_path / "run").items():
            assert ".tmp-" in name or found == wanted[name], name
    program.run(*words, "run.out=run")
    assert hashes(tmp_path / "run") == wanted
    assert not [path for path in (tmp_path / "run").rglob(".tmp-*")]
