"""`recipe: teach` as a user meets it: a store is written, bound to what it was made of, checked and shown."""

import json
import math
import re
import shutil

import pytest
from conftest import ROOT, read_rows
from tiny_models import make_model, make_talker, save_folder

COMMON = ["model.path=model", "data.train=rows.jsonl", "run.device=cpu", "run.precision=f32"]


@pytest.fixture
def folder(tmp_path):
    save_folder(make_model("llama"), tmp_path / "model")
    shutil.copy(ROOT / "data/tickets/train.jsonl", tmp_path / "rows.jsonl")
    return tmp_path


def trained_tokens(prentice, folder):
    (folder / "audit.yaml").write_text("recipe: teach\nmodel: {path: model}\ndata: {train: rows.jsonl}\n")
    return json.loads(prentice.run("audit", "audit.yaml", "--json").stdout)


def test_every_row_is_taught_once_and_a_second_run_has_nothing_to_do(prentice, folder):
    audit = trained_tokens(prentice, folder)
    assert audit["rows"] == 1200  # nothing is held out
    said = json.loads(prentice.run("teach", *COMMON, "run.out=run", "--json").stdout)
    assert said["rows"] == audit["trained_tokens"] and said["samples"] == 1200
    assert said["bytes"] == sum(path.stat().st_size for path in (folder / "run/store").iterdir())
    assert 0 < said["coverage"] <= 1 and 1 <= said["entries_per_token"] <= 50
    run = json.loads((folder / "run/run.json").read_text())
    assert run["status"] == "done" and run["results"]["bytes_per_token"] == said["bytes_per_token"]
    sums = (folder / "run/SHA256SUMS").read_text()
    assert "store/shard-00000.h5" in sums and "report.html" in sums and ".lock" not in sums
    before = (folder / "run/store/shard-00000.h5").stat().st_mtime_ns
    assert prentice.run("teach", *COMMON, "run.out=run").stdout.startswith("already done")
    assert prentice.run("resume", "run").stdout.startswith("already done")
    assert (folder / "run/store/shard-00000.h5").stat().st_mtime_ns == before


def test_the_store_is_the_same_however_it_comes_to_be(prentice, folder):
    prentice.run("teach", *COMMON, "run.out=a")
    prentice.run("teach", *COMMON, "run.out=b", "teach.out=elsewhere")
    for path in (folder / "a/store").glob("*.*"):
        assert path.name == ".lock" or path.read_bytes() == (folder / "elsewhere" / path.name).read_bytes(), path.name
    assert not (folder / "b/store").exists()


def test_the_plan_knows_the_store_before_it_is_there(prentice, folder):
    recipe = folder / "teach.yaml"
    recipe.write_text("recipe: teach\nmodel: {path: model}\ndata: {train: rows.jsonl}\nrun: {device: cpu, out: run}\n")
    plan = json.loads(prentice.run("plan", recipe, "--json").stdout)
    said = json.loads(prentice.run("run", recipe, "--json").stdout)
    assert said["bytes"] <= plan["disk_bytes"] <= 1.2 * said["bytes"] + 32768
    assert plan["trained_tokens"] == said["rows"] and plan["fits"] and plan["seconds"] > 0
    assert plan["memory"]["backward"] == plan["memory"]["step"] == 0
    larger = json.loads(prentice.run("plan", recipe, "teach.values=f32", "--json").stdout)
    assert larger["disk_bytes"] > 1.5 * plan["disk_bytes"]
    assert "valid recipe of kind teach" in prentice.run("validate", recipe).stdout


def key_of(store):
    return json.loads((store / "store.json").read_text())["key"]


