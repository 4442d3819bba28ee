"""The recipes that ship for models and tasks: each passes `validate` as it stands, given its model; the data of the tasks
is what its script makes, is right, and is split cleanly."""

import csv
import json
import shutil
import re
import sqlite3
import subprocess
import sys

import numpy
import pytest
import yaml
from conftest import ROOT, Prentice, read_rows
from safetensors.numpy import save_file
from tiny_models import make_model, save_folder

sys.path.insert(0, str(ROOT / "scripts"))
import make_task_data as made  # noqa: E402

MODEL_RECIPES = sorted(ROOT.glob("recipes/models/*/*.yaml"))
TASK_RECIPES = sorted(ROOT.glob("recipes/tasks/*.yaml"))
TEACHER_SHAPES = {ROOT / f"recipes/models/{student}/distill_lora.yaml": teacher for student, teacher in (
    ("llama-3.2-1b", "llama-3.1-8b"), ("qwen2.5-3b", "qwen2.5-14b"), ("phi-4-mini", "phi-4"))}
SHAPES = {path.stem for path in ROOT.glob("configs/models/*.json")}
TOKENIZER = ROOT / "data/quickstart/tokenizer"


def relative(path):
    return path.relative_to(ROOT).as_posix()


def shape_of(path):
    """Under configs/models; the name of a model's folder may say its size, too."""
    name = path.parent.name
    return name if name in SHAPES else name.rsplit("-", 1)[0]


def put_into_cache(cache, repository, config):
    """A model as the Hugging Face cache keeps it, without weights; the quickstart's tokenizer stands for its own."""
    model = cache / "hub" / ("models--" + repository.replace("/", "--"))
    shutil.copytree(TOKENIZER, model / "snapshots/revision")
    for name, text in (("refs/main", "revision"), ("snapshots/revision/config.json", config)):
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text(text)


