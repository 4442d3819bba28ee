"""`recipe: distill` as a user meets it: every loss trains, the plan counts the teacher, and what cannot work says so."""

import json
import shutil
import statistics

import pytest
import torch
from conftest import ROOT, read_metrics, write_rows
from safetensors import safe_open
from tiny_models import SHAPE, TOKENIZER, make_model, save_folder
from transformers import LlamaConfig, LlamaForCausalLM

TICKETS = ROOT / "data/tickets/train.jsonl"
COMMON = ["model.path=student", "distill.teacher=teacher", "data.train=rows.jsonl", "data.eval_split=8", "train.batch=8",
          "train.epochs=4", "optim.lr=3e-3", "optim.warmup=1", "run.precision=f32", "run.device=cpu", "run.log_every=1",
          "export.verify=false"]


def make_student(vocabulary=SHAPE["vocab_size"]):
    torch.manual_seed(7)
    return LlamaForCausalLM(LlamaConfig(**{**SHAPE, "vocab_size": vocabulary, "hidden_size": 32, "intermediate_size": 64,
                                           "num_hidden_layers": 2})).float().eval()


@pytest.fixture
def folder(tmp_path):
    save_folder(make_model("llama", seed=2), tmp_path / "teacher")
    save_folder(make_student(), tmp_path / "student")
    (tmp_path / "rows.jsonl").write_text("\n".join(TICKETS.read_text().splitlines()[:32]) + "\n")
    return tmp_path


