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
