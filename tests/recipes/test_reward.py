"""`recipe: reward` as a user meets it: planned, audited, trained, exported and used to score pairs; and what cannot work."""

import json

import pytest
from conftest import read_metrics, write_rows
from test_preference import TICKETS, rows
from tiny_models import make_model, save_folder, start_adapter


@pytest.fixture
def folder(tmp_path):
    save_folder(make_model("llama"), tmp_path / "model")
    write_rows(tmp_path / "rows.jsonl", rows(48))
    (tmp_path / "reward.yaml").write_text(
        "recipe: reward\nmodel: {path: model}\ndata: {train: rows.jsonl, eval_split: 8}\n"
        "train: {batch: 8, epochs: 4}\noptim: {lr: 3e-3, warmup: 1}\nrun: {device: cpu, precision: f32, log_every: 1}\n")
    return tmp_path


def test_a_model_learns_to_score_and_a_pipeline_hands_it_on(prentice, folder):
    (folder / "export.yaml").write_text(
        "recipe: export\nmodel: {path: scorer}\nexport: {merged: f32}\nrun: {device: cpu, precision: f32}\n")
    (folder / "eval.yaml").write_text(
        "recipe: eval\nmodel: {path: given/merged}\ndata: {eval: rows.jsonl}\n"
        "eval: {tasks: [preference], limit: 20, require: {accuracy: 0.9, loss: 0.6, margin: 0.2}}\n"
        "run: {device: cpu, precision: f32}\n")
    (folder / "all.yaml").write_text(
        "recipe: pipeline\nrun: {out: whole}\npipeline:\n  steps:\n"
        "    - {recipe: reward.yaml, set: {run.out: scorer}}\n    - {recipe: export.yaml, set: {run.out: given}}\n"
        "    - {recipe: eval.yaml, set: {run.out: scored}}\n")
    prentice.run("validate", "all.yaml")  # before there is a model that scores
    prentice.run("plan", "all.yaml")
    said = prentice.run("run", "all.yaml")
    assert "acc " in said.stderr and "margin " in said.stderr
    losses = read_metrics(folder / "scorer")
    for name in ("rewards.chosen", "rewards.rejected", "margin", "accuracy"):
        assert set(read_metrics(folder / "scorer", name)) == set(losses), name
    report = json.loads((folder / "scored/eval.json").read_text())
    assert report["tasks"]["preference"]["count"] == 20 and all(gate["passed"] for gate in report["gates"])
    # What the end proposes works, also for the pipeline's own folder.
    proposed = said.stdout.split("  try     ")[1].splitlines()[0].split()
    assert proposed[1] == "eval" and "generate" not in said.stdout
    again = prentice.run(*(word.replace("PAIRS", "rows") for word in proposed[1:]), "run.device=cpu", "run.precision=f32", "--json")
    assert json.loads(again.stdout)["tasks"]["preference"]["accuracy"] > 0.9
    missed = prentice.run("eval", "model.path=scorer", "data.eval=rows.jsonl", "eval.tasks=[preference]", "run.out=missed",
                          "eval.require={margin: 50}", code=9)
    assert "margin is" in missed.stderr
    assert prentice.run("run", "reward.yaml", "run.out=scorer").stdout.startswith("already done")


def test_plan_counts_no_vocabulary_and_audit_shows_both_sides(prentice, folder):
    plan = json.loads(prentice.run("plan", "reward.yaml", "--json").stdout)
    # ORPO asks no reference, so what it takes longer is its vocabulary.
    (folder / "orpo.yaml").write_text((folder / "reward.yaml").read_text().replace("recipe: reward", "recipe: orpo"))
    words = json.loads(prentice.run("plan", "orpo.yaml", "--json").stdout)
    assert plan["steps"] == 20 and plan["fits"]
    assert plan["memory"]["backward"] < words["memory"]["backward"] and plan["seconds"] < words["seconds"]
    shown = prentice.run("audit", "--rows", "1", "reward.yaml")
    assert "rows.jsonl:1, chosen: " in shown.stdout and "rows.jsonl:1, rejected: " in shown.stdout
    assert "valid recipe of kind reward" in prentice.run("validate", "reward.yaml").stdout


