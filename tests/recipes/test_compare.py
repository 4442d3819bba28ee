"""`recipe: compare` as CI meets it: the decision is the exit code, and a repetition does not change it."""

import json

import pytest
from conftest import write_rows
from tiny_models import make_model, save_folder

ROWS = [f"Box {number} stands in the {place} and holds {thing}." for number in range(6)
        for place in ("hall", "yard") for thing in ("nails", "paper")]


@pytest.fixture
def folder(tmp_path):
    save_folder(make_model("llama"), tmp_path / "model")
    write_rows(tmp_path / "rows.jsonl", [{"text": row} for row in ROWS])
    (tmp_path / "compare.yaml").write_text(
        "recipe: compare\ncompare: {a: model, b: tuned}\ndata: {eval: rows.jsonl}\nrun: {device: cpu, precision: f32}\n")
    return tmp_path


def mean_loss(prentice, folder, model):
    prentice.run("eval", f"model.path={model}", "data.eval=rows.jsonl", f"run.out=eval-{model}", "run.device=cpu",
                 "run.precision=f32")
    return json.loads((folder / f"eval-{model}/eval.json").read_text())["tasks"]["loss"]


def test_the_decision_follows_the_models_and_is_the_exit_code(prentice, folder):
    prentice.run("pretrain", "model.path=model", "model.init=weights", "data.train=rows.jsonl", "train.steps=8", "train.batch=8",
                 "train.batch_tokens=0", "optim.lr=3e-3", "run.out=tuned", "run.device=cpu", "run.precision=f32")
    assert json.loads(prentice.run("plan", "compare.yaml", "--json").stdout)["memory"]["peak"] > 0
    found = json.loads(prentice.run("run", "compare.yaml", "run.out=forth", "--json").stdout)
    assert found == json.loads((folder / "forth/compare.json").read_text())
    assert found["decision"] == "better" and found["passed"] and found["rows_needed"] is None
    loss = found["metrics"]["loss"]
    for side, model in (("a", "model"), ("b", "tuned")):
        assert loss[side] == pytest.approx(mean_loss(prentice, folder, model)["mean"], rel=1e-9)
    assert loss["interval"][0] < loss["difference"] < loss["interval"][1] < 0
    said = prentice.run("run", "compare.yaml", "compare.a=tuned", "compare.b=model", "run.out=back", code=9)
    assert "b is worse: loss +" in said.stdout and "error: compare: not passed: b is worse" in said.stderr
    again = prentice.run("run", "compare.yaml", "compare.a=tuned", "compare.b=model", "run.out=back", code=9)
    assert again.stdout.startswith("already done") and "b is worse" in again.stderr
    back = json.loads((folder / "back/compare.json").read_text())["metrics"]["loss"]
    assert back["difference"] == pytest.approx(-loss["difference"], rel=1e-9)
    assert "| loss |" in (folder / "back/compare.md").read_text()


def test_too_few_rows_are_undecided_and_say_how_many_would_tell(prentice, folder):
    prentice.run("run", "compare.yaml", "compare.b=model", "run.out=same")
    said = prentice.run("run", "compare.yaml", "compare.b=model", "run.out=few", "eval.tasks=[choice]", "eval.choices=[in, out]",
                        "data.prompt={{ text }}", "data.completion= in", code=9)
    found = json.loads((folder / "few/compare.json").read_text())
    assert found["decision"] == "undecided" and found["metrics"]["choice.accuracy"]["p_value"] == 1
    # Two cells of half a row each among n + 2, and 0.01 to stay above: 1.96^2 / (n + 2)^2 * n / 0.01^2 rows.
    rows = len(ROWS)
    expected = rows * (1.959964 / (rows + 2) / 0.01) ** 2
    assert found["rows_needed"] == pytest.approx(expected, rel=0.01)
    assert f"about {found['rows_needed']} rows would tell" in said.stdout


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_loss_on_a_few_rows_is_undecided_and_says_how_many_are_needed(prentice, folder, count):
    """A file of blocks that happens to be better on a row: no spread of so few rows says anything about others."""
    prentice.run("export", "model.path=model", "export.gguf=[Q8_0]", "run.out=made", "run.device=cpu")
    words = ["run", "compare.yaml", "compare.b=made/gguf/made-Q8_0.gguf", f"eval.limit={count}", f"run.out=few-{count}"]
    for margin in ("0.01", "99"):
        said = prentice.run(*words, f"compare.margin={margin}", "--fresh", code=9)
        found = json.loads((folder / f"few-{count}/compare.json").read_text())
        loss = found["metrics"]["loss"]
        assert found["decision"] == "undecided" and loss["rows"] == count and found["rows_needed"] >= 8
        assert "rows are needed" in said.stdout or "rows would tell" in said.stdout
    assert "at least 8 rows are needed" in said.stdout and found["rows_needed"] == 8  # any width is within 99
    if count == 1:
        assert loss["interval"] is None and loss["p_value"] == 1 and "(95 % interval none, " in said.stdout
    else:
        assert loss["interval"][0] < loss["difference"] < loss["interval"][1]
    prentice.run(*words, "eval.limit=8", "compare.margin=99", "--fresh", code=0)


def test_a_model_against_itself_passes_on_one_row(prentice, folder):
    prentice.run("run", "compare.yaml", "compare.b=model", "eval.limit=1", "run.out=one")
    found = json.loads((folder / "one/compare.json").read_text())
    assert found["decision"] == "equal" and found["metrics"]["loss"]["interval"] == [0, 0] and found["kld"]["mean"] == 0


