"""`prentice init` on data as it is found: what it calls ready, validate and audit take; what it cannot know stays open."""

import json

import pytest
from conftest import ROOT, write_rows
from tiny_models import make_model, save_folder

SMALL = 600_000  # bytes: real files below this are tried, the others by hand


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_folder(make_model("llama"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))
    return folder


def tried(prentice, model, file, name):
    told = json.loads(prentice.run("init", "sft", f"{name}.yaml", f"data.train={file}", f"model.path={model}", "--json").stdout)
    recipe = prentice.folder / f"{name}.yaml"
    refused = prentice.run("audit", recipe, code=None)
    prentice.run("validate", recipe)
    return told, refused


def data_files(folder):
    found = [path for path in sorted(folder.rglob("*")) if path.suffix in (".json", ".jsonl", ".csv", ".txt") and path.is_file()]
    return [path for path in found if path.stat().st_size < SMALL and "tokenizer" not in str(path)]


def test_what_init_calls_ready_is_taken_by_audit(prentice, model, shared_data):
    """Files that are refused as a whole (arrays of strings, bytes that are not UTF-8) have no recipe at all."""
    ready, open_ones, none = [], [], []
    for number, file in enumerate(data_files(shared_data / "datasets") + data_files(ROOT / "data")):
        started = prentice.run("init", "sft", "probe.yaml", f"data.train={file}", code=None)
        (prentice.folder / "probe.yaml").unlink(missing_ok=True)
        if started.returncode:
            assert started.returncode == 3
            none.append(file.name)
            continue
        told, refused = tried(prentice, model, file, f"r{number}")
        assert (refused.returncode == 0) == (told["open"] == []), (file, told["open"], refused.stderr)
        (open_ones if told["open"] else ready).append(file.name)
    assert "advising-schema.csv" in none and "categories.json" in none and "seed_tasks.jsonl" in open_ones
    assert len(ready) > 15, (ready, open_ones, none)


def test_what_the_rows_are_built_of_is_listed_where_it_is_not_clear(prentice, model, shared_data):
    told, refused = tried(prentice, model, shared_data / "datasets/text2sql/advising.json", "sql")
    assert '  # prompt: "{{ ... }}"  # of query-split; lists and objects: sentences, sql, variables' in told["text"]
    assert "data.fields" not in told["text"] and refused.returncode == 3


def test_a_real_mistake_in_the_rows_is_told_with_its_place(prentice, model):
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": " "}]
    write_rows(prentice.folder / "rows.jsonl", rows)
    told, refused = tried(prentice, model, "rows.jsonl", "r")
    assert len(told["open"]) == 1 and "rows.jsonl:2: the completion is only white space" in told["open"][0]
    assert refused.returncode == 3


def test_a_starter_that_teaches_is_tried_on_its_rows_and_one_that_distils_asks_for_a_teacher(prentice, model):
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": " "}]
    write_rows(prentice.folder / "blank.jsonl", rows)
    assert "blank.jsonl:2" in prentice.run("init", "teach", "teach.yaml", "data.train=blank.jsonl", f"model.path={model}").stdout
    (prentice.folder / "good.jsonl").write_text(json.dumps(rows[0]) + "\n")
    told = prentice.run("init", "distill", "distill.yaml", "data.train=good.jsonl", f"model.path={model}").stdout
    assert "next: set distill.teacher in it, then" in told and "not ready" not in told


def test_lists_and_maps_on_the_command_line_are_lists_and_maps_of_the_recipe(prentice, model):
    rows = [{"question": f"q {i}?", "good": " yes", "bad": " no"} for i in range(8)]
    write_rows(prentice.folder / "rows.jsonl", rows)
    for kind, words, wanted in [
        ("dpo", ["data.fields={prompt: question, chosen: good, rejected: bad}", "adapter.targets=[q_proj, v_proj]"],
         ["  fields: {prompt: question, chosen: good, rejected: bad}", "  targets: [q_proj, v_proj]"]),
        ("sft", ["data.prompt={{ question }}", "data.completion=[{{ good }}]", "optim.betas=[0.9, 0.95]"],
         ['  prompt: "{{ question }}"', '  completion: "[{{ good }}]"', "  betas: [0.9, 0.95]"]),
    ]:
        told = json.loads(prentice.run("init", kind, f"{kind}.yaml", "data.train=rows.jsonl", f"model.path={model}", *words, "--json").stdout)
        assert told["open"] == [] and all(line in told["text"] for line in wanted), told
        prentice.run("validate", f"{kind}.yaml")
        prentice.run("audit", f"{kind}.yaml")
    assert "never closed" in prentice.run("init", "dpo", "no.yaml", "data.fields={prompt: question", code=2).stderr