def test_a_store_of_something_else_is_refused_by_name(prentice, folder):
    prentice.run("teach", *COMMON, "run.out=run", "teach.out=store")
    whole = {path.name: path.read_bytes() for path in (folder / "store").iterdir() if path.name != ".lock"}
    save_folder(make_model("llama", seed=2), folder / "other")
    (folder / "fewer.jsonl").write_text("\n".join((folder / "rows.jsonl").read_text().splitlines()[:100]) + "\n")
    template = ROOT / "configs/chat/plain.jinja"
    for words, named in [(["model.path=other"], "another teacher"), (["data.train=fewer.jsonl"], "another data set"),
                         ([f"data.template={template}"], "another chat template"), (["teach.top_k=20"], "another top_k"),
                         (["model.quantize=nf4"], "another teacher"), (["model.quantize=nf4-single"], "another teacher"),
                         (["teach.values=f16"], "another type of values"), (["teach.tail=0.01"], "begun with tail 0.001")]:
        error = prentice.run("teach", *COMMON, *words, "run.out=new", "teach.out=store", code=4).stderr
        assert named in error, error
        shutil.rmtree(folder / "new")
    assert whole == {path.name: path.read_bytes() for path in (folder / "store").iterdir() if path.name != ".lock"}
    (folder / "thesis").mkdir()
    (folder / "thesis/thesis.txt").write_text("text")
    assert "thesis.txt" in prentice.run("teach", *COMMON, "run.out=new", "teach.out=thesis", code=2).stderr


