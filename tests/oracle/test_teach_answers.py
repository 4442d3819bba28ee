"""`prentice teach` with teach.sample against transformers: every answer has the likelihood it is said to have, after its own
prompt alone, and every one is drawn anew."""

import json

import pytest
import torch
from conftest import ROOT, read_rows, write_rows
from tiny_models import END, make_talker, save_folder
from transformers import PreTrainedTokenizerFast

TICKETS = ROOT / "data/tickets/train.jsonl"
SAMPLE = ["model.path=model", "run.device=cpu", "run.precision=f32", "teach.sample.n=4", "teach.sample.max_new_tokens=24",
          "teach.sample.temperature=1.3"]


@pytest.fixture
def talker(tmp_path):
    """A model whose answers depend on what stands before them, and end: the end token has some 7 % everywhere."""
    model = make_talker(3, 0.8)
    save_folder(model, tmp_path / "model")
    return tmp_path, model


def sampled(run):
    return read_rows(run / "sampled.jsonl")[1:]


def likelihood_there(model, prompt, answer):
    """Sum of log-probabilities of the answer's tokens and the end after them."""
    ids = torch.tensor([prompt + answer + [END]])
    with torch.no_grad():
        log_probs = model(ids).logits[0].double().log_softmax(-1)
    return sum(log_probs[len(prompt) + i - 1, ids[0, len(prompt) + i]].item() for i in range(len(answer) + 1))


def test_every_answer_has_its_likelihood_after_its_own_prompt(prentice, talker):
    folder, model = talker
    rows = [json.loads(line)["messages"] for line in TICKETS.read_text().splitlines()[:120]]
    write_rows(folder / "rows.jsonl", [{"messages": row} for row in rows])
    prentice.run("teach", *SAMPLE, "data.train=rows.jsonl", "run.out=run")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "model")
    differences = {}
    for row, answers in zip(rows, sampled(folder / "run")):
        prompt = tokenizer.apply_chat_template(row[:1], add_generation_prompt=True, tokenize=True, return_dict=False)
        for place, answer in enumerate(answers):
            ids = tokenizer.encode(answer["text"], add_special_tokens=False)
            if answer["ended"] and len(ids) == answer["tokens"]:  # else the text is cut from other tokens than it is read as
                differences.setdefault(place, []).append(abs(likelihood_there(model, prompt, ids) - answer["log_prob"]))
    for place in range(4):  # the others are other tokens of the same number
        found = differences[place]
        assert sum(difference < 1e-4 for difference in found) >= max(6, len(found) / 3), (place, sorted(found))


def test_the_answers_of_a_prompt_differ_and_so_do_those_of_the_same_prompt_again(prentice, talker):
    folder, _ = talker
    (folder / "rows.jsonl").write_text(TICKETS.read_text().splitlines()[0] + "\n")
    (folder / "again.jsonl").write_text((TICKETS.read_text().splitlines()[0] + "\n") * 6)
    prentice.run("teach", *SAMPLE, "data.train=again.jsonl", "run.out=run")
    texts = [[answer["text"] for answer in answers] for answers in sampled(folder / "run")]
    assert len(texts) == 6 and all(len(set(of_prompt)) > 1 for of_prompt in texts)
    assert len({tuple(of_prompt) for of_prompt in texts}) == 6
    prentice.run("teach", *SAMPLE, "data.train=rows.jsonl", "run.out=one")
    assert sampled(folder / "one")[0] == sampled(folder / "run")[0]  # a row's answers are its own, whatever follows it
