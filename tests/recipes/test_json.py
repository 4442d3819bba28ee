"""`--json` prints one JSON object to stdout, whatever the verb and however it ends."""

import json
import shutil
import signal
import time

import pytest
from conftest import Prentice, write_rows
from tiny_models import make_model, save_folder

TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
KINDS = ["pretrain", "sft", "dpo", "kto", "distill", "reward", "teach", "imatrix", "eval", "export", "verify", "compare", "generate"]
SFT = ["sft", "model.path=model", "data.train=rows.jsonl", "data.eval=rows.jsonl", "train.batch=2", "run.precision=f32", "run.device=cpu"]
EVAL = "recipe: eval\nmodel: {path: model}\ndata: {eval: rows.jsonl}\neval: {require: {loss: 0.1}}\nrun: {device: cpu, precision: f32}\n"


@pytest.fixture(scope="module")
def program(binary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("json")
    for name, seed in (("model", 1), ("other", 2)):
        save_folder(make_model("llama", seed), folder / name)
        (folder / name / "chat_template.jinja").write_text(TEMPLATE)
    write_rows(folder / "rows.jsonl", [{"prompt": f"Box {number} is in the", "completion": " hall."} for number in range(4)])
    (folder / "bad.yaml").write_text("recipe: sft\noptim: {lrr: 1}\n")
    (folder / "gate.yaml").write_text(EVAL)
    (folder / "ask.yaml").write_text("recipe: generate\nmodel: {path: model}\ngenerate: {prompt: Box, max_new_tokens: 2}\n")
    (folder / "missed.yaml").write_text("recipe: pipeline\npipeline: {steps: [ask.yaml, gate.yaml]}\n")
    (folder / "asked.yaml").write_text("recipe: pipeline\npipeline: {steps: [ask.yaml]}\n")
    return Prentice(binary, folder)


def object_of(program, *words, code):
    said = program.run(*words, "--json", code=code)
    try:
        told = json.loads(said.stdout)
    except json.JSONDecodeError:
        pytest.fail(f"{' '.join(words)}: exit {said.returncode}\nstdout: {said.stdout[:500]!r}\nstderr: {said.stderr}")
    assert isinstance(told, dict), words
    if code not in (0, 9):
        assert told["exit_code"] == code and told["errors"], words
    return told


@pytest.mark.parametrize("words", [
    ["--help"], ["help"], ["help", "sft"], ["verify", "--help"], ["sft", "-h"], ["--version"], ["doctor"], ["explain", "sft", "--json-schema"]])
def test_what_is_read_by_people_is_an_object_too(words, program):
    object_of(program, *words, code=0)


@pytest.mark.parametrize("words", [
    [], ["trian"], ["run"], ["run", "nowhere.yaml"], ["run", "bad.yaml"], ["resume", "nowhere"], ["resume", "model"], ["plan", "bad.yaml"],
    ["plan", "--fit", "16XB"], ["validate", "bad.yaml"], ["audit", "bad.yaml"], ["audit", "asked.yaml"], ["explain", "nothing"],
    ["init", "nothing"], ["generate", "model.path=model"], ["generate", "model.path=model", "--chat"], ["inspect", "nowhere"],
    ["verify", "verify.model=model", "verify.artifact=nowhere.gguf"], ["repro", "diff", "model", "other"], ["repro", "run", "nowhere"],
    ["download", "a/b/c"], ["recipes", "--configs", "nowhere"], ["doctor", "--chat"], *[[kind] for kind in KINDS]], ids=" ".join)
def test_a_mistake_is_an_object(words, program):
    object_of(program, *words, code=2)


@pytest.mark.parametrize("words, told", [
    (["run", "gate.yaml", "run.out=scored"], "gates"),
    (["run", "missed.yaml", "run.out=piped"], "errors"),
    ([*SFT, "train.steps=2", "eval.require={loss: 0.1}", "run.out=tuned"], "eval"),
    (["compare", "compare.a=other", "compare.b=model", "data.eval=rows.jsonl", "run.out=compared"], "decision")], ids=lambda words: words[-1])
def test_a_missed_gate_is_an_object_and_so_is_its_repetition(words, told, program):
    assert told in object_of(program, *words, code=9)
    assert ("errors" if told == "errors" else "missed_gates") in object_of(program, *words, code=9)


def test_a_file_that_is_refused_is_an_object_and_so_is_its_repetition(program):
    export = ["export", "model.path=model", "export.name=it", "run.device=cpu", "run.out=made"]
    assert "errors" in object_of(program, *export, "export.gguf=[Q8_0]", "export.limits={Q8_0: {kld: 1e-12}}", code=9)
    object_of(program, *export, "export.gguf=[F32]", "--fresh", code=0)
    verify = ["verify", "verify.model=other", "verify.artifact=it.gguf", "run.device=cpu", "run.out=proven"]
    told = []
    for _ in range(2):
        shutil.copy(program.folder / "made/gguf/it-F32.gguf", program.folder / "it.gguf")
        told.append(object_of(program, *verify, code=9))
    failed = [check["name"] for check in told[0]["checks"] if not check["passed"]]
    assert failed and [reason.split(":")[0] for reason in told[1]["missed_gates"]] == failed
    # What cannot be set aside, as the file's name would become too long.
    name = "x" * 246 + ".gguf"
    shutil.copy(program.folder / "made/gguf/it-F32.gguf", program.folder / name)
    object_of(program, *verify[:2], f"verify.artifact={name}", "run.out=too-long", code=5)


def test_what_a_step_says_is_not_the_pipelines(program):
    assert "steps" in object_of(program, "run", "asked.yaml", "run.out=asked", code=0)


def test_a_run_that_is_stopped_is_an_object(program):
    process = program.start(*SFT, "train.steps=100000", "run.out=stopped", "--json")
    while process.poll() is None and not list((program.folder / "stopped").glob("checkpoints/step-*")):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=60)
    told = json.loads(said)
    assert told["exit_code"] == 143 and "stopped by SIGTERM" in told["errors"][0]["message"], errors
