"""The real binary on inputs that are wrong in one way: exit code and exact message. FOLDER stands for the case's folder.

`PYTHONPATH=tests python tests/recipes/test_cli.py` (with PRENTICE_BINARY) prints what every case says
now and writes it to messages.json, to be read before it is committed."""

import json
import re
import shutil

import bad_inputs as bad
import peft
import pytest
from conftest import ROOT, Prentice
from tiny_models import make_model, save_folder

TRAIN = ["sft", "model.path=model", "data.train=rows.jsonl", "data.eval_split=0", "train.steps=2", "train.batch=2",
         "run.precision=f32", "run.device=cpu", "run.out=run", "optim.lr=1e-3"]
EVAL = ["eval", "model.path=model", "data.eval=rows.jsonl", "run.out=score", "run.precision=f32"]

# name: (how the case is spoiled, command, exit code)
CASES = {
    "broken_json": (bad.broken_json, TRAIN, 3),
    "duplicate_key": (bad.duplicate_key, TRAIN, 3),
    "no_messages": (bad.no_messages, TRAIN, 3),
    "unknown_role": (bad.unknown_role, TRAIN, 3),
    "content_is_a_number": (bad.content_is_a_number, TRAIN, 3),
    "no_answer": (bad.no_answer, TRAIN, 3),
    "not_utf8": (bad.not_utf8, TRAIN, 3),
    "empty_file": (bad.empty_file, TRAIN, 3),
    "too_long": (bad.too_long, [*TRAIN, "data.max_length=64"], 3),
    "ragged_csv": (bad.ragged_csv, [*TRAIN, "data.train=rows.csv"], 3),
    "weights_cut_short": (bad.weights_cut_short, TRAIN, 4),
    "weights_with_huge_header": (bad.weights_with_huge_header, TRAIN, 4),
    "weights_without_a_tensor": (bad.weights_without_a_tensor, TRAIN, 4),
    "weights_with_another_shape": (bad.weights_with_another_shape, TRAIN, 4),
    "weights_with_an_unknown_tensor": (bad.weights_with_an_unknown_tensor, TRAIN, 4),
    "only_a_pickle": (bad.only_a_pickle, TRAIN, 4),
    "config_is_no_json": (bad.config_is_no_json, TRAIN, 4),
    "config_without_width": (bad.config_without_width, TRAIN, 4),
    "config_of_an_unknown_family": (bad.config_of_an_unknown_family, TRAIN, 4),
    "tokenizer_is_no_tokenizer": (bad.tokenizer_is_no_tokenizer, TRAIN, 4),
    "no_tokenizer": (bad.no_tokenizer, TRAIN, 4),
    "template_that_fails": (bad.template_that_fails, TRAIN, 4),
    "adapter_for_another_width": (bad.adapter_for_another_width, [*EVAL, "model.adapter=adapter"], 4),
    "adapter_without_config": (bad.adapter_without_config, [*EVAL, "model.adapter=adapter"], 4),
    "missing_model": (bad.nothing, [*TRAIN, "model.path=modle"], 2),
    "missing_data": (bad.nothing, [*TRAIN, "data.train=row.jsonl"], 2),
    "unknown_key": (bad.nothing, [*TRAIN, "optim.lrr=1"], 2),
    "unknown_verb": (bad.nothing, ["trian", "model.path=model"], 2),
    "batch_twice": (bad.nothing, [*TRAIN, "train.batch_tokens=100"], 2),
    "foreign_run_folder": (bad.run_folder_with_foreign_files, TRAIN, 2),
    "nothing_to_resume": (bad.nothing, ["resume", "rnu"], 2),
    "target_pattern_does_not_parse": (bad.nothing, [*TRAIN, "adapter.targets=(q_proj"], 2),
    "type_pattern_does_not_parse": (bad.nothing, [*TRAIN, "export.gguf=[F16]", "export.types={'(': F32}"], 2),
    "type_pattern_names_no_tensor": (bad.nothing, [*TRAIN, "export.gguf=[F16]", "export.types={attn_w: F32}"], 2),
    "prompt_does_not_parse": (bad.nothing, [*TRAIN, "data.prompt={{ text", "data.completion={{ label }}"], 2),
    "field_that_no_record_has": (bad.nothing, [*TRAIN, "data.fields={prompt: question}"], 2),
    "completion_is_a_number": (bad.completion_is_a_number, TRAIN, 3),
    "select_without_held_out_rows": (bad.nothing, [*TRAIN, "data.eval_split=auto", "train.select=eval.loss"], 2),
    "gate_without_held_out_rows": (bad.nothing, [*TRAIN, "data.eval_split=auto", "eval.require={loss: 1}"], 2),
    "key_without_its_section": (bad.nothing, [*TRAIN, "lr=3"], 2),
    "run_folder_in_proc": (bad.nothing, [*TRAIN, "run.out=/proc/x"], 2),
    "weights_are_not_numbers": (bad.weights_are_not_numbers, EVAL, 6),
    "choices_are_not_numbers": (bad.weights_are_not_numbers, [*EVAL, "eval.tasks=[choice]", "eval.choices=[a, b]"], 6),
    "answers_of_no_numbers": (bad.weights_are_not_numbers, ["generate", "model.path=model", "generate.prompt=hi"], 6),
    "broken_choices_file": (bad.broken_choices_file, [*EVAL, "eval.tasks=[choice]", "eval.choices=choices.json"], 3),
    "gate_not_met": (bad.nothing, [*EVAL, "eval.require={loss: 0.5}"], 9),
}

MESSAGES = ROOT / "tests/recipes/messages.json"


