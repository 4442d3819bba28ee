"""The main job end to end: recipes/quickstart.yaml on the CPU, its products read by other tools, and a second run."""

import json
import time

import pytest
import torch
from conftest import ROOT, Prentice
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

TICKETS = [json.loads(line)["messages"] for line in (ROOT / "data/tickets/test.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def run(binary, tmp_path_factory):
    """The run folder of the whole pipeline; the gate on the accuracy after fine-tuning is part of the recipe."""
    folder = tmp_path_factory.mktemp("quickstart")
    program = Prentice(binary, folder)
    program.run("run", ROOT / "recipes/quickstart.yaml", timeout=1500)
    return program, folder / "runs/quickstart"


def choice(run, step):
    return json.loads((run / step / "eval.json").read_text())["tasks"]["choice"]


def test_fine_tuning_teaches_the_routing(run):
    before, after = choice(run[1], "before"), choice(run[1], "after")
    assert before["count"] == after["count"] == len(TICKETS)
    assert before["accuracy"] < 0.3
    assert after["accuracy"] >= 0.9
    assert [e["expected"] for e in after["examples"]] == [turns[1]["content"] for turns in TICKETS]


def test_transformers_reads_the_merged_folder_and_gives_the_same_scores(run):
    merged = run[1] / "merged"
    model = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(merged)
    for turns, example in list(zip(TICKETS, choice(run[1], "after")["examples"]))[:20]:
        prompt = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True, tokenize=False)
        for label, score in example["scores"].items():
            start = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
            ids = tokenizer(prompt + label + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                log_probs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            expected = sum(log_probs[at - 1, ids[at]].item() for at in range(start, len(ids)))
            assert score == pytest.approx(expected, abs=1e-3)


def test_products_are_where_the_screen_says(run):
    for name in ("adapter/adapter_model.safetensors", "merged/model.safetensors", "gguf/quickstart-Q8_0.gguf", "report.html"):
        assert (run[1] / name).is_file(), name


def test_a_second_run_is_already_done(run):
    program, folder = run
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    started = time.monotonic()
    program.run("run", ROOT / "recipes/quickstart.yaml", timeout=120)
    assert time.monotonic() - started < 60
    assert stamps == {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def test_a_changed_step_runs_again_with_what_depends_on_it(run):
    program, folder = run
    base = (folder / "pretrain/merged/model.safetensors").stat().st_mtime_ns
    program.run("run", ROOT / "recipes/quickstart.yaml", "export:export.gguf=[F16]", timeout=300)
    assert (folder / "pretrain/merged/model.safetensors").stat().st_mtime_ns == base
    assert list(folder.glob("export.old-*"))
    assert (folder / "export/gguf/quickstart-F16.gguf").is_file()
