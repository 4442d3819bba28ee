"""`recipe: dpo` as a user meets it: every loss trains, both sides are shown, and what cannot work says so."""

import json

import pytest
from conftest import ROOT, read_metrics, write_rows
from safetensors import safe_open
from tiny_models import make_model, save_folder

COMMON = ["data.train=rows.jsonl", "data.eval_split=8", "train.batch=8", "train.epochs=4", "optim.lr=3e-3", "optim.warmup=1",
          "run.precision=f32", "run.device=cpu", "run.log_every=1", "export.verify=false"]
TICKETS = ROOT / "data/tickets/train.jsonl"


def rows(count):
    """Tickets with their own answer, against one that is always the same."""
    tickets = [json.loads(line)["messages"] for line in TICKETS.read_text().splitlines()[:count]]
    return [{"prompt": [question], "chosen": [answer], "rejected": [{"role": "assistant", "content": "no idea"}]}
            for question, answer in tickets]


@pytest.fixture
def folder(tmp_path):
    save_folder(make_model("llama"), tmp_path / "model")
    write_rows(tmp_path / "rows.jsonl", rows(32))
    return tmp_path


@pytest.mark.parametrize("kind, settings", [
    ("dpo", []), ("dpo", ["preference.loss=ipo", "preference.beta=1"]), ("dpo", ["preference.loss=hinge"]),
    ("dpo", ["preference.loss=cdpo"]), ("dpo", ["preference.loss=robust", "preference.sft_weight=0.1"]),
    ("dpo", ["preference.loss=cpo"]), ("orpo", []), ("simpo", []), ("kto", []),
], ids=["sigmoid", "ipo", "hinge", "cdpo", "robust", "cpo", "orpo", "simpo", "kto"])
def test_every_loss_falls_and_prefers_the_chosen_answers(kind, settings, prentice, folder):
    said = prentice.run(kind, "model.path=model", *COMMON, *settings, "eval.require={accuracy: 0.6}", "run.out=run")
    losses, accuracies = read_metrics(folder / "run"), read_metrics(folder / "run", "eval.accuracy")
    assert losses[max(losses)] < losses[1]
    assert accuracies[max(accuracies)] > 0.6
    for name in ("rewards.chosen", "rewards.rejected", "margin", "accuracy", "logp.chosen", "logp.rejected"):
        assert set(read_metrics(folder / "run", name)) == set(losses), name
    assert set(read_metrics(folder / "run", "kl")) == (set() if kind in ("orpo", "simpo") or "preference.loss=cpo" in settings
                                                       else set(losses))
    assert "acc " in said.stderr and "margin " in said.stderr
    report = json.loads((folder / "run/eval.json").read_text())
    assert report["tasks"]["preference"]["count"] == (16 if kind == "kto" else 8) and report["gates"][0]["passed"]
    assert (folder / "run/adapter/adapter_model.safetensors").is_file()
    assert "rewards.chosen" in (folder / "run/report.html").read_text()
    resolved = (folder / "run/recipe.yaml").read_text()
    assert resolved.startswith("recipe: dpo") and (kind == "dpo" or f"loss: {kind}" in resolved)
    assert prentice.run(kind, "model.path=model", *COMMON, *settings, "eval.require={accuracy: 0.6}",
                        "run.out=run").stdout.startswith("already done")


