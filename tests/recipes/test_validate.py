"""What the real binary says before it works: the same mistakes by `validate`, `plan`, `audit` and a run, all at once."""

import json
import shutil

import pytest
from conftest import ROOT, Prentice, read_rows, write_rows
from test_cli import make_good

RECIPE = """recipe: sft
run: {out: out, device: cpu}
model: {path: model}
data: {train: rows.jsonl, eval_split: 0, MORE_DATA}
train: {steps: 2, batch: 2}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("good")
    make_good(path)
    return path


@pytest.fixture
def program(folder, tmp_path, binary):
    shutil.copytree(folder, tmp_path / "case")
    return Prentice(binary, tmp_path / "case")


def write(program, more="", data="limit: 8"):
    (program.folder / "r.yaml").write_text(RECIPE.replace("MORE_DATA", data) + more)


def test_all_verbs_tell_what_the_shape_shows_at_once(program):
    write(program, "adapter:\n  targets: [q_prj, v_proj]\n  layers: [99]\nexport: {gguf: [F16], types: {atn_q: F32}}\n",
          "max_length: 100000")
    said = [program.run(verb, "r.yaml", code=2).stderr for verb in ("validate", "plan", "audit", "run")]
    for place in ("r.yaml:4:54: data.max_length", "r.yaml:7:13: adapter.targets: 'q_prj'", "r.yaml:8:12: adapter.layers",
                  "r.yaml:9:31: export.types: 'atn_q'"):
        assert place in said[0]
    assert said[0].count("error:") == 4
    assert said.count(said[0]) == 4
    assert not (program.folder / "out").exists()


def test_what_gguf_cannot_express_is_told_and_leaves_no_folder(program):
    config = program.folder / "model/config.json"
    rope = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 2.0, "beta_fast": 16.0,
            "original_max_position_embeddings": 128}
    config.write_text(json.dumps(json.loads(config.read_text()) | {"rope_parameters": rope}))
    write(program, "export: {gguf: [F16]}\n")
    for words in (["validate", "r.yaml"], ["plan", "r.yaml"], ["run", "r.yaml"],
                  ["export", "model.path=model", "export.gguf=[F16]", "run.out=out"]):
        assert "export.gguf: this model cannot be written as GGUF" in program.run(*words, code=4).stderr
        assert not (program.folder / "out").exists(), words


def test_an_adapter_of_the_cache_is_gone_on_from(program, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(program.folder / "hub"))
    write(program)
    missing = program.run("run", "r.yaml", "adapter.init=org/lora", code=2).stderr
    assert "hint: prentice download org/lora" in missing
    snapshot = program.folder / "hub/hub/models--org--lora/snapshots/1"
    shutil.copytree(program.folder / "adapter", snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs/main").write_text("1")
    program.run("run", "r.yaml", "adapter.init=org/lora")
    saved = json.loads((program.folder / "out/adapter/adapter_config.json").read_text())
    assert saved["r"] == 4


def test_a_warm_up_as_long_as_the_run_is_a_warning(program):
    write(program, "optim: {warmup: 2}\n")
    warning = "warning: optim.warmup: 2 steps of warm-up in a run of 2: the learning rate never reaches its peak\n"
    for verb in ("validate", "plan"):
        assert program.run(verb, "r.yaml").stderr.count(warning) == 1
    write(program, "optim: {warmup: 1}\n")
    assert "warm-up" not in program.run("plan", "r.yaml").stderr


def test_a_short_run_is_planned_with_its_loading(program):
    write(program, "optim: {warmup: 1}\n")
    assert "time        under 1 s\n" in program.run("plan", "r.yaml").stdout
    seconds = json.loads(program.run("plan", "r.yaml", "--json").stdout)["seconds"]
    assert seconds > 0


def test_the_address_of_a_page_is_turned_into_the_name(program):
    for address in ("https://hub.example/org/name", "https://hub.example/org/name/tree/main"):
        assert "hint: prentice download org/name\n" in program.run("download", address, code=2).stderr


def test_a_parquet_file_is_inspected(program):
    file = ROOT / "tests/golden/data/zstd.parquet"
    rows = json.loads((ROOT / "tests/golden/data/parquet_rows.json").read_text())
    told = json.loads(program.run("inspect", file, "--json").stdout)
    assert told["kind"] == "parquet" and told["metadata"]["rows"] == len(rows)
    assert list(told["metadata"]["columns"]) == list(rows[0])
    assert told["metadata"]["columns"]["flag"] == "boolean" and told["metadata"]["columns"]["count"] == "integer"
    assert "  rows: " in program.run("inspect", file).stdout


def test_every_shipped_recipe_of_a_model_has_a_run_folder_of_its_own():
    outs = [line.split()[1] for path in (ROOT / "recipes/models").glob("*/*.yaml")
            for line in path.read_text().splitlines() if line.startswith("  out: ")]
    assert len(outs) == len(set(outs)) == len(list((ROOT / "recipes/models").glob("*/*.yaml")))


def test_words_and_shape_are_told_together_by_all_verbs(program):
    write(program, "adapter: {targets: [nosuch], dropout: 2}\nexport: {gguf_adapter: F99}\n", "max_length: 100000")
    said = [program.run(verb, "r.yaml", code=2).stderr for verb in ("validate", "plan", "audit", "run")]
    assert said[0].count("error:") == 4 and said.count(said[0]) == 4


def test_ends_that_train_whole_for_new_tokens_are_no_targets(program):
    write(program, "adapter:\n  targets: [q_proj, embed_tokens]\n")
    for verb in ("validate", "plan", "audit", "run"):
        said = program.run(verb, "r.yaml", "model.add_tokens=['<|new|>']", code=2).stderr
        assert "r.yaml:7:21: adapter.targets: embed_tokens trains whole where model.add_tokens" in said


def test_a_tokenizer_that_is_larger_than_the_embedding_says_what_to_do(program):
    write(program)
    shutil.copytree(program.folder / "model", program.folder / "other")
    file = program.folder / "other/tokenizer.json"
    tokenizer = json.loads(file.read_text())
    rows = json.loads((program.folder / "model/config.json").read_text())["vocab_size"]
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][0], "id": rows, "content": "<|more|>"})
    file.write_text(json.dumps(tokenizer))
    for word, hint in (("model.tokenizer=other", "leave model.tokenizer out"), ("model.path=other", "model.add_tokens adds tokens with their rows")):
        said = program.run("plan", "r.yaml", word, code=4).stderr
        assert f"the tokenizer has {rows + 1} ids, the model's embedding {rows} rows" in said and hint in said


def test_audit_and_plan_decide_alike_what_a_reward_run_stores_whole(program):
    write_pairs(program)
    words = ["r.yaml", "model.add_tokens=['<|new|>']", "--json"]
    (program.folder / "r.yaml").write_text(RECIPE.replace("sft", "reward").replace("rows", "pairs").replace(", MORE_DATA", ""))
    decided = [json.loads(program.run(verb, *words).stdout)["decided"] for verb in ("audit", "plan")]
    assert decided[0]["adapter.modules_to_save"] == "score; and embed_tokens, where the new tokens' rows train"
    assert decided[0].items() <= decided[1].items()


def write_pairs(program):
    pairs = [{"prompt": f"q {i}?", "chosen": " yes", "rejected": " no"} for i in range(8)]
    write_rows(program.folder / "pairs.jsonl", pairs)


PIPELINE = """recipe: pipeline
run: {out: all}
pipeline:
  steps:
    - {name: one, recipe: r.yaml, set: {run.out: pl/one, export.merged: f32}}
    - {name: two, recipe: second.yaml}
