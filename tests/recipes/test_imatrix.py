"""The kind `imatrix` and export.imatrix as a user meets them."""

import json
import struct

import gguf
import numpy as np
import pytest
from conftest import ROOT, Prentice
from tiny_models import SHAPE, make_model, save_folder
from transformers import LlamaConfig, LlamaForCausalLM

CPU = ["run.device=cpu", "run.precision=f32"]
WIDE = (LlamaForCausalLM, LlamaConfig(**{**SHAPE, "hidden_size": 256, "intermediate_size": 256}))
TEXT = (ROOT / "data/office.txt").read_text()


def messages(numbers):
    return "".join(json.dumps({"messages": [{"role": "user", "content": f"Where is box {i}?"},
                                            {"role": "assistant", "content": f"On shelf {i}."}]}) + "\n" for i in numbers)


@pytest.fixture
def program(tmp_path, binary):
    save_folder(make_model(WIDE), tmp_path / "model")
    (tmp_path / "text.txt").write_text(TEXT[:8000])
    (tmp_path / "rows.jsonl").write_text(messages(range(40)))
    (tmp_path / "test.jsonl").write_text(messages([100, 3, 101, 7]))
    return Prentice(binary, tmp_path)


def tensors(path):
    return {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(path).tensors}


def differ(a, b):
    a, b = tensors(a), tensors(b)
    assert a.keys() == b.keys()
    return {name for name in a if not np.array_equal(a[name], b[name])}


def test_a_run_tells_what_it_saw_and_is_done_once(program, tmp_path):
    words = ["imatrix", "model.path=model", "data.train=text.txt", "data.max_length=100", "run.out=run", *CPU]
    said = json.loads(program.run(*words, "--json").stdout)
    assert said["entries"] == 7 * SHAPE["num_hidden_layers"] and said["tokens"] % 100 == 0 and said["chunks"] == said["tokens"] // 100
    assert said["overlap"] == []
    first = (tmp_path / "run/imatrix.gguf").read_bytes()
    assert program.run(*words).stdout.startswith("already done")
    program.run(*words, "--fresh")
    assert (tmp_path / "run/imatrix.gguf").read_bytes() == first
    assert "imatrix.gguf" in (tmp_path / "run/SHA256SUMS").read_text()
    plan = json.loads(program.run("plan", "run/recipe.yaml", "--json").stdout)
    assert plan["decided"]["data.max_length"] == "100" and plan["steps"] == said["chunks"]


def test_rows_that_are_evaluated_on_are_told_everywhere(program, tmp_path):
    (tmp_path / "imatrix.yaml").write_text("recipe: imatrix\nrun: {device: cpu}\nmodel: {path: model}\n"
                                           "data: {train: rows.jsonl, eval: test.jsonl}\n")
    for verb in ("validate", "plan", "run"):
        said = program.run(verb, "imatrix.yaml").stderr
        assert "2 evaluation rows are calibrated on, too" in said, (verb, said)
        assert "rows.jsonl:4 = " in said and "test.jsonl:2" in said and "rows.jsonl:8 = " in said, (verb, said)
    quiet = program.run("run", "imatrix.yaml", "--quiet", "--fresh").stderr.splitlines()
    assert len(quiet) == 1 and "2 evaluation rows are calibrated on, too" in quiet[0], quiet
    assert "2 of 4 held-out rows are calibrated on, too" in program.run("audit", "imatrix.yaml").stdout
    assert len(json.loads((tmp_path / "runs/imatrix/run.json").read_text())["results"]["overlap"]) == 2


def test_a_training_run_is_warned_of_a_matrix_collected_on_its_held_out_rows(program, tmp_path):
    program.run("imatrix", "model.path=model", "data.train=rows.jsonl", "run.out=calibrated", *CPU)
    train = ["sft", "model.path=model", "data.train=rows.jsonl", "data.eval=test.jsonl", "train.steps=1", "train.batch=2",
             "export.gguf=[Q4_K_M]", *CPU]
    for name, matrix in (("file", "calibrated/imatrix.gguf"), ("data", "rows.jsonl")):
        result = program.run(*train, f"export.imatrix={matrix}", f"run.out={name}")
        assert "2 of 4 held-out rows were calibrated on, too" in result.stderr
    program.run(*train, "run.out=plain")
    assert differ(tmp_path / "data/gguf/data-Q4_K_M.gguf", tmp_path / "plain/gguf/plain-Q4_K_M.gguf")


def test_export_collects_on_data_what_the_kind_collects(program, tmp_path):
    program.run("imatrix", "model.path=model", "data.train=text.txt", "run.out=calibrated", "data.max_length=256", *CPU)
    export = ["export", "model.path=model", "export.gguf=[Q4_K_M, Q2_K]", *CPU]
    for name, words in (("file", ["export.imatrix=calibrated/imatrix.gguf"]), ("data", ["export.imatrix=text.txt"]), ("plain", [])):
        program.run(*export, *words, f"run.out={name}")
    for kind in ("Q4_K_M", "Q2_K"):
        files = {name: tmp_path / f"{name}/gguf/{name}-{kind}.gguf" for name in ("file", "data", "plain")}
        assert not differ(files["file"], files["data"])
        assert len(differ(files["file"], files["plain"])) == 7 * SHAPE["num_hidden_layers"]
    assert json.loads((tmp_path / "file/verify.json").read_text())["passed"]


def write_older_form(path, entries):
    """llama.cpp's .dat: means times calls."""
    out = struct.pack("<i", len(entries))
    for name, values in entries.items():
        out += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", 4, len(values))
        out += (values * 4).astype("<f4").tobytes()
    path.write_bytes(out + struct.pack("<ii", 9, 4) + b"wiki")