@pytest.mark.parametrize("words, code, message", [
    (["compare.b=nowhere"], 2, "compare.b: no such model"),
    (["compare.a=models/llama-3.1-8b.json"], 2, "compare.a"),
    (["compare.metric=accuracy"], 2, "compare.metric: accuracy needs a task that is not run"),
    (["eval.tasks=[choice, exact]"], 2, "compare.metric: several tasks give an accuracy"),
    (["eval.require={loss: 1}"], 2, "eval.require"),
    (["eval.tasks=[preference]"], 2, "is a language model, which scores no pairs"),
    (["data.max_length=100000"], 2, "data.max_length: 100000 is above the shorter trained context"),
])
def test_what_cannot_be_compared_is_refused_by_name(prentice, folder, words, code, message):
    said = prentice.run("run", "compare.yaml", "compare.b=model", "run.out=bad", *words, code=code)
    assert message in said.stderr
    assert not (folder / "bad").exists()


def test_rows_that_only_one_of_two_tokenizers_reads_are_no_pairs(prentice, folder, shared_data):
    """Each leaves one row out, and not the same: as many are left, and no score of a belongs to one of b."""
    models = [f"compare.{side}={shared_data / 'models' / name}" for side, name in (("a", "stories260K-hf"), ("b", "babyllama105-hf"))]
    rows = [("A cat sat", " in"), (" the the the the the the", " on"), ("\u65e5\u672c" * 4, " in"), ("The dog ran", " on")]
    write_rows(folder / "rows.jsonl", [{"prompt": p, "completion": c} for p, c in rows])
    said = prentice.run("run", "compare.yaml", *models, "data.max_length=22", "data.overlong=drop", "eval.tasks=[choice]",
                        "eval.choices=[' in', ' on']", "run.out=bad", code=3)
    assert "compare.a reads" in said.stderr and "rows.jsonl:2, which compare.b leaves out" in said.stderr
    said = prentice.run("run", "compare.yaml", *models, "run.out=bad", code=3)  # nothing but a loss, of other tokens
    assert "loss cannot be compared" in said.stderr and " loss 1/" not in said.stderr
    assert not (folder / "bad").exists()


def test_what_an_evaluation_warns_of_is_told_of_each_side(prentice, folder):
    said = prentice.run("run", "compare.yaml", "compare.b=model", "eval.tasks=[choice]", "eval.choices=[in, out]",
                        "data.prompt={{ text }}", "data.completion= at", "run.out=warned", "--json", code=9)
    warning = f"choice: the expected answer of {len(ROWS)} of {len(ROWS)} examples is not among the choices"
    assert json.loads(said.stdout)["warnings"] == [f"a: {warning}", f"b: {warning}"]
    assert f"warning: b: {warning}" in said.stderr


def test_a_pipeline_compares_what_its_own_step_trains(prentice, folder):
    (folder / "sft.yaml").write_text(
        "recipe: sft\nmodel: {path: model}\ndata: {train: rows.jsonl}\ntrain: {steps: 2, batch: 2}\n"
        "run: {device: cpu, precision: f32, out: tuned}\n")
    (folder / "pipe.yaml").write_text(
        "recipe: pipeline\npipeline:\n  steps:\n    - {name: tune, recipe: sft.yaml}\n"
        "    - {name: compare, recipe: compare.yaml, set: {compare.metric: loss, compare.margin: 9, run.out: compared}}\n"
        "run: {out: pipe}\n")
    planned = json.loads(prentice.run("plan", "pipe.yaml", "--json").stdout)
    assert planned["fits"] and not (folder / "tuned").exists()
    alone = json.loads(prentice.run("plan", "compare.yaml", "compare.b=model", "--json").stdout)
    assert planned["steps"][1]["plan"]["memory"] == alone["memory"]
    said = prentice.run("run", "pipe.yaml").stdout
    done = json.loads((folder / "compared/compare.json").read_text())
    assert done["passed"] and done["summary"] in said
    # Of a checkpoint the weights count, not the optimizer's moments beside them.
    adapter = (folder / "tuned/adapter/adapter_model.safetensors").stat().st_size
    assert done["weight_bytes"] == {"a": (size := (folder / "model/model.safetensors").stat().st_size), "b": size + adapter}
    prentice.run("run", "compare.yaml", "compare.b=tuned@2", "compare.margin=9", "run.out=step")
    step = next((folder / "tuned/checkpoints/step-00000002").rglob("adapter_model.safetensors")).stat().st_size
    assert json.loads((folder / "step/compare.json").read_text())["weight_bytes"]["b"] == size + step
    # A comparison that was tampered with is made again, and one that is gone is not called done.
    sums = (folder / "compared/SHA256SUMS").read_text()
    assert "compare.json" in sums and "compare.md" in sums
    page = (folder / "compared/compare.json").read_bytes()
    (folder / "compared/compare.json").write_bytes(page.replace(b"true", b"null"))
    prentice.run("run", "pipe.yaml")
    again = json.loads((folder / "compared/compare.json").read_text())
    assert again.pop("speed") and done.pop("speed") and again == done
    (folder / "step/compare.json").unlink()
    again = prentice.run("run", "compare.yaml", "compare.b=tuned@2", "compare.margin=9", "run.out=step", code=2)
    assert "compare.json: not as the finished run left it" in again.stderr