def swap_two_tokens(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    first, second = (word for word, index in sorted(vocabulary.items(), key=lambda item: item[1])[-2:])
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def write_recipe(folder, name="recipe", kind="distill", more="distill: {teacher: teacher}"):
    path = folder / f"{name}.yaml"
    path.write_text(f"recipe: {kind}\nmodel: {{path: student}}\ndata: {{train: rows.jsonl, eval_split: 8}}\n"
                    f"run: {{device: cpu, precision: f32}}\n{more}\n")
    return path


def plan(prentice, *words):
    return json.loads(prentice.run("plan", *words, "--json").stdout)


@pytest.mark.parametrize("settings", [
    [], ["distill.loss=reverse_kl", "adapter.kind=full"], ["distill.loss=jsd", "distill.beta=0.1"], ["distill.loss=tvd"],
    ["distill.loss=ce", "distill.temperature=2"], ["distill.top_k=10"], ["distill.top_k=10", "distill.tail=renormalize"],
    ["distill.loss=hidden_mse", "adapter.kind=full"], ["distill.loss=hidden_cosine", "distill.layer_map={0: 1, 1: 2}"],
    ["distill.weight=1", "distill.teacher_device=cpu"],
], ids=["forward_kl", "reverse_kl_full", "jsd", "tvd", "ce", "top_k", "renormalized", "hidden_mse_full", "hidden_cosine", "alone"])
def test_every_loss_falls(settings, prentice, folder):
    said = prentice.run("distill", *COMMON, *settings, "run.out=run")
    losses = read_metrics(folder / "run")
    name = "hidden" if any("hidden" in word for word in settings) else "divergence"
    distances = read_metrics(folder / "run", name)
    assert losses[max(losses)] < losses[1] and distances[max(losses)] < distances[1]
    assert set(read_metrics(folder / "run", "cross_entropy")) == set(distances) == set(losses)
    assert "eval.loss" in (folder / "run/metrics.jsonl").read_text() and (name == "hidden" or "| div " in said.stderr)
    run = json.loads((folder / "run/run.json").read_text())
    assert run["parents"] == [str(folder / "student"), str(folder / "teacher")]
    assert "distill.teacher" in {entry["key"] for entry in run["inputs"]}
    assert prentice.run("distill", *COMMON, *settings, "run.out=run").stdout.startswith("already done")


def test_projections_train_and_stay_out_of_what_is_handed_over(prentice, folder):
    prentice.run("distill", *COMMON, "distill.loss=hidden_mse", "run.out=run")
    checkpoints = sorted((folder / "run/checkpoints").iterdir())

    def projections(checkpoint):
        with safe_open(checkpoint / "trainable.safetensors", "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys() if key.startswith("distill.projection")}
    first, last = projections(checkpoints[0]), projections(checkpoints[-1])
    assert {key: tuple(value.shape) for key, value in first.items()} == {
        "distill.projection.0.0": (64, 32), "distill.projection.1.2": (64, 32)}
    assert all(not torch.equal(first[key], last[key]) for key in first)
    with safe_open(folder / "run/adapter/adapter_model.safetensors", "pt") as file:
        assert not [key for key in file.keys() if "projection" in key]


def test_rows_behind_the_vocabulary_take_no_part(prentice, folder):
    """A teacher whose embedding is padded teaches what it teaches without the padding."""
    prentice.run("distill", *COMMON, "run.out=plain")
    padded = make_model("llama", seed=2)
    padded.resize_token_embeddings(SHAPE["vocab_size"] + 64, mean_resizing=False)
    with torch.no_grad():
        padded.lm_head.weight[SHAPE["vocab_size"]:] = 5
    shutil.rmtree(folder / "teacher")
    save_folder(padded, folder / "teacher")
    prentice.run("distill", *COMMON, "run.out=padded")
    assert read_metrics(folder / "plain") == pytest.approx(read_metrics(folder / "padded"), rel=1e-6)


def test_another_vocabulary_is_refused_by_name_and_leaves_no_folder(prentice, folder):
    swap_two_tokens(folder / "teacher")
    said = prentice.run("distill", *COMMON, "run.out=run", code=4)
    assert "distill.teacher: " in said.stderr and "has another vocabulary" in said.stderr
    assert "id 1534 is " in said.stderr and "distill.loss=uld" in said.stderr
    for verb in ("validate", "plan"):
        assert said.stderr.split("distill.teacher: ")[1] in prentice.run(verb, write_recipe(folder), code=4).stderr
    prentice.run("validate", write_recipe(folder, more="distill: {teacher: teacher, loss: uld}"))


def test_a_smaller_vocabulary_is_told_with_both_sizes(prentice, folder):
    tokenizer = json.loads((folder / "teacher/tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    last = max(vocabulary, key=vocabulary.get)
    del vocabulary[last]
    tokenizer["model"]["merges"] = [pair for pair in tokenizer["model"]["merges"]
                                    if "".join(pair if isinstance(pair, list) else pair.split()) != last]
    (folder / "teacher/tokenizer.json").write_text(json.dumps(tokenizer))
    said = prentice.run("distill", *COMMON, "run.out=run", code=4)
    assert f"1535 tokens, not 1536; the first that differs: id 1535 is nothing, not '{last}'" in said.stderr


def test_the_plan_counts_both_models(prentice, folder):
    alone = plan(prentice, write_recipe(folder, "alone", "sft", ""))
    both = plan(prentice, write_recipe(folder))
    weights = sum(parameter.numel() for parameter in make_model("llama").parameters()) * 4
    assert weights <= both["memory"]["load"] - alone["memory"]["load"] < weights + 50_000  # whole grains of 512 bytes
    assert both["memory"]["forward"] > alone["memory"]["forward"] + weights
    assert both["seconds"] > alone["seconds"] and both["decided"]["distill.teacher_device"] == "cpu"


def test_a_big_pair_is_planned_from_shapes(prentice, tmp_path):
    (tmp_path / "rows.jsonl").write_text(TICKETS.read_text())
    (tmp_path / "recipe.yaml").write_text(f"recipe: distill\nmodel: {{path: qwen2.5-3b, init: random, tokenizer: {TOKENIZER}}}\n"
                                          "data: {train: rows.jsonl}\ndistill: {teacher: qwen2.5-14b}\n")
    words = ["recipe.yaml", "plan.hardware=a100-80gb"]
    both, on_host = plan(prentice, *words), plan(prentice, *words, "distill.teacher_device=cpu")
    teacher = both["memory"]["load"] - on_host["memory"]["load"]
    assert 29e9 < teacher < 30e9 and both["fits"]  # 14.8 B weights in bf16
    assert on_host["host_peak_bytes"] - both["host_peak_bytes"] == teacher
    assert on_host["seconds"] > 10 * both["seconds"]
    prentice.run("validate", *words)
    said = prentice.run("run", "recipe.yaml", "run.device=cpu", "run.out=run", code=2)
    assert "distill.teacher: qwen2.5-14b: these are shapes without weights" in said.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words, message", [
    (["distill.teacher="], "distill.teacher: is missing"),
    (["distill.teacher=nowhere"], "distill.teacher: no such model"),
    (["distill.beta=0.3"], "distill.beta: has no effect with distill.loss: forward_kl"),
    (["distill.layer_map={0: 0}"], "distill.layer_map: has no effect with distill.loss: forward_kl"),
    (["distill.loss=hidden_mse", "distill.layer_map={0: 3}"], "distill.layer_map: the teacher has no layer 3: its layers are 0 to 2"),
    (["distill.loss=hidden_mse", "distill.layer_map={2: 0}"], "distill.layer_map: the student has no layer 2"),
    (["distill.loss=hidden_mse", "distill.layer_map={last: 0}"], "expected the number of a layer of the student, got 'last'"),
    (["distill.loss=hidden_cosine", "distill.temperature=2"], "distill.temperature: has no effect"),
    (["distill.loss=uld", "distill.top_k=5"], "distill.top_k: has no effect with distill.loss: uld"),
    (["distill.loss=uld", "distill.on_policy=0.5"], "distill.on_policy: uld compares given texts"),
    (["distill.tail=renormalize"], "distill.tail: has no effect where the teacher's whole vocabulary is compared"),
    (["distill.on_policy=1", "distill.weight=0.5"], "distill.weight: with distill.on_policy: 1 no example keeps its labels"),
    (["distill.max_new_tokens=5"], "distill.max_new_tokens: has no effect without distill.on_policy"),
    (["distill.teacher_device=gpu"], "distill.teacher_device: expected auto, cpu, cuda or cuda:N, got gpu"),
    (["distill.teacher_device=cuda:63"], "distill.teacher_device: 'cuda:63' is not there"),
    (["run.device=cuda:63"], "run.device: 'cuda:63' is not there"),
    (["distill.weight=0"], "distill.weight: expected"),
    (["distill.loss=kl"], "distill.loss: expected"),
])
def test_what_cannot_work_says_so(words, message, prentice, folder):
    said = prentice.run("validate", write_recipe(folder), *words, code=2)
    assert message in said.stderr, said.stderr


def test_defaults_by_case(prentice, folder):
    def decided(*words):
        prentice.run("distill", "model.path=student", "distill.teacher=teacher", "data.train=rows.jsonl", "train.steps=1",
                     "run.device=cpu", "export.verify=false", f"run.out=run{len(words)}", *words)
        return (folder / f"run{len(words)}/recipe.yaml").read_text()
    adapter, full = decided(), decided("adapter.kind=full")
    assert "lr: 2e-4" in adapter and "batch: 16" in adapter and "weight: 0.5" in adapter and "teacher_device: cpu" in adapter
    assert "lr: 1e-5" in full
    explained = prentice.run("explain", "distill.distill").stdout
    for key in ("teacher", "loss", "temperature", "weight", "top_k", "on_policy", "beta", "layer_map"):
        assert f"distill.{key}" in explained
    assert prentice.run("--help").stdout.count("distill") >= 1


def test_a_pipeline_makes_its_teacher(prentice, folder):
    """Validated and planned before the teacher is there: it has the shape that its own step begins with."""
    write_recipe(folder, "tune", "sft", "train: {steps: 2}\nexport: {verify: false}")
    write_recipe(folder, "learn", more="distill: {teacher: teacher}\ntrain: {steps: 2}\nexport: {verify: false}")
    (folder / "both.yaml").write_text("""recipe: pipeline
run: {out: out}
pipeline:
  steps:
    - {name: tune, recipe: tune.yaml, set: {model.path: teacher}}
    - {name: learn, recipe: learn.yaml, set: {distill.teacher: "${steps.tune.out}"}}
""")
    prentice.run("validate", "both.yaml")
    steps = plan(prentice, "both.yaml")["steps"]
    alone = plan(prentice, write_recipe(folder))
    assert steps[1]["plan"]["memory"]["load"] == alone["memory"]["load"]
    assert "generate model.path=out --chat" in prentice.run("run", "both.yaml").stdout
    assert json.loads((folder / "out/learn/run.json").read_text())["parents"][1] == str(folder / "out/tune")
    for of in ("teacher", "student"):
        config = json.loads((folder / of / "tokenizer_config.json").read_text())
        del config["chat_template"]
        (folder / of / "tokenizer_config.json").write_text(json.dumps(config))
    rows = [json.loads(row)["messages"] for row in (folder / "rows.jsonl").read_text().splitlines()]
    write_rows(folder / "rows.jsonl", [{"text": turns[0]["content"]} for turns in rows])
    assert 'generate model.path=raw generate.prompt="..."' in prentice.run("run", "both.yaml", "run.out=raw").stdout
    (folder / "both.yaml").write_text((folder / "both.yaml").read_text().replace("tune.out}", "tun.out}"))
    assert "did you mean tune?" in prentice.run("validate", "both.yaml", code=2).stderr


def test_the_student_samples_its_share(prentice, folder):
    words = [*COMMON, "distill.on_policy=0.5", "distill.loss=jsd", "distill.max_new_tokens=6", "distill.weight=0.5"]
    prentice.run("distill", *words, "run.out=run")
    losses, trained = read_metrics(folder / "run"), read_metrics(folder / "run", "trained_tokens")
    assert losses[max(losses)] < losses[1]
    prentice.run("distill", *words, "run.out=again")
    assert losses == read_metrics(folder / "again") and trained == read_metrics(folder / "again", "trained_tokens")
    prentice.run("distill", *words, "run.out=other", "run.seed=18")
    assert trained != read_metrics(folder / "other", "trained_tokens")
    # Alone: no example keeps its labels, so nothing but the divergence is told, and defaults are those of sampling.
    prentice.run("distill", *COMMON[:-7], "run.out=alone", "distill.on_policy=1", "train.steps=2", "run.device=cpu", "run.log_every=1",
                 "export.verify=false")
    resolved = (folder / "alone/recipe.yaml").read_text()
    assert "lr: 1e-4" in resolved and "weight: 1" in resolved and "max_new_tokens: auto" not in resolved
    assert read_metrics(folder / "alone", "cross_entropy") == {} and len(read_metrics(folder / "alone", "divergence")) == 2


def test_the_student_never_samples_what_pads_its_head(prentice, folder):
    """The rows behind the vocabulary are so large that nearly every draw would be one of them."""
    student = make_student(SHAPE["vocab_size"] + 64)
    with torch.no_grad():
        student.get_output_embeddings().weight[SHAPE["vocab_size"]:] *= 500
    save_folder(student, folder / "student")
    prentice.run("distill", *COMMON, "distill.on_policy=1", "distill.max_new_tokens=6", "run.out=run")
    assert len(read_metrics(folder / "run", "divergence")) > 0


def test_uld_bridges_vocabularies(prentice, shared_data, tmp_path):
    """babyllama105 teaches stories260K: refused as it stands, and with uld the loss falls."""
    models = shared_data / "models"
    rows = (shared_data / "datasets/tinystories/train.jsonl").read_text().splitlines()
    texts = [json.loads(row)["text"][:240] for row in rows[:48]]  # as long as the teacher can hold: a token a character
    write_rows(tmp_path / "rows.jsonl", [{"text": text} for text in texts])
    words = ["distill", f"model.path={models / 'stories260K-hf'}", f"distill.teacher={models / 'babyllama105-hf'}",
             "data.train=rows.jsonl", "data.eval_split=0", "train.batch=8", "train.epochs=3", "optim.lr=1e-3", "run.device=cpu",
             "run.precision=f32", "run.log_every=1", "export.verify=false"]
    refused = prentice.run(*words, "run.out=run", code=4)
    assert "105 tokens, not 512; the first that differs: id " in refused.stderr
    said = prentice.run(*words, "run.out=run", "distill.loss=uld")
    assert float(said.stderr.split("uld: ")[1].split(" % of the trained tokens meet")[0]) > 90
    losses, distances = read_metrics(tmp_path / "run"), read_metrics(tmp_path / "run", "divergence")
    half = max(losses) // 2

    def mean(values, steps):
        return sum(values[step] for step in steps) / len(steps)
    for values in (losses, distances):
        assert mean(values, range(half + 1, max(losses) + 1)) < mean(values, range(1, half + 1))


def teach(prentice, folder, *words):
    prentice.run("teach", "model.path=teacher", "data.train=rows.jsonl", "run.device=cpu", "run.precision=f32", *words)
    return folder / "taught/store"


def test_a_teacher_that_was_stored_whole_teaches_as_the_live_one(prentice, folder):
    """And whatever order, split and limit the student reads its rows in."""
    store = teach(prentice, folder, "run.out=taught", f"teach.top_k={SHAPE['vocab_size']}", "teach.tail=0", "teach.values=f32")
    prentice.run("distill", *COMMON, "run.out=live")
    prentice.run("distill", *COMMON, f"distill.teacher={store}", "run.out=stored")
    live, stored = read_metrics(folder / "live"), read_metrics(folder / "stored")
    assert stored == pytest.approx(live, rel=1e-6)
    run = json.loads((folder / "stored/run.json").read_text())
    assert run["parents"][1] == str(store) and sum(entry["key"] == "distill.teacher" for entry in run["inputs"]) == 2
    assert statistics.median(read_metrics(folder / "stored", "data_share").values()) < 0.02
    prentice.run("distill", *COMMON, f"distill.teacher={store}", "data.limit=20", "data.shuffle=false", "run.out=some")


def test_8_bits_of_as_many_entries_as_the_tail_asks_for_teach_as_50_exact_ones(prentice, shared_data, tmp_path):
    """The same batches give the same losses, from stores of at most 100 and of about 400 bytes a token."""
    models, rows = shared_data / "models", shared_data / "datasets/tinystories/train.jsonl"
    shutil.copytree(models / "stories260K-hf", tmp_path / "student", ignore=shutil.ignore_patterns("*.safetensors"))
    common = [f"data.train={rows}", "data.limit=48", "run.device=cpu", "run.precision=f32"]
    losses, sizes = {}, {}
    for name, exact in (("q8", []), ("f32", ["teach.values=f32", "teach.tail=0"])):
        said = prentice.run("teach", f"model.path={models / 'stories260K-hf'}", *common, *exact, f"run.out={name}", "--json")
        sizes[name] = json.loads(said.stdout)["bytes_per_token"]
        prentice.run("distill", "model.path=student", "model.init=random", "adapter.kind=full", *common, "data.eval_split=0",
                     f"distill.teacher={name}/store", "distill.weight=1", "train.batch=8", "train.epochs=2", "optim.lr=3e-3",
                     "run.log_every=1", "export.verify=false", f"run.out=learn-{name}")
        losses[name] = read_metrics(tmp_path / f"learn-{name}")
        mass = read_metrics(tmp_path / f"learn-{name}", "top_k_mass")
        assert len(mass) == len(losses[name]) and all(0.98 < value < 1 for value in mass.values())
    assert sizes["q8"] <= 100 < sizes["f32"]
    assert losses["q8"] == pytest.approx(losses["f32"], rel=2e-3)
    assert losses["q8"][12] < losses["q8"][1] - 0.3


@pytest.mark.parametrize("loss, temperature", [("forward_kl", 4), ("reverse_kl", 2), ("jsd", 2), ("tvd", 2)])
def test_a_sure_teacher_that_was_stored_whole_teaches_as_the_live_one(loss, temperature, prentice, folder):
    """Log-probabilities down to -100: at a temperature above 1 and for a student who thinks otherwise they count."""
    teacher = make_model("llama", seed=2)
    with torch.no_grad():
        teacher.get_output_embeddings().weight *= 50
    save_folder(teacher, folder / "teacher")
    store = teach(prentice, folder, "run.out=taught", f"teach.top_k={SHAPE['vocab_size']}", "teach.tail=0", "teach.values=f32")
    words = [*COMMON, f"distill.loss={loss}", f"distill.temperature={temperature}", "train.epochs=1"]
    prentice.run("distill", *words, "run.out=live")
    prentice.run("distill", *words, f"distill.teacher={store}", "run.out=stored")
    assert read_metrics(folder / "stored") == pytest.approx(read_metrics(folder / "live"), rel=1e-6)


def test_what_a_store_cannot_do_is_refused_by_name(prentice, folder):
    store = teach(prentice, folder, "run.out=taught", "data.limit=30")
    words = [*COMMON, f"distill.teacher={store}", "run.out=run"]
    said = prentice.run("distill", *words, code=4)
    assert "rows.jsonl:" in said.stderr and "the store of distill.teacher does not hold this row" in said.stderr
    recipe = write_recipe(folder, more="distill: {teacher: taught/store}")
    assert "the store of distill.teacher does not hold this row" in prentice.run("plan", recipe, code=4).stderr
    with_eval = ["data.eval_split=0", "data.eval=rows.jsonl"]
    assert "warning: teacher: 30 of 32 rows are in the store" in prentice.run("audit", recipe, *with_eval).stdout
    said = json.loads(prentice.run("inspect", store, "--json").stdout)["metadata"]
    for verb in ("plan", "audit"):
        taught = json.loads(prentice.run(verb, recipe, "data.limit=30", *with_eval, "--json").stdout)["teacher"]
        assert taught == {"rows": 30, "held": 30, "entries_per_token": said["entries_per_token"], "coverage": said["coverage"]}
        assert f"30 of 30 rows are in the store, whose entries, " in prentice.run(verb, recipe, "data.limit=30", *with_eval).stdout
    for setting, message in (("distill.loss=hidden_mse", "hidden_mse needs the teacher itself"),
                             ("distill.loss=uld", "uld needs the teacher itself"),
                             ("distill.on_policy=0.5", "what the student samples only a live teacher can score"),
                             ("distill.teacher_device=cpu", "has no effect with a store")):
        assert message in prentice.run("distill", *words, setting, code=2).stderr
    said = prentice.run("distill", *words, "data.limit=30", "distill.top_k=1000", code=2)
    assert "keeps at most 50 entries a token, and 1000 are asked for" in said.stderr
    swap_two_tokens(folder / "student")
    said = prentice.run("distill", *words, "data.limit=30", code=4)
    assert "tokenizer" in said.stderr
    (store / "store.json").unlink()
    assert "not a teacher store: it has no store.json" in prentice.run("distill", *words, code=4).stderr


@pytest.mark.parametrize("long, code, reason", [(40, 0, "warning: uld: "), (47, 3, "too few to learn from")])
def test_a_teacher_that_meets_few_tokens_is_told(long, code, reason, prentice, shared_data, tmp_path):
    """Rows longer than the teacher can hold have nothing of it."""
    rows = (shared_data / "datasets/tinystories/train.jsonl").read_text().splitlines()
    texts = [json.loads(row)["text"] for row in rows if 400 < len(json.loads(row)["text"]) < 900][:48]
    texts = [text if i < long else text[:200 if code == 0 else 60] for i, text in enumerate(texts)]
    write_rows(tmp_path / "rows.jsonl", [{"text": text} for text in texts])
    models = shared_data / "models"
    said = prentice.run("distill", f"model.path={models / 'stories260K-hf'}", f"distill.teacher={models / 'babyllama105-hf'}",
                        "data.train=rows.jsonl", "data.eval_split=0", "train.batch=8", "train.steps=1", "run.device=cpu", "run.out=run",
                        "distill.loss=uld", "export.verify=false", code=code)
    assert reason in said.stderr, said.stderr