@pytest.mark.parametrize("path", MODEL_RECIPES + TASK_RECIPES, ids=relative)
def test_a_shipped_recipe_is_valid(path, prentice, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    recipe = yaml.safe_load(path.read_text())
    if recipe["recipe"] == "verify":  # of a run of the user's
        model = save_folder(make_model("llama"), tmp_path / "model")
        prentice.run("export", f"model.path={model}", "export.gguf=[Q8_0]", "export.name=model", "run.out=out")
        words = [f"verify.model={model}", f"verify.artifact={tmp_path / 'out/gguf/model-Q8_0.gguf'}"]
        prentice.run("validate", path, *words)
        assert json.loads(prentice.run("verify", path, *words, "run.out=run", "run.device=cpu", "--json").stdout)["passed"]
        return
    is_export = recipe["recipe"] == "export"  # of a run of the user's
    name = "user/model" if is_export else recipe["model"]["path"]
    shape = shape_of(path) if path in MODEL_RECIPES else "qwen2.5-7b"
    put_into_cache(tmp_path / "cache", name, (ROOT / f"configs/models/{shape}.json").read_text())
    if path in TEACHER_SHAPES:
        put_into_cache(tmp_path / "cache", recipe["distill"]["teacher"],
                       (ROOT / f"configs/models/{TEACHER_SHAPES[path]}.json").read_text())
    words = [f"model.path={name}"] if is_export else []
    if name.endswith(".gguf"):  # a file of the user's
        model = save_folder(make_model("llama"), tmp_path / "model")
        prentice.run("export", f"model.path={model}", "export.gguf=[Q8_0]", "export.name=model", "run.out=out")
        words = [f"model.path={tmp_path / 'out/gguf/model-Q8_0.gguf'}"]
    if "distill" in recipe and path in TASK_RECIPES:
        words.append("distill.teacher=quickstart-1m")  # a run of the user's
    prentice.run("validate", path, *words)


def hardware_of(path):
    return yaml.safe_load(path.read_text())["plan"]["hardware"]


def next_smaller(card):
    """Of those with less memory, one with the most; none for the smallest."""
    memory = {file.stem: yaml.safe_load(file.read_text())["memory_gib"] for file in ROOT.glob("configs/hardware/*.yaml")}
    return max((name for name in memory if memory[name] < memory[card]), key=memory.get, default=None)


@pytest.mark.parametrize("path", MODEL_RECIPES, ids=relative)
def test_a_models_recipe_fits_the_card_that_it_names_and_no_smaller_one(path, prentice, tmp_path):
    """What only the shape tells, too: adapters attach, and the exports can be written."""
    card = hardware_of(path)
    words = [f"model.path={shape_of(path)}", "model.init=random", f"model.tokenizer={TOKENIZER}"]
    if path.name == "export.yaml":
        model = tmp_path / "model"
        shutil.copytree(TOKENIZER, model)
        shutil.copy(ROOT / f"configs/models/{shape_of(path)}.json", model / "config.json")
        save_file({"of.no.use": numpy.zeros(1, numpy.float32)}, model / "model.safetensors")  # the user's run has its own
        words = [f"model.path={model}"]
    if path in TEACHER_SHAPES:
        words.append(f"distill.teacher={TEACHER_SHAPES[path]}")
    planned = json.loads(prentice.run("plan", path, *words, "--json").stdout)
    assert planned["fits"]
    assert planned["device"]["name"] == yaml.safe_load((ROOT / f"configs/hardware/{card}.yaml").read_text())["name"]
    if smaller := next_smaller(card):
        prentice.run("plan", path, *words, f"plan.hardware={smaller}", code=7)


def test_the_card_that_a_recipe_names_keeps_nobody_from_running_it_elsewhere(prentice, tmp_path):
    prentice.run("run", ROOT / "recipes/models/llama-3.2-3b/sft_lora.yaml", "model.path=quickstart-1m", "model.init=random",
                 f"model.tokenizer={TOKENIZER}", "run.device=cpu", "run.out=run", "data.limit=40", "train.steps=1", "export.merged=none",
                 "export.gguf=[]")
    assert (tmp_path / "run/adapter/adapter_model.safetensors").exists()


@pytest.mark.parametrize("path", [path for path in MODEL_RECIPES if path.name == "sft_qlora.yaml"], ids=relative)
def test_a_base_in_four_bits_fits_a_card_of_16_gb(path, prentice):
    words = [path, f"model.path={shape_of(path)}", "model.init=random", f"model.tokenizer={TOKENIZER}", "--json"]
    planned = json.loads(prentice.run("plan", *words, "plan.hardware=rtx4080-16gb").stdout)
    assert planned["fits"]
    names = {"llama-3.1-8b": "Llama 3.1 8B", "qwen2.5-7b": "Qwen2.5 7B", "phi-4": "Phi-4 14B", "gemma-2-9b": "Gemma 2 9B",
             "mistral-7b-v0.3": "Mistral 7B"}
    told = re.search(", ".join(names.values()) + r" take ([\d., \n]+) GB by `plan`", (ROOT / "recipes/README.md").read_text())[1]
    figures = dict(zip(names, re.split(r",\s+", told)))
    assert figures[shape_of(path)] == f"{planned['memory']['peak'] / 1e9:.1f}"
    whole = json.loads(prentice.run("plan", *words, "model.quantize=none", "plan.hardware=h200-141gb").stdout)
    assert planned["memory"]["load"] < 0.5 * whole["memory"]["load"]


def test_the_models_that_many_start_with_have_a_recipe_in_four_bits():
    assert {shape_of(path) for path in MODEL_RECIPES if path.name == "sft_qlora.yaml"} == {
        "llama-3.1-8b", "qwen2.5-7b", "phi-4", "gemma-2-9b", "mistral-7b-v0.3"}


def test_every_model_of_3_to_14_billion_parameters_has_a_recipe():
    small = re.compile(r"-(0\.\d+|1(\.\d+)?|2|135|360)[bm]$|quickstart|mistral-7b-v0.1")
    wanted = {name for name in SHAPES if not small.search(name) or name == "phi-2"}
    assert wanted == {shape_of(path) for path in MODEL_RECIPES if path.name == "sft_lora.yaml"}
    assert len(wanted) > 20


def test_every_model_of_7_to_9_billion_parameters_has_a_preference_recipe():
    wanted = {shape_of(path) for path in MODEL_RECIPES if re.search(r"-[7-9]b(-|$)", path.parent.name)}
    assert wanted == {shape_of(path) for path in MODEL_RECIPES if path.name == "dpo_lora.yaml"}
    assert len(wanted) == 8


def rows_of(task, part):
    path = ROOT / "data" / task / (part + (".csv" if task == "routing" else ".jsonl"))
    if path.suffix == ".csv":
        return list(csv.DictReader(path.open()))
    return read_rows(path)


def test_the_task_data_is_what_its_script_makes():
    checked = subprocess.run([sys.executable, ROOT / "scripts/make_task_data.py", "--check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("task", made.TASKS)
def test_train_and_test_rows_are_apart(task):
    train, test = rows_of(task, "train"), rows_of(task, "test")
    same = made.TASKS[task][3]
    assert 150 <= len(train) <= 500 and 50 <= len(test) <= 100
    keys = [same(row) for row in train + test]
    assert len(set(keys)) == len(keys)
    if "label" in train[0]:
        labels = {row["label"] for row in train}
        assert labels == {row["label"] for row in test} and len(labels) >= 6


def test_chosen_replies_answer_and_rejected_ones_do_not():
    steps = [step for topic in made.material("replies")["topics"].values() for step in topic["steps"]]
    patterns = [re.compile(re.sub(r"<\w+>", ".+", step)) for step in steps]
    for row in rows_of("replies", "train") + rows_of("replies", "test"):
        assert row["chosen"] != row["rejected"]
        assert any(pattern.search(row["chosen"]) for pattern in patterns), row
        assert not any(pattern.search(row["rejected"]) for pattern in patterns), row


def test_extracted_fields_stand_in_the_text():
    for row in rows_of("extraction", "train") + rows_of("extraction", "test"):
        assert all(value is None or str(value) in row["text"] for value in row["fields"].values()), row


def test_answers_stand_in_the_passage_or_are_not_given():
    rows = rows_of("passages", "train") + rows_of("passages", "test")
    unknown = made.material("passages")["unknown"]
    assert all(row["answer"] in row["passage"] or row["answer"] == unknown for row in rows)
    assert 0.15 < sum(row["answer"] == unknown for row in rows) / len(rows) < 0.25


def test_queries_run_on_their_schema():
    for row in rows_of("sql", "train") + rows_of("sql", "test"):
        with sqlite3.connect(":memory:") as database:
            for table in row["schema"].split("\n"):
                database.execute(f"CREATE TABLE {table}")
            database.execute(row["sql"])


def test_functions_give_the_results_that_they_should():
    functions = made.material("code")["functions"]
    kinds = {"n": r"\d+", "s": r"\w+", "k": r"\w+", "name": r"\w+"}

    def pattern(code):
        """The code with a group for each slot, which stands for the same everywhere."""
        seen = set()

        def group(slot):
            name = slot.group(1)
            again = name in seen
            seen.add(name)
            return f"(?P={name})" if again else f"(?P<{name}>{kinds[name]})"

        return re.sub(r"<(\w+)>", group, re.escape(code))

    patterns = [(re.compile(pattern(function["code"])), function["check"]) for function in functions]
    for row in rows_of("code", "train") + rows_of("code", "test"):
        (call, result), slots = next((check, match.groupdict()) for code, check in patterns if (match := code.fullmatch(row["code"])))
        words = {name: int(value) if name == "n" else value for name, value in slots.items()}
        scope = {}
        exec(row["code"], scope)
        assert eval(f"{slots['name']}{call}", scope | words) == eval(result, dict(words)), row


@pytest.mark.parametrize("path", [path for path in TASK_RECIPES if path.stem not in ("teach", "answers", "verify")], ids=relative)
def test_a_task_runs_on_a_tiny_model(path, binary, tmp_path):
    program = Prentice(binary, tmp_path)
    recipe = yaml.safe_load(path.read_text())
    words = ["model.path=quickstart-1m", "model.init=random", f"model.tokenizer={TOKENIZER}", "data.limit=40", "train.steps=2",
             *(["export.gguf=[]"] if "export" in recipe else [])]
    if "distill" in recipe or recipe.get("adapter", {}).get("qat"):
        program.run("sft", *words, f"data.train={ROOT / 'data/tickets/train.jsonl'}", "adapter.kind=full", "run.out=teacher")
        words = words[3:]
        words += ["distill.teacher=teacher", "train.epochs=0"] if "distill" in recipe else ["model.path=teacher/merged", "train.epochs=0"]
    program.run("run", path, *words, "eval.limit=3", "run.out=run", timeout=300)
    scores = json.loads((tmp_path / "run/eval.json").read_text())["tasks"]
    assert set(scores) == ({"preference"} if recipe["recipe"] in ("dpo", "reward") else set(recipe["eval"]["tasks"]))


def test_choices_are_taken_from_training_rows_of_any_length(prentice, tmp_path):
    prentice.run("eval", "model.path=quickstart-1m", "model.init=random", f"model.tokenizer={TOKENIZER}", "run.out=run",
                 f"data.eval={ROOT / 'data/routing/test.csv'}", f"data.train={ROOT / 'data/routing/train.csv'}",
                 "data.prompt={{ text }}", "data.completion={{ label }}", "eval.tasks=[choice]", "eval.limit=3")
    examples = json.loads((tmp_path / "run/eval.json").read_text())["tasks"]["choice"]["examples"]
    assert set(examples[0]["scores"]) == set(made.material("routing")["desks"])
