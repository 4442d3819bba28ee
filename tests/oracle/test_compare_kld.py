"""`recipe: compare`: the KL divergence of b from a and the speed of each, beside the metrics that decide. Oracle: both
models in transformers on the same tokens, whole distributions."""

import json

import pytest
import torch
from conftest import write_rows
from tiny_models import TOKENIZER, make_model, save_folder
from transformers import AutoTokenizer

ROWS = [f"Box {number} stands in the {place} and holds {thing}." for number in range(5)
        for place in ("hall", "yard") for thing in ("nails", "a lot of paper")]


def changed(model, amount, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(amount * parameter.std().nan_to_num(0) * torch.randn_like(parameter))
    return model


@pytest.fixture
def folder(tmp_path):
    save_folder(make_model("llama"), tmp_path / "a")
    save_folder(changed(make_model("llama"), 0.6, 5), tmp_path / "b")
    write_rows(tmp_path / "text.jsonl", [{"text": row} for row in ROWS])
    pairs = [{"prompt": row.split(" and ")[0], "completion": " and " + row.split(" and ")[1]} for row in ROWS]
    write_rows(tmp_path / "pairs.jsonl", pairs)
    return tmp_path


def compare(prentice, *words, out="out", code=None):
    said = prentice.run("compare", "compare.a=a", "compare.b=b", "run.device=cpu", "run.precision=f32", f"run.out={out}",
                        "compare.margin=99", *words, code=code)
    return json.loads((prentice.folder / out / "compare.json").read_text()), said


def positions(form):
    """(ids, the positions whose next token is scored) of each row."""
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    for row in ROWS:
        ids = tokenizer(row, add_special_tokens=False).input_ids
        if form == "text":  # without an end token, and nothing predicts the first
            yield ids, range(len(ids) - 1)
        else:
            prompt = tokenizer(row.split(" and ")[0], add_special_tokens=False).input_ids
            assert ids[:len(prompt)] == prompt
            ids = ids + [tokenizer.eos_token_id]
            yield ids, range(len(prompt) - 1, len(ids) - 1)


def kl(a, b, form, vocabulary=None):
    found = []
    for ids, places in positions(form):
        with torch.no_grad():
            p, q = (model(torch.tensor([ids])).logits[0, list(places), :vocabulary].double().log_softmax(-1) for model in (a, b))
        found += (p.exp() * (p - q)).sum(-1).tolist()
    return sum(found) / len(found), len(found)


@pytest.mark.parametrize("form", ["text", "pairs"])
def test_the_divergence_is_that_of_transformers(form, prentice, folder):
    a, b = make_model("llama"), changed(make_model("llama"), 0.6, 5)
    expected, count = kl(a, b, form)
    assert expected > 0.01 and abs(expected - kl(b, a, form)[0]) > 3e-4 * expected  # the wrong way round would show
    found, said = compare(prentice, f"data.eval={form}.jsonl", code=0)
    assert found["kld"]["positions"] == count
    assert found["kld"]["mean"] == pytest.approx(expected, rel=1e-4)
    assert f"KLD of b from a" in said.stdout and f"at {count} labelled positions" in said.stdout
    tokens = sum(len(ids) - 1 if form == "text" else len(ids) for ids, _ in positions(form))
    for side in "ab":
        speed = found["speed"][side]
        assert tokens <= speed["tokens"] <= tokens + len(ROWS)  # the last id of a text is only a label
        assert speed["tokens_per_second"] == pytest.approx(speed["tokens"] / speed["seconds"])
    page = (folder / "out/compare.md").read_text()
    assert "| KLD of b from a |" in page and "| tokens/s |" in page
    assert set(found) >= {"schema", "a", "b", "metrics", "decision", "rows_needed"} and "kld" not in found["metrics"]


def test_heads_of_other_lengths_are_compared_on_what_both_have(prentice, folder):
    """The same tokenizer, and a head that somebody padded."""
    b = changed(make_model("llama"), 0.6, 5)
    b.resize_token_embeddings(b.config.vocab_size + 64, mean_resizing=False)
    with torch.no_grad():
        b.lm_head.weight[-64:] = 0.3
    save_folder(b, folder / "b")
    a = make_model("llama")
    found, _ = compare(prentice, "data.eval=text.jsonl", code=0)
    assert found["kld"]["mean"] == pytest.approx(kl(a, b, "text", a.config.vocab_size)[0], rel=1e-4)


def test_a_file_of_blocks_is_compared_with_the_folder_it_was_made_of(prentice, folder):
    from transformers import AutoModelForCausalLM
    prentice.run("export", "model.path=a", "export.gguf=[Q8_0]", "run.out=made", "run.device=cpu")
    file = folder / "made/gguf/made-Q8_0.gguf"
    quantized = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    expected, _ = kl(make_model("llama"), quantized, "text")
    found, _ = compare(prentice, f"compare.b={file}", "data.eval=text.jsonl", code=0)
    assert found["kld"]["mean"] == pytest.approx(expected, rel=1e-3)


def test_other_vocabularies_are_told_by_name(prentice, folder, shared_data):
    models = [f"compare.{side}={shared_data / 'models' / name}" for side, name in (("a", "stories260K-hf"), ("b", "babyllama105-hf"))]
    (folder / "choose.jsonl").write_text(json.dumps({"prompt": "A cat sat", "completion": " in"}) + "\n")
    found, said = compare(prentice, *models, "data.eval=choose.jsonl", "eval.tasks=[choice]", "eval.choices=[' in', ' on']")
    assert found["kld"] is None and "KLD is not compared: " in said.stderr and "KLD of b" not in said.stdout
    assert any(warning.startswith("KLD is not compared: ") and "babyllama105-hf" in warning for warning in found["warnings"])
    assert found["speed"]["a"]["tokens_per_second"] > 0