"""


@pytest.mark.parametrize("address", ["model.path: pl/one", "model.path: ./pl/one", "model.path: pl/one/merged",
                                     "model.path: pl/one@2", "model.path: '${steps.one.out}/merged'",
                                     "model.path: model+pl/one/adapter", "model.path: model, adapter: pl/one/adapter",
                                     "adapter.init: pl/one/adapter"])
def test_what_an_earlier_step_makes_is_planned_as_what_it_begins_with(program, address):
    write(program)
    section, value = address.split(".", 1)
    kind = "sft" if section == "adapter" or "merged" in value else "eval"
    path = "" if section == "model" else "model: {path: model}\n"
    data = "train: rows.jsonl, eval_split: 0" if kind == "sft" else "eval: rows.jsonl"
    second = f"recipe: {kind}\n{path}{section}: {{{value}}}\ndata: {{{data}, MORE}}\n"
    (program.folder / "second.yaml").write_text(second.replace(", MORE", ""))
    (program.folder / "all.yaml").write_text(PIPELINE)
    program.run("validate", "all.yaml")
    steps = json.loads(program.run("plan", "all.yaml", "--json").stdout)["steps"]
    assert [step["plan"] is not None for step in steps] == [True, True]
    (program.folder / "second.yaml").write_text(second.replace("MORE", "max_length: 100000"))
    for verb in ("validate", "plan", "run"):
        assert "data.max_length: 100000 is above" in program.run(verb, "all.yaml", code=2).stderr
    assert not (program.folder / "pl").exists()


@pytest.mark.parametrize("kinds, init, message", [
    ("sft reward", "pl/one/adapter", "this adapter is a language model's and has no score head"),
    ("sft reward", "pl/one", "this adapter is a language model's and has no score head"),
    ("reward sft", "pl/one/adapter", "a reward model, which gives one score and no words"),
    ("reward dpo", "${steps.one.out}/adapter", "a reward model, which gives one score and no words"),
    ("reward reward", "pl/one/adapter", ""),
    ("sft dpo", "pl/one/adapter", ""),
])
def test_an_adapter_that_an_earlier_step_makes_has_the_head_of_that_step(program, kinds, init, message):
    write_pairs(program)
    for name, kind, adapter in zip(("r.yaml", "second.yaml"), kinds.split(), ("", f"adapter: {{init: '{init}'}}\n")):
        data = "rows" if kind == "sft" else "pairs"
        (program.folder / name).write_text(f"recipe: {kind}\nmodel: {{path: model}}\n{adapter}data: {{train: {data}.jsonl, eval_split: 0}}\n")
    (program.folder / "all.yaml").write_text(PIPELINE.replace(", export.merged: f32", ""))
    for verb in ("validate", "plan", "run") if message else ("validate", "plan"):
        said = program.run(verb, "all.yaml", code=2 if message else 0).stderr
        assert said.count("error:") == bool(message) and message in said
        if message:
            assert "second.yaml:3:17: adapter.init: " in said and "pl/one" in said
    assert not (program.folder / "pl").exists()


@pytest.mark.parametrize("reference", ["pl/one", "pl/one/merged", "pl/one@best", "model+pl/one/adapter", "model+pl/one", "${steps.one.out}"])
def test_a_reference_that_an_earlier_step_makes_is_planned_as_what_it_begins_with(program, reference):
    write(program)
    write_pairs(program)
    (program.folder / "second.yaml").write_text("recipe: dpo\nmodel: {path: model}\ndata: {train: pairs.jsonl, eval_split: 0}\n"
                                                f"preference: {{reference: '{reference}'}}\n")
    (program.folder / "all.yaml").write_text(PIPELINE)
    program.run("validate", "all.yaml")
    steps = json.loads(program.run("plan", "all.yaml", "--json").stdout)["steps"]
    (program.folder / "second.yaml").write_text((program.folder / "second.yaml").read_text().replace(reference, "model"))
    with_model = json.loads(program.run("plan", "all.yaml", "--json").stdout)["steps"]
    assert steps[1]["plan"]["memory"] == with_model[1]["plan"]["memory"]
    assert not (program.folder / "pl").exists()


def test_a_reference_that_is_no_model_is_blamed_by_its_own_key(program):
    write_pairs(program)
    (program.folder / "no_run").mkdir()
    for verb in ("validate", "plan", "dpo"):
        said = program.run(verb, *write_dpo(program), "preference.reference=no_run@5", code=2).stderr
        assert "preference.reference: " in said and "model.path" not in said, said


def write_dpo(program):
    (program.folder / "d.yaml").write_text("recipe: dpo\nrun: {out: out, device: cpu}\nmodel: {path: model}\n"
                                           "data: {train: pairs.jsonl, eval_split: 0}\n")
    return ["d.yaml"]


TOOL_ROW = {"messages": [{"role": "user", "content": "weather?"}, {"role": "assistant", "content": "", "tool_calls": [
    {"function": {"name": "f", "arguments": {}}}]}, {"role": "tool", "content": "cold"}, {"role": "assistant", "content": "It is cold."}]}
DEAF = ("{% for m in messages %}{% if m.role != 'tool' %}<|{{ m.role }}|>{{ m.content }}{{ m.tool_calls }}{{ eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}")


def test_what_a_template_leaves_out_is_said_once_by_every_verb_that_reads_the_rows(program):
    write(program)
    rows = read_rows(program.folder / "rows.jsonl")[:3] + [TOOL_ROW]
    write_rows(program.folder / "tools.jsonl", rows)
    (program.folder / "deaf.jinja").write_text(DEAF)
    words = ["data.train=tools.jsonl", "data.template=deaf.jinja"]
    wanted = "deaf.jinja leaves out the tool results of 1 row, the first at "
    for verb in ("plan", "audit", "run"):
        said = program.run(verb, "r.yaml", *words)
        text = said.stdout + said.stderr
        assert text.count(wanted) == 1 and "tools.jsonl:4: " in text, text
    said = program.run("eval", "model.path=model", "data.eval=tools.jsonl", words[1], "run.out=scored", "run.device=cpu").stderr
    assert said.count(wanted) == 1


def test_raw_rows_on_a_model_with_a_template_are_warned_of_by_every_verb(program):
    write_pairs(program)
    (program.folder / "pairs.yaml").write_text("recipe: dpo\nmodel: {path: model}\ndata: {train: pairs.jsonl, eval_split: 0}\n")
    words = "these rows are raw text although the tokenizer has a chat template: serve the model as raw completion, or set data.chat: on"
    assert program.run("validate", "pairs.yaml").stderr == f"warning: {words}\n"
    assert f"warning: {words}\n" in program.run("plan", "pairs.yaml").stderr
    assert json.loads(program.run("validate", "pairs.yaml", "--json").stdout)["warnings"] == [words]
    assert words in program.run("audit", "pairs.yaml").stdout
    (program.folder / "all.yaml").write_text("recipe: pipeline\npipeline: {steps: [{name: one, recipe: pairs.yaml}]}\n")
    assert program.run("validate", "all.yaml").stderr == f"warning: one: {words}\n"
    plain = shutil.copytree(program.folder / "model", program.folder / "plain")
    (plain / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((plain / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (plain / "tokenizer_config.json").write_text(json.dumps(config))
    unreadable = ["data.train=rows.jsonl", "data.format=preference"]
    for quiet in (["data.chat=on"], ["model.path=plain"], unreadable):
        assert program.run("validate", "pairs.yaml", *quiet).stderr == "", quiet


@pytest.mark.parametrize("verb", ["validate", "plan", "run"])
def test_graphs_are_refused_on_a_cpu(program, verb):
    write(program)
    said = program.run(verb, "r.yaml", "train.graph=true", code=2)
    assert "train.graph: CUDA graphs are recorded on a GPU, and this runs on the CPU" in said.stderr
    assert not (program.folder / "out").exists()
    program.run(verb, "r.yaml", "train.graph=false")