def test_the_key_depends_on_what_a_tokenizer_does_and_not_on_where_it_lies(prentice, folder):
    save_folder(make_model("llama", seed=2), folder / "other")
    (folder / "other/tokenizer_config.json").write_text(
        json.dumps(json.loads((folder / "other/tokenizer_config.json").read_text()), indent=7))
    prentice.run("teach", *COMMON, "run.out=a", "data.limit=20")
    prentice.run("teach", *COMMON, "run.out=b", "data.limit=20", "model.path=other")
    a, b = key_of(folder / "a/store"), key_of(folder / "b/store")
    assert a["teacher"] != b["teacher"]
    for same in ("tokenizer", "chat_template", "data", "vocabulary"):
        assert a[same] == b[same], same
    tokenizer = json.loads((folder / "other/tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    first, second = sorted(words, key=words.get)[-2:]
    words[first], words[second] = words[second], words[first]
    (folder / "other/tokenizer.json").write_text(json.dumps(tokenizer))
    prentice.run("teach", *COMMON, "run.out=c", "data.limit=20", "model.path=other")
    assert key_of(folder / "c/store")["tokenizer"] != b["tokenizer"]


def test_inspect_finds_a_flipped_bit_and_names_the_file(prentice, folder):
    prentice.run("teach", *COMMON, "run.out=run", "data.limit=200")
    shown = json.loads(prentice.run("inspect", "run/store", "--json").stdout)
    assert shown["kind"] == "store" and shown["metadata"]["finished"] and shown["metadata"]["verified"]
    assert 0 < shown["metadata"]["coverage"] <= 1
    manifest = folder / "run/store/manifest.jsonl"
    lines = manifest.read_text()
    hashes = [match.start(1) for match in re.finditer(r'sha256": ?"([0-9a-f]{64})', lines)]
    assert len(hashes) >= 3  # of a commit, of the file, of the commits
    for start in hashes:
        other = "0" if lines[start + 40] != "0" else "1"
        manifest.write_text(lines[: start + 40] + other + lines[start + 41:])
        assert prentice.run("inspect", "run/store", code=4).stderr
    manifest.write_text(lines)
    shard = folder / "run/store/shard-00000.h5"
    whole = bytearray(shard.read_bytes())
    whole[len(whole) // 2] ^= 4
    shard.write_bytes(whole)
    error = prentice.run("inspect", "run/store", code=4).stderr
    assert "shard-00000.h5" in error and "SHA-256" in error
    trusted = prentice.run("inspect", "run/store", "--trust-store", "--json", code=None)
    assert trusted.returncode in (0, 4) and "SHA-256" not in trusted.stderr
    whole = bytearray(shard.read_bytes())
    for start in range(2048, len(whole), 64):  # every chunk is hit
        whole[start] ^= 4
    shard.write_bytes(whole)
    error = prentice.run("distill", "distill.teacher=run/store", *COMMON, "data.limit=200", "run.out=taught", "--trust-store", code=4).stderr
    assert "run/store/shard-00000.h5" in error and "run `prentice teach` again" in error and error.count("shard-00000.h5") == 1, error


@pytest.mark.parametrize("words, message", [
    (["data.eval=rows.jsonl"], "data.eval"), (["data.eval_split=0.1"], "data.eval_split"), (["data.shuffle=false"], "data.shuffle"),
    (["optim.lr=1"], "optim"), (["teach.topk=5"], "did you mean top_k"), (["teach.values=q4"], "q8, f16 or f32"),
    (["teach.top_k=9999"], "command line: teach.top_k: expected 1 to 1536, got 9999"), (["teach.tail=1"], "0 to 0.999"), (["teach.sample={temperature: 0.7}"], "n is missing"),
    (["teach.sample.n=2", "teach.top_k=10"], "teach.top_k"), (["teach.sample.m=2"], "unknown key"),
    (["teach.sample={n: 2, agree: 3}"], "3 of 2 answers"), (["teach.sample={n: 2, temperature: 0}"], "temperature 0"),
])
def test_what_has_no_effect_or_no_sense_is_refused(words, message, prentice, folder):
    error = prentice.run("teach", *COMMON, *words, "run.out=run", code=2).stderr
    assert message in error, error
    assert not (folder / "run").exists()
    (folder / "teach.yaml").write_text("recipe: teach\nmodel: {path: model}\ndata: {train: rows.jsonl}\n")
    assert message in prentice.run("validate", "teach.yaml", *words, code=2).stderr


def test_the_shipped_recipes_run_on_a_tiny_model(prentice, folder):
    tiny = ["model.path=model", "data.limit=10", "run.device=cpu"]
    prentice.run("run", ROOT / "recipes/tasks/teach.yaml", *tiny, "run.out=taught")
    assert (folder / "taught/store/store.json").is_file()
    said = prentice.run("run", ROOT / "recipes/tasks/answers.yaml", *tiny, "run.out=answered",
                        "teach.sample={n: 2, temperature: 2, max_new_tokens: 8, json: true}", code=3).stderr
    assert "no answer of 20 passes" in said and "cut off" in said  # a model without weights that mean anything


def sampled(run):
    return read_rows(run / "sampled.jsonl")[1:]


SAMPLE = ["data.limit=12", "teach.sample.n=3", "teach.sample.max_new_tokens=40"]


@pytest.fixture
def talker(folder):
    """A model that ends its answers: the end token has about 7 % everywhere."""
    model = make_talker(1, 0.7)
    save_folder(model, folder / "model")
    return folder


def test_sampled_answers_are_rows_to_train_on_and_every_answer_is_accounted_for(prentice, talker):
    said = json.loads(prentice.run("teach", *COMMON, *SAMPLE, "run.out=run", "--json").stdout)
    assert said["prompts"] == 12 and said["sampled"] == 36 == said["kept"] + sum(said["dropped"].values())
    rows = read_rows(talker / "run/answers.jsonl")
    assert len(rows) == said["kept"] > 0
    asked = [row["messages"][:1] for row in read_rows(talker / "rows.jsonl")[:12]]
    for row in rows:
        assert row["messages"][:-1] in asked and row["messages"][-1]["role"] == "assistant"
    assert len({json.dumps(row) for row in rows}) == len(rows)
    assert prentice.run("teach", *COMMON, *SAMPLE, "run.out=run").stdout.startswith("already done")
    shown = json.loads(prentice.run("inspect", "run", "--json").stdout)
    assert shown["metadata"]["run"]["results"]["kept"] == said["kept"]


def test_a_pipeline_trains_on_the_answers_that_it_samples(prentice, talker):
    """Planned as far as it goes before they are there."""
    (talker / "ask.yaml").write_text("recipe: teach\nmodel: {path: model}\ndata: {train: rows.jsonl, limit: 12}\n"
                                     "teach: {sample: {n: 3, max_new_tokens: 40}}\n")
    (talker / "tune.yaml").write_text("recipe: sft\nmodel: {path: model}\ndata: {train: out/ask/answers.jsonl, eval_split: 0}\n"
                                      "train: {steps: 2}\nexport: {verify: false}\n")
    (talker / "both.yaml").write_text("recipe: pipeline\nrun: {out: out, device: cpu}\npipeline: {steps: [ask.yaml, tune.yaml]}\n")
    prentice.run("validate", "both.yaml")
    planned = [step["plan"] is not None for step in json.loads(prentice.run("plan", "both.yaml", "--json").stdout)["steps"]]
    assert planned == [True, False]
    assert "tune.yaml\nits rows are written by an earlier step: planned once they are there" in prentice.run("plan", "both.yaml").stdout
    prentice.run("run", "both.yaml")
    assert (talker / "out/tune/adapter/adapter_model.safetensors").is_file()
    assert json.loads(prentice.run("plan", "both.yaml", "--json").stdout)["steps"][1]["plan"]["steps"] == 2


def test_answers_are_the_same_again_and_a_stopped_run_goes_on(prentice, talker):
    prentice.run("teach", *COMMON, *SAMPLE, "run.out=whole")
    prentice.run("teach", *COMMON, *SAMPLE, "run.out=again")
    wanted = (talker / "whole/answers.jsonl").read_bytes()
    assert (talker / "again/answers.jsonl").read_bytes() == wanted
    assert (talker / "again/sampled.jsonl").read_bytes() == (talker / "whole/sampled.jsonl").read_bytes()
    run = talker / "again"  # as a kill leaves it: no end, and a torn line
    lines = (run / "sampled.jsonl").read_bytes().splitlines(keepends=True)
    (run / "sampled.jsonl").write_bytes(b"".join(lines[:5]) + lines[5][:20])
    (run / "answers.jsonl").unlink()
    described = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**described, "status": "running"}))
    prentice.run("resume", "again")
    assert (run / "answers.jsonl").read_bytes() == wanted
    assert (run / "sampled.jsonl").read_bytes() == (talker / "whole/sampled.jsonl").read_bytes()
    prentice.run("teach", *COMMON, *SAMPLE, "run.out=other", "run.seed=18")
    assert (talker / "other/answers.jsonl").read_bytes() != wanted
    (run / "run.json").write_text(json.dumps({**described, "status": "running"}))  # goes on with another run's answers
    (run / "sampled.jsonl").write_bytes((talker / "other/sampled.jsonl").read_bytes())
    assert "of another teacher, data, tokenizer or template" in prentice.run("resume", "again", code=4).stderr


