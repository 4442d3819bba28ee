"""What a run hands over, read by other tools: the chat template it was trained with, and nothing that cannot be served."""

import json
import shutil

import gguf
import pytest
from conftest import ROOT, Prentice
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
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
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
    said = program.run("generate", "model.path=run", "--chat", "generate.prompt=Where is box 3?",
                       "generate.max_new_tokens=2", "--json")
    assert said.returncode == 0


def test_embedded_templates_are_found_from_any_folder(program, tmp_path):
    program.run(*TRAIN, "data.template=configs/chat/plain.jinja", "export.merged=f32")
    assert (tmp_path / "run/merged/chat_template.jinja").read_text() == (ROOT / "configs/chat/plain.jinja").read_text()


def test_an_adapter_on_a_tied_head_is_refused_before_training_where_it_must_be_merged(program, tmp_path):
    head = [*TRAIN, "data.template=own.jinja", "adapter.targets=[lm_head]"]
    refused = program.run(*head, "export.gguf=[F16]", code=2)
    assert "cannot be merged" in refused.stderr
    program.run(*head)  # the adapter alone is fine
    assert (tmp_path / "run/adapter/adapter_model.safetensors").is_file()


def test_an_export_of_nothing_is_refused(program):
    assert "nothing is asked for" in program.run("export", "model.path=model", "run.out=none", code=2).stderr


def test_a_loop_of_links_is_no_internal_error(program, tmp_path):
    shutil.copytree(tmp_path / "model", tmp_path / "loop")
    (tmp_path / "loop/config.json").unlink()
    (tmp_path / "loop/config.json").symlink_to("config.json")
    refused = program.run("eval", "model.path=loop", "data.eval=rows.jsonl", "run.out=score", code=None)
    assert refused.returncode in (4, 5)
    assert "Too many levels of symbolic links" in refused.stderr