def test_audit_shows_both_sides_and_plan_counts_the_reference(prentice, folder):
    shown = prentice.run("audit", "--rows", "1", write_recipe(folder, ""))
    assert "rows.jsonl:1, chosen: " in shown.stdout and "rows.jsonl:1, rejected: " in shown.stdout
    assert "tokens a rejected answer with its prompt: p50" in shown.stdout
    off = plan(prentice, write_recipe(folder, ""))
    second = plan(prentice, write_recipe(folder, "preference: {reference: model}\n"))
    none = plan(prentice, write_recipe(folder, "preference: {loss: orpo}\n"))
    weights = sum(parameter.numel() for parameter in make_model("llama").parameters()) * 4
    assert weights <= second["memory"]["load"] - off["memory"]["load"] < weights + 50_000  # whole grains of 512 bytes
    assert off["memory"]["load"] == none["memory"]["load"]  # no second copy of the base
    assert off["memory"]["peak"] == pytest.approx(none["memory"]["peak"], rel=0.01)
    assert off["seconds"] > none["seconds"]
    assert off["reference"] == "the model itself with its adapter off" and none["reference"].startswith("none")
    assert second["reference"].startswith("another model: ") and off["pairs"]["chosen"]["max"] > off["pairs"]["chosen"]["p50"] > 0
    text = prentice.run("plan", write_recipe(folder, "preference: {reference: precomputed}\n")).stdout
    assert "reference   precomputed" in text and "answers     tokens with the prompt: chosen p50" in text


def write_recipe(folder, more):
    path = folder / "recipe.yaml"
    path.write_text("recipe: dpo\nmodel: {path: model}\ndata: {train: rows.jsonl, eval_split: 8}\n"
                    f"run: {{device: cpu, precision: f32}}\n{more}")
    return path


def plan(prentice, recipe):
    return json.loads(prentice.run("plan", recipe, "--json").stdout)


def test_precomputed_log_probabilities_are_kept_and_bound(prentice, folder):
    words = ["dpo", "model.path=model", *COMMON, "preference.reference=precomputed", "run.out=run"]
    prentice.run(*words)
    kept = folder / "run/reference.safetensors"
    with safe_open(kept, "pt") as file:
        assert file.get_tensor("log_probabilities").shape == (64,)
        assert len(file.metadata()["binding"]) == 64
    same = prentice.run("dpo", "model.path=model", *COMMON, "run.out=other")
    assert same.returncode == 0
    assert read_metrics(folder / "run") == pytest.approx(read_metrics(folder / "other"), rel=1e-6)
    # A run that was stopped does not go on with another run's numbers.
    changed = rows(32)
    changed[3]["chosen"][0]["content"] += "!"
    write_rows(folder / "rows.jsonl", changed)
    prentice.run(*words[:-1], "run.out=third")
    own = (folder / "third/reference.safetensors").read_bytes()
    described = json.loads((folder / "third/run.json").read_text())
    of_others, flipped = "these log-probabilities are of another model, data", "not the ones that were written"
    for numbers, message in ((kept.read_bytes(), of_others), (own[:-3] + bytes([own[-3] ^ 1]) + own[-2:], flipped), (own, "")):
        (folder / "third/run.json").write_text(json.dumps({**described, "status": "running"}))
        (folder / "third/reference.safetensors").write_bytes(numbers)
        said = prentice.run("resume", "third", code=4 if message else 0)
        assert ("third/reference.safetensors: " in said.stderr) == bool(message) and message in said.stderr


@pytest.mark.parametrize("words, code, message", [
    (["adapter.kind=full"], 2, "adapter.kind: full moves every weight"),
    (["preference.gamma=0.5"], 2, "preference.gamma: has no effect with preference.loss: sigmoid"),
    (["preference.reference=nowhere"], 2, "preference.reference: no such model"),
    (["data.overlong=truncate"], 2, "truncate would compare answers that are not whole"),
    (["data.train=same.jsonl"], 3, "same.jsonl:2: chosen and rejected are equal"),
    (["data.train=answers.jsonl"], 3, "answers.jsonl:1: these are rows of format completion"),
    (["preference.reference=other"], 4, "has another vocabulary"),
], ids=["full", "gamma", "nowhere", "truncate", "equal", "no_pairs", "vocabulary"])
def test_what_cannot_work_says_so(words, code, message, prentice, folder):
    pairs = rows(2)
    pairs[1]["rejected"] = pairs[1]["chosen"]
    write_rows(folder / "same.jsonl", pairs)
    write_rows(folder / "answers.jsonl", [{"prompt": "q", "completion": "a"}])
    if "other" in words[0]:
        save_folder(make_model("llama"), folder / "other")
        text = (folder / "other/tokenizer.json").read_text()
        tokenizer = json.loads(text)
        vocabulary = tokenizer["model"]["vocab"]
        first, second = (word for word, index in sorted(vocabulary.items(), key=lambda item: item[1])[-2:])
        vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
        (folder / "other/tokenizer.json").write_text(json.dumps(tokenizer))
    said = prentice.run("dpo", "model.path=model", "data.train=rows.jsonl", "run.precision=f32", "run.device=cpu", "run.out=run",
                        *words, code=code)
    assert message in said.stderr, said.stderr


