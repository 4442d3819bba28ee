"""`recipe: teach` against transformers: the entries and tails of a store are those of the teacher's softmax, for the rows
that the data has, in a vocabulary that the head pads."""

import hashlib
import json
import struct

import numpy as np
import pytest
import torch
from conftest import ROOT
from test_teacher_store import contents, decode
from tiny_models import SHAPE, VOCABULARY, save_folder
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

PADDED = VOCABULARY + 64


def padded_model():
    """The head has rows that no token has, and they would often be the likeliest."""
    torch.manual_seed(3)
    model = LlamaForCausalLM(LlamaConfig(**{**SHAPE, "vocab_size": PADDED})).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
        model.lm_head.weight[VOCABULARY:] *= 4
    return model


def exact_rows(model, folder, count):
    """f64 log-probabilities [rows, V] of every trained token, in file order; the content of each row."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    vocabulary = len(tokenizer)
    rows, content = [], []
    for line in (ROOT / "data/tickets/train.jsonl").read_text().splitlines()[:count]:
        messages = json.loads(line)["messages"]
        prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, tokenize=False)
        whole = tokenizer.apply_chat_template(messages, tokenize=False)
        ids = tokenizer(whole, add_special_tokens=False).input_ids
        first = len(tokenizer(prompt, add_special_tokens=False).input_ids)
        answer = tokenizer(whole[len(prompt):], add_special_tokens=False).input_ids
        end = max(i for i, token in enumerate(ids) if token == tokenizer.eos_token_id) + 1
        assert ids[first:] == answer
        with torch.no_grad():
            logits = model.double()(torch.tensor([ids])).logits[0, first - 1 : end - 1, :vocabulary]
        rows.append(torch.log_softmax(logits, -1))
        labels = [ids[t + 1] if first <= t + 1 < end else -100 for t in range(len(ids) - 1)] + [-100]
        packed = struct.pack(f"<{2 * len(ids)}i", *ids, *labels)
        content.append(int.from_bytes(hashlib.sha256(packed).digest()[:8], "little"))
    return torch.cat(rows).numpy(), content


@pytest.mark.parametrize("values, top_k", [("q8", 50), ("f32", 50), ("f32", VOCABULARY)])
def test_a_store_holds_the_softmax_of_transformers(prentice, tmp_path, values, top_k):
    model = padded_model()
    save_folder(model, tmp_path / "model")
    prentice.run("teach", "model.path=model", f"data.train={ROOT / 'data/tickets/train.jsonl'}", "data.limit=40",
                 "run.out=run", "run.device=cpu", "run.precision=f32", f"teach.values={values}", f"teach.top_k={top_k}",
                 "teach.tail=0")
    store = tmp_path / "run/store"
    found = decode(store)[0]
    exact, content = exact_rows(model, tmp_path / "model", 40)
    assert contents(store) == content
    assert json.loads((store / "store.json").read_text())["key"]["vocabulary"] == exact.shape[1]
    assert len(found) == len(exact)
    for (ids, log_probs, tail, scale), wanted in zip(found, exact):
        likeliest = np.argsort(-wanted)[: len(ids)]
        assert set(ids) == set(likeliest.tolist())
        assert np.abs(log_probs - wanted[ids]).max() <= (1e-5 if values == "f32" else scale + 1e-5)
        assert tail == pytest.approx(max(0, 1 - np.exp(wanted[ids]).sum()), abs=1e-6)
        if top_k == VOCABULARY:
            assert tail == 0 and len(ids) == exact.shape[1]
