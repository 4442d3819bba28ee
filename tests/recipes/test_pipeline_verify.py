"""`verify` as a step of a pipeline: what the step before it exported is proven, or the pipeline ends there by name."""

import json

import pytest
from conftest import write_rows
from tiny_models import make_model, save_folder

STEPS = """recipe: pipeline
pipeline:
  steps:
    - {name: tune, recipe: sft.yaml}
    - {name: prove, recipe: verify.yaml%s}
    - {name: score, recipe: eval.yaml}
run: {out: whole}
"""


@pytest.fixture
def folder(tmp_path):
    save_folder(make_model("llama"), tmp_path / "model")
    rows = [{"prompt": f"Box {number} is in the", "completion": f" {place}."} for number in range(4) for place in ("hall", "yard")]
    write_rows(tmp_path / "rows.jsonl", rows)
    (tmp_path / "sft.yaml").write_text(
        "recipe: sft\nmodel: {path: model}\ndata: {train: rows.jsonl}\ntrain: {steps: 8, batch: 2}\n"
        "optim: {lr: 1.0e-2, warmup: 0}\nexport: {gguf: [Q8_0]}\nrun: {device: cpu, precision: f32, out: tuned}\n")
    (tmp_path / "verify.yaml").write_text(
        "recipe: verify\nverify: {model: tuned, artifact: tuned/gguf/tuned-Q8_0.gguf}\ndata: {eval: rows.jsonl}\n"
        "run: {device: cpu, out: proven}\n")
    (tmp_path / "eval.yaml").write_text(
        "recipe: eval\nmodel: {path: tuned}\ndata: {eval: rows.jsonl}\nrun: {device: cpu, precision: f32, out: scored}\n")
    (tmp_path / "good.yaml").write_text(STEPS % "")
    (tmp_path / "strict.yaml").write_text(STEPS % ", set: {verify.limits: {Q8_0: {kld: 1.0e-9}}}")
    return tmp_path


def test_what_a_step_exports_is_proven_by_the_next(prentice, folder):
    planned = json.loads(prentice.run("plan", "good.yaml", "--json").stdout)
    assert planned["fits"] and not (folder / "tuned").exists()
    said = prentice.run("run", "good.yaml")
    found = json.loads((folder / "proven/verify.json").read_text())
    assert found["passed"] and {"log-probabilities", "token ids"} <= {check["name"] for check in found["checks"]}
    assert f"{len(found['checks'])} checks passed" in said.stdout and (folder / "scored/eval.json").exists()
    again = prentice.run("run", "good.yaml")
    assert again.stderr.count("already done") == 3


@pytest.mark.parametrize("artifact, export, kind", [("gguf/tuned-Q8_0.gguf", "{gguf: [Q8_0]}", "Q8_0"), ("merged", "{merged: bf16}", "BF16")])
def test_a_proof_that_fails_ends_the_pipeline_and_names_the_step(artifact, export, kind, prentice, folder):
    for file, old, new in (("sft.yaml", "{gguf: [Q8_0]}", export), ("verify.yaml", "gguf/tuned-Q8_0.gguf", artifact), ("strict.yaml", "Q8_0", kind)):
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new))
    said = prentice.run("run", "strict.yaml", code=9)
    assert "error: verify: log-probabilities" in said.stderr
    assert "error: pipeline: step prove did not pass; none of the 1 behind it ran" in said.stderr
    assert not (folder / "scored").exists() and not json.loads((folder / "proven/verify.json").read_text())["passed"]
    assert not (folder / "tuned" / artifact).exists() and (folder / f"tuned/{artifact}.rejected").exists()
    trained = (folder / "tuned/metrics.jsonl").read_bytes()
    # Nothing is trained again to fail again: what was made is where the proof put it.
    said = prentice.run("run", "strict.yaml", code=2)
    assert f"kept it as {artifact.split('/')[-1]}.rejected; its verify.json says why" in said.stderr
    assert (folder / "tuned/metrics.jsonl").read_bytes() == trained


def test_another_model_is_found_on_the_way(prentice, folder):
    """The base in place of what was tuned: a good file, and not of that model."""
    (folder / "good.yaml").write_text(STEPS % ", set: {verify.model: model}")
    said = prentice.run("run", "good.yaml", code=9)
    assert "step prove did not pass" in said.stderr and "error: verify: values" in said.stderr
