"""What a run hands over, read by other tools: the chat template it was trained with, and nothing that cannot be served."""

import hashlib
import json
import shutil

import gguf
import pytest
import torch
from conftest import ROOT, Prentice, write_rows
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_models import make_model, save_folder

TEMPLATE = ("{% for message in messages %}{{ message['role'] | upper }}: {{ message['content'] }}\n"
            "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
            "{% if add_generation_prompt %}ASSISTANT:{% endif %}")
TRAIN = ["sft", "model.path=model", "data.train=rows.jsonl", "data.eval_split=0", "train.steps=2", "train.batch=2",
         "run.precision=f32", "run.device=cpu", "run.out=run", "optim.lr=1e-3"]


@pytest.fixture
def program(tmp_path, binary):
    save_folder(make_model("llama_tied_llama3_rope"), tmp_path / "model")
    rows = [{"messages": [{"role": "user", "content": f"Where is box {i}?"},
                          {"role": "assistant", "content": f"On shelf {i}."}]} for i in range(6)]
    write_rows(tmp_path / "rows.jsonl", rows)
    (tmp_path / "own.jinja").write_text(TEMPLATE)
    return Prentice(binary, tmp_path)


def template_of(path):
    return gguf.GGUFReader(path).fields["tokenizer.chat_template"].contents()


def test_products_carry_the_template_that_was_trained(program, tmp_path):
    program.run(*TRAIN, "data.template=own.jinja", "export.merged=f32", "export.gguf=[F32]")
    assert (tmp_path / "run/merged/chat_template.jinja").read_text() == TEMPLATE
    assert template_of(tmp_path / "run/gguf/run-F32.gguf") == TEMPLATE
    (tmp_path / "own.jinja").unlink()  # from here on the run stands alone
    program.run("export", "model.path=run", "export.merged=bf16", "export.gguf=[F16]", "run.out=again")
    assert (tmp_path / "again/merged/chat_template.jinja").read_text() == TEMPLATE
    assert template_of(tmp_path / "again/gguf/again-F16.gguf") == TEMPLATE
    program.run("generate", "model.path=run", "--chat", "generate.prompt=Where is box 3?", "generate.max_new_tokens=2")


def test_embedded_templates_are_found_from_any_folder(program, tmp_path):
    program.run(*TRAIN, "data.template=configs/chat/plain.jinja", "export.merged=f32")
    assert (tmp_path / "run/merged/chat_template.jinja").read_text() == (ROOT / "configs/chat/plain.jinja").read_text()


def test_what_is_said_to_be_verified_was_asked_of_every_product(program, tmp_path):
    said = program.run(*TRAIN, "data.template=own.jinja", "export.merged=f32")
    assert "verified: container, tensors, token ids, template, logits (verify.json)" in said.stdout
    asked = {check["name"] for check in json.loads((tmp_path / "run/verify.json").read_text())["checks"]}
    assert {"merged: container", "merged: token ids", "merged: chat template", "merged: log-probabilities"} <= asked
    said = program.run("export", "model.path=run", "export.merged=f32", "export.gguf_adapter=F16", "run.out=both")
    assert "verified: container, tensors (verify.json)" in said.stdout  # an adapter has no tokens


@pytest.mark.parametrize("words", [[], ["export.merged=bf16"]])
def test_a_model_that_was_trained_whole_is_proven_as_it_is_handed_over(program, tmp_path, words):
    program.run(*TRAIN, "adapter.kind=full", "data.template=own.jinja", *words)
    report = json.loads((tmp_path / "run/verify.json").read_text())
    assert {"merged: values", "merged: log-probabilities"} <= {check["name"] for check in report["checks"]} and report["passed"]
    with safe_open(tmp_path / "run/merged/model.safetensors", "pt") as file:
        assert file.metadata()["prentice.verification"].startswith("passed")
    assert load_file(tmp_path / "run/merged/model.safetensors")["model.norm.weight"].dtype == (torch.bfloat16 if words else torch.float32)
    program.run("verify", "verify.model=run", "verify.artifact=run/merged", "run.out=again", "--provenance")
    program.run(*TRAIN[:-2], "run.out=quick", "adapter.kind=full", "export.verify=false")
    assert "provenance: verification" in program.run("verify", "verify.model=quick", "verify.artifact=quick/merged", "run.out=third",
                                                     "--provenance", code=9).stderr


def test_merging_an_adapter_on_a_tied_head_gives_the_head_a_weight_of_its_own(program, tmp_path):
    program.run(*TRAIN, "data.template=own.jinja", "adapter.targets=[lm_head]", "export.merged=f32", "export.gguf=[F16]")
    assert json.loads((tmp_path / "run/merged/config.json").read_text())["tie_word_embeddings"] is False
    weights = load_file(tmp_path / "run/merged/model.safetensors")
    assert not torch.equal(weights["lm_head.weight"], weights["model.embed_tokens.weight"])
    assert "output.weight" in {tensor.name for tensor in gguf.GGUFReader(tmp_path / "run/gguf/run-F16.gguf").tensors}


def test_an_export_of_nothing_is_refused(program):
    assert "nothing is asked for" in program.run("export", "model.path=model", "run.out=none", code=2).stderr


def test_a_loop_of_links_is_no_internal_error(program, tmp_path):
    shutil.copytree(tmp_path / "model", tmp_path / "loop")
    (tmp_path / "loop/config.json").unlink()
    (tmp_path / "loop/config.json").symlink_to("config.json")
    refused = program.run("eval", "model.path=loop", "data.eval=rows.jsonl", "run.out=score", code=None)
    assert refused.returncode in (4, 5)
    assert "Too many levels of symbolic links" in refused.stderr


def test_the_page_of_a_run_shows_answers_before_and_after_inputs_and_files(program, tmp_path):
    program.run(*TRAIN, "data.template=own.jinja", "data.eval=rows.jsonl", "eval.tasks=[choice]", "export.gguf=[F32]")
    before, after = ([json.loads(line) for line in (tmp_path / "run" / name).open()]
                     for name in ("examples_before.jsonl", "examples.jsonl"))
    assert [row["prompt"] for row in before] == [row["prompt"] for row in after] == [f"Where is box {i}?" for i in range(6)]
    assert [row["expected"] for row in after] == [f"On shelf {i}." for i in range(6)]
    page = (tmp_path / "run/report.html").read_text()
    for text in ("Before and after", "Where is box 3?", before[0]["answer"], hashlib.sha256((tmp_path / "rows.jsonl").read_bytes()).hexdigest(),
                 "gguf/run-F32.gguf", hashlib.sha256((tmp_path / "run/gguf/run-F32.gguf").read_bytes()).hexdigest()):
        assert text in page, text