def make_good(folder):
    model = make_model("llama")
    save_folder(model, folder / "model")
    shutil.copy(ROOT / "data/tickets/test.jsonl", folder / "rows.jsonl")
    (folder / "rows.jsonl").write_text("\n".join((folder / "rows.jsonl").read_text().splitlines()[:8]) + "\n")
    peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules="all-linear")).save_pretrained(folder / "adapter")


def message_of(result, folder):
    """The error and hint lines, with the folder's name and sizes that depend on library versions taken out."""
    lines = [line for line in result.stderr.splitlines() if re.match(r"error:|hint:|  ", line)]
    first = next((i for i, line in enumerate(lines) if line.startswith("error:")), len(lines))
    return "\n".join(lines[first:]).replace(str(folder), "FOLDER").replace(str(ROOT), "ROOT")


def say(name, good, folder, program):
    spoil, words, _ = CASES[name]
    shutil.copytree(good, folder)
    spoil(folder)
    result = Prentice(program, folder).run(*words, code=None)
    return result, message_of(result, folder)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    make_good(folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_bad_input_has_its_message_and_code(name, good, tmp_path, binary):
    result, message = say(name, good, tmp_path / "case", binary)
    assert result.returncode == CASES[name][2], result.stderr
    assert message == json.loads(MESSAGES.read_text())[name]


def test_the_good_case_trains(good, tmp_path, binary):
    shutil.copytree(good, tmp_path / "case")
    Prentice(binary, tmp_path / "case").run(*TRAIN)
    assert (tmp_path / "case/run/adapter/adapter_config.json").is_file()


def test_a_missed_gate_is_missed_again(good, tmp_path, binary):
    shutil.copytree(good, tmp_path / "case")
    program = Prentice(binary, tmp_path / "case")
    (tmp_path / "case/gate.yaml").write_text(
        "recipe: eval\nmodel: {path: model}\ndata: {eval: rows.jsonl}\neval: {require: {loss: 0.1}}\n")
    (tmp_path / "case/export.yaml").write_text("recipe: export\nmodel: {path: model}\nexport: {gguf: [F32]}\n")
    (tmp_path / "case/pipe.yaml").write_text(
        "recipe: pipeline\nrun: {out: pipe}\npipeline: {steps: [gate.yaml, export.yaml]}\n")
    for _ in range(2):
        assert "loss is" in program.run(*EVAL, "eval.require={loss: 0.5}", code=9).stderr
        assert "loss is" in program.run("run", "pipe.yaml", code=9).stderr
        assert not (tmp_path / "case/pipe/export").exists()


def test_plain_sgd_trains(good, tmp_path, binary):
    shutil.copytree(good, tmp_path / "case")
    Prentice(binary, tmp_path / "case").run(*TRAIN, "optim.name=sgd", "optim.betas=[0, 0]")


def test_a_changed_template_is_another_run(good, tmp_path, binary):
    shutil.copytree(good, tmp_path / "case")
    program = Prentice(binary, tmp_path / "case")
    template = tmp_path / "case/chat.jinja"
    template.write_text((ROOT / "configs/chat/plain.jinja").read_text())
    for words in (EVAL, TRAIN):
        program.run(*words, "data.template=chat.jinja")
    run = json.loads((tmp_path / "case/run/run.json").read_text())
    assert "data.template" in [item["key"] for item in run["inputs"]]
    template.write_text(template.read_text() + " ")
    for words in (EVAL, TRAIN):
        assert "data.template" in program.run(*words, "data.template=chat.jinja", code=2).stderr


def test_choices_may_stand_in_a_json_list(good, tmp_path, binary):
    shutil.copytree(good, tmp_path / "case")
    labels = [json.loads(row)["messages"][-1]["content"] for row in (good / "rows.jsonl").read_text().splitlines()]
    (tmp_path / "case/choices.json").write_text(json.dumps(sorted(set(labels)), indent=1))
    Prentice(binary, tmp_path / "case").run(*EVAL, "eval.tasks=[choice]", "eval.choices=choices.json")
    result = json.loads((tmp_path / "case/score/eval.json").read_text())
    assert list(result["tasks"]["choice"]["examples"][0]["scores"]) == sorted(set(labels))


def test_a_run_repeats_to_the_byte_whatever_its_folder_is_called(good, tmp_path, binary):
    shutil.copytree(good, tmp_path / "case")
    program = Prentice(binary, tmp_path / "case")
    program.run(*TRAIN, "export.gguf=[F16]")
    for _ in range(2):
        result = program.run("repro", "run", "run", "--json")
        assert json.loads(result.stdout)["equal"]
    program.run(*TRAIN, "export.gguf=[F16]", "run.out=elsewhere", "run.log_every=1")
    assert program.run("repro", "diff", "run", "elsewhere").stdout.startswith("equal")
    program.run(*TRAIN, "export.gguf=[F16]", "run.out=third", "run.seed=18")
    program.run("repro", "diff", "run", "third", code=9)


def test_errors_are_machine_readable(good, tmp_path, binary):
    shutil.copytree(good, tmp_path / "case")
    result = Prentice(binary, tmp_path / "case").run(*TRAIN, "optim.lrr=1", "train.batch=0", "--json", code=2)
    report = json.loads(result.stdout)
    assert report["exit_code"] == 2
    assert {error["key"] for error in report["errors"]} == {"optim.lrr", "train.batch"}


def main():
    import tempfile
    from pathlib import Path

    from conftest import setting

    program = setting("PRENTICE_BINARY", ROOT / "build/prentice").resolve()
    said = {}
    with tempfile.TemporaryDirectory() as name:
        make_good(Path(name) / "good")
        for case, (_, _, code) in CASES.items():
            result, said[case] = say(case, Path(name) / "good", Path(name) / case, program)
            print(f"--- {case}: exit {result.returncode}{'' if result.returncode == code else f', WANTED {code}'}\n{said[case]}")
    MESSAGES.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