def test_each_filter_keeps_what_it_says(prentice, talker):
    prentice.run("teach", *COMMON, *SAMPLE, "run.out=all")
    ended = [answer for prompt in sampled(talker / "all") for answer in prompt if answer["ended"]]
    long = sorted(answer["tokens"] for answer in ended)[len(ended) // 2]
    likely = sorted(answer["log_prob"] / (answer["tokens"] + 1) for answer in ended)[len(ended) // 2]
    for name, key, value, wanted in [
        ("long", "min_tokens", long, lambda a: a["tokens"] >= long),
        ("likely", "likelihood", math.exp(likely - 1e-6), lambda a: a["log_prob"] / (a["tokens"] + 1) >= likely - 1e-6),
        ("match", "match", "[a-zA-Z ]+", lambda a: a["text"].strip() and all(c.isascii() and (c.isalpha() or c == " ")
                                                                            for c in a["text"])),
    ]:
        result = prentice.run("teach", *COMMON, *SAMPLE, f"teach.sample.{key}={value}", f"run.out={name}", "--json", code=None)
        texts = {answer["text"] for answer in ended if answer["text"].strip() and wanted(answer)}
        if not texts:
            assert result.returncode == 3
            continue
        assert result.returncode == 0, result.stderr
        found = {row["messages"][-1]["content"] for row in read_rows(talker / name / "answers.jsonl")}
        assert found == texts