def test_other_kinds_and_words_lead_here(prentice, folder):
    said = prentice.run("sft", "model.path=model", "data.train=rows.jsonl", "run.out=run", code=3)
    assert "`recipe: dpo` and `recipe: reward` learn from them" in said.stderr
    assert "preference.loss: simpo" in prentice.run("--help").stdout
    assert "preference:" in prentice.run("explain", "orpo").stdout
    prentice.run("init", "simpo", "data.train=rows.jsonl", "model.path=model")
    starter = (folder / "simpo.yaml").read_text()
    assert "recipe: simpo" in starter and "loss: simpo" in starter and "beta: 2" in starter and "explain simpo" in starter
    prentice.run("validate", "simpo.yaml")
    for words in (["init", "cpo"], ["cpo"], ["run", "cpo.yaml"]):
        (folder / "cpo.yaml").write_text("recipe: cpo\n")
        said = prentice.run(*words, code=2).stderr
        assert "is no" in said and "dpo preference.loss=cpo" in said, said


def test_members_of_other_names_are_told_by_the_keys_of_the_kind(prentice, folder):
    (folder / "pref.csv").write_text("question,good,bad\na,b,c\nd,e,f\n")
    for kind, members in (("dpo", "prompt: question, chosen: good, rejected: bad"), ("reward", "prompt: question, chosen: good"),
                          ("kto", "prompt: question, completion: good, label: bad")):
        said = prentice.run(kind, "model.path=model", "data.train=pref.csv", "run.device=cpu", "run.out=run", code=3).stderr
        assert f"data.fields='{{{members}" in said and "data.prompt" not in said, said
    write_rows(folder / "labels.jsonl", [{"prompt": "a", "completion": " b", "label": True},
                                    {"prompt": "a", "completion": " c", "label": "yes"}])
    said = prentice.run("kto", "model.path=model", "data.train=labels.jsonl", "run.device=cpu", "run.out=run", code=3).stderr
    assert 'labels.jsonl:2: "label": expected true or false, got "yes"' in said and "format completion" not in said
    write_rows(folder / "labels.jsonl", [{"prompt": "a", "completion": " b", "label": "yes"}])
    said = prentice.run("kto", "model.path=model", "data.train=labels.jsonl", "run.device=cpu", "run.out=run", code=3).stderr
    assert 'labels.jsonl:1: "label": expected true or false, got "yes"' in said and "format completion" not in said
    schema = json.loads(prentice.run("explain", "--json-schema").stdout)
    assert {"dpo", "kto", "orpo", "simpo"} <= set(schema["properties"]["recipe"]["enum"])


def test_labels_of_one_kind_are_told(prentice, folder):
    write_rows(folder / "labels.jsonl", [{"prompt": f"Room {i}", "completion": " is green.", "label": True} for i in range(4)])
    words = ["kto", "model.path=model", "data.train=labels.jsonl", "data.chat=off", "data.eval_split=0", "train.steps=1", "run.device=cpu",
             "export.verify=false"]
    assert "warning: all 4 answers are labelled true" in prentice.run(*words, "train.batch=2", "run.out=good").stderr
    write_rows(folder / "labels.jsonl", [{"prompt": f"Room {i}", "completion": " is green.", "label": i % 2 == 0} for i in range(4)])
    assert "labelled" not in prentice.run(*words, "train.batch=2", "run.out=both").stderr