def test_a_pipeline_knows_before_it_runs_what_will_have_no_words(prentice, folder):
    (folder / "dpo.yaml").write_text("recipe: dpo\nmodel: {path: model}\ndata: {train: rows.jsonl}\n")
    (folder / "distill.yaml").write_text("recipe: distill\nmodel: {path: model}\ndata: {train: tickets.jsonl}\n")
    (folder / "tickets.jsonl").write_text(TICKETS.read_text())
    for step, message in [
        ("dpo.yaml, set: {preference.reference: scorer", "preference.reference: an earlier step makes a reward model of it"),
        ("dpo.yaml, set: {preference.reference: model+scorer/adapter", "preference.reference: an earlier step makes a reward model of it"),
        ("distill.yaml, set: {distill.teacher: scorer/merged", "distill.teacher: an earlier step makes a reward model of it"),
        ("dpo.yaml, set: {model.path: scorer/merged", f"what an earlier step makes of {folder / 'model'}: a reward model"),
    ]:
        (folder / "all.yaml").write_text("recipe: pipeline\npipeline:\n  steps:\n"
                                         "    - {name: scorer, recipe: reward.yaml, set: {run.out: scorer}}\n"
                                         f"    - {{name: next, recipe: {step}, run.out: next}}}}\n")
        said = prentice.run("validate", "all.yaml", code=2).stderr
        assert message in said and said.count("error: ") == 1, said


@pytest.mark.parametrize("words, code, message", [
    (["data.train=same.jsonl"], 3, "same.jsonl:2: chosen and rejected are equal"),
    (["data.train=answers.jsonl"], 3, "answers.jsonl:1: these are rows of format completion"),
    (["data.train=labels.jsonl"], 3, "these are rows with a label true or false, and this recipe compares two answers"),
    (["data.overlong=truncate"], 2, "truncate would compare answers that are not whole"),
    (["export.gguf=[F16]"], 2, "export.gguf: a recipe of kind reward does not use this key"),
    (["preference.beta=1"], 2, "preference: a recipe of kind reward has no such section"),
    (["adapter.init=start"], 2, "this adapter is a language model's and has no score head"),
    (["model.path=three"], 2, "its head gives 3 labels, which no kind of this version works with"),
    (["adapter.modules_to_save=[lm_head]"], 2, "'lm_head' names no module of this model"),
], ids=["equal", "no_pairs", "labels", "truncate", "gguf", "section", "language_adapter", "three_labels", "no_vocabulary_head"])
def test_what_cannot_work_says_so_once(words, code, message, prentice, folder):
    pairs = rows(2)
    pairs[1]["rejected"] = pairs[1]["chosen"]
    write_rows(folder / "same.jsonl", pairs)
    write_rows(folder / "answers.jsonl", [{"prompt": "q", "completion": "a"}])
    write_rows(folder / "labels.jsonl", [{"prompt": "q", "completion": "a", "label": True}])
    start_adapter(make_model("llama"), folder / "start")
    save_folder(make_model("llama"), folder / "three")
    config = json.loads((folder / "three/config.json").read_text())
    labels = {str(i): f"LABEL_{i}" for i in range(3)}
    (folder / "three/config.json").write_text(json.dumps(config | {"architectures": ["LlamaForSequenceClassification"],
                                                                    "id2label": labels}))
    said = prentice.run("run", "reward.yaml", *words, "run.out=run", code=code)
    assert said.stderr.count(message) == 1, said.stderr
    assert not (folder / "run/checkpoints").exists()


@pytest.mark.parametrize("words", [["run", "dpo.yaml", "model.path=scorer"], ["run", "dpo.yaml", "preference.reference=scorer"],
                                   ["run", "distill.yaml", "distill.teacher=scorer"]], ids=["model", "reference", "teacher"])
def test_a_reward_model_in_a_wrong_place_is_a_mistake_of_the_recipe(words, prentice, folder):
    (folder / "dpo.yaml").write_text("recipe: dpo\nmodel: {path: model}\ndata: {train: rows.jsonl}\n")
    (folder / "distill.yaml").write_text("recipe: distill\nmodel: {path: model}\ndata: {train: tickets.jsonl}\n")
    (folder / "tickets.jsonl").write_text(TICKETS.read_text())
    save_folder(make_model("llama"), folder / "scorer")
    config = json.loads((folder / "scorer/config.json").read_text())
    (folder / "scorer/config.json").write_text(json.dumps(config | {"architectures": ["LlamaForSequenceClassification"],
                                                                     "id2label": {"0": "LABEL_0"}}))
    said = prentice.run(*words, "run.out=run", code=2).stderr
    key = words[-1].split("=")[0]
    assert f"command line: {key}: " in said and "a reward model" in said and "hint: " in said, said
    assert not (folder / "run").exists()


def test_a_starter_is_ready(prentice, folder):
    told = prentice.run("init", "reward", "mine.yaml", "data.train=rows.jsonl", "model.path=model").stdout
    assert "not ready" not in told and "fields: prompt, chosen, rejected" in told
    prentice.run("validate", "mine.yaml")
    assert "Bradley-Terry" in prentice.run("explain", "reward").stdout
    assert "reward" in json.loads(prentice.run("explain", "--json-schema").stdout)["properties"]["recipe"]["enum"]
    assert "not ready" in prentice.run("init", "reward", "other.yaml", f"data.train={TICKETS}", "model.path=model").stdout