def test_the_older_form_weights_alike(program, tmp_path):
    program.run("imatrix", "model.path=model", "data.train=text.txt", "run.out=calibrated", *CPU)
    found = tensors(tmp_path / "calibrated/imatrix.gguf")
    write_older_form(tmp_path / "old.dat", {name.removesuffix(".in_sum2"): sums / found[name.replace(".in_sum2", ".counts")][0]
                                            for name, sums in found.items() if name.endswith(".in_sum2")})
    for name, matrix in (("new", "calibrated/imatrix.gguf"), ("old", "old.dat")):
        program.run("export", "model.path=model", "export.gguf=[Q3_K_M]", f"export.imatrix={matrix}", f"run.out={name}", *CPU)
    assert not differ(tmp_path / "new/gguf/new-Q3_K_M.gguf", tmp_path / "old/gguf/old-Q3_K_M.gguf")
    fields = gguf.GGUFReader(tmp_path / "old/gguf/old-Q3_K_M.gguf").fields
    assert fields["quantize.imatrix.dataset"].contents() == "wiki" and fields["quantize.imatrix.chunks_count"].contents() == 9


def test_a_matrix_of_another_model_is_refused_by_the_name_of_a_weight(program, tmp_path):
    for name, change, said in (("narrow", {"intermediate_size": 512}, "its entry of blk.0.ffn_down.weight has 512 columns, the weight 256"),
                               ("flat", {"num_hidden_layers": 1}, "blk.1.attn_k.weight has no entry"),
                               ("deep", {"num_hidden_layers": 4}, "blk.3.attn_k.weight is no weight of this model")):
        config = LlamaConfig(**{**SHAPE, "hidden_size": 256, "intermediate_size": 256, **change})
        save_folder(make_model((LlamaForCausalLM, config)), tmp_path / name)
        program.run("imatrix", f"model.path={name}", "data.train=text.txt", f"run.out=of_{name}", *CPU)
        words = ["model.path=model", "export.gguf=[Q4_K_M]", f"export.imatrix=of_{name}/imatrix.gguf", *CPU]
        for verb in (["export"], ["sft", "data.train=rows.jsonl"]):
            error = program.run(*verb, *words, f"run.out=run_{name}", code=None)
            assert error.returncode in (2, 4) and said in error.stderr, error.stderr
            assert not (tmp_path / f"run_{name}").exists()


@pytest.mark.parametrize("words, said", [
    (["export", "export.gguf=[Q4_K_M]", "export.imatrix=no.gguf"], "no such file"),
    (["export", "export.gguf=[F16, Q8_0]", "export.imatrix=rows.jsonl"], "which weight all columns alike"),
    (["export", "export.merged=f32", "export.imatrix=rows.jsonl"], "without export.gguf"),
    (["export", "export.gguf=[Q4_K_M]", "export.imatrix=model/config.gguf"], "no such file"),
    (["imatrix", "data.train=text.txt", "data.max_length=300"], "trained context of 256"),
    (["imatrix", "data.train=short.txt"], "less than a chunk of 256"),
    (["imatrix", "data.train=text.txt", "data.packing=false"], "data.packing"),
    (["imatrix", "data.train=text.txt", "data.format=text", "data.overlong=drop"], "cut into chunks"),
    (["imatrix"], "data.train"),
])
def test_what_cannot_be_is_refused(program, tmp_path, words, said):
    (tmp_path / "short.txt").write_text("Only this.")
    result = program.run(*words, "model.path=model", "run.out=run", *CPU, code=None)
    assert result.returncode in (2, 3) and said in result.stderr, result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind, tolerance", [("F32", 1e-5), ("Q8_0", 0.1)])
def test_a_gguf_file_is_calibrated_as_its_model_is(program, tmp_path, kind, tolerance):
    program.run("export", "model.path=model", f"export.gguf=[{kind}]", "export.name=it", "run.out=made", "export.peft=false", *CPU[:1])
    words = ["imatrix", "data.train=text.txt", "data.max_length=100", *CPU]
    program.run(*words, "model.path=model", "run.out=whole")
    program.run(*words, f"model.path=made/gguf/it-{kind}.gguf", "run.out=file")
    whole, file = (tensors(tmp_path / run / "imatrix.gguf") for run in ("whole", "file"))
    assert whole.keys() == file.keys()
    for name, values in whole.items():
        if name.endswith(".in_sum2"):
            assert np.abs(file[name] - values).sum() <= tolerance * np.abs(values).sum(), name
        else:
            assert np.array_equal(file[name], values), name


def test_a_pipeline_calibrates_and_exports(program, tmp_path):
    (tmp_path / "calibrate.yaml").write_text("recipe: imatrix\nrun: {device: cpu}\nmodel: {path: model}\ndata: {train: text.txt}\n")
    (tmp_path / "write.yaml").write_text("recipe: export\nrun: {device: cpu}\nmodel: {path: model}\nexport: {gguf: [Q4_K_M]}\n")
    (tmp_path / "all.yaml").write_text("recipe: pipeline\nrun: {out: all}\npipeline:\n  steps:\n    - {recipe: calibrate.yaml}\n"
                                       "    - recipe: write.yaml\n      set: {export.imatrix: '${steps.calibrate.out}/imatrix.gguf'}\n")
    program.run("validate", "all.yaml")
    program.run("plan", "all.yaml")
    said = program.run("run", "all.yaml").stdout
    assert "21 weights over" in said, said
    assert "quantize.imatrix.file" in gguf.GGUFReader(next((tmp_path / "all").rglob("*Q4_K_M.gguf"))).fields
