"""`prentice reward` against transformers and TRL's RewardTrainer: same start, rows and order give the same losses, and what
is written scores the same there, in padded batches too."""

import json
import shutil

import peft
import pytest
import torch
from conftest import read_metrics, write_rows
from safetensors import safe_open
from tiny_models import END, TOKENIZER, make_model, save_folder, start_adapter
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast
from test_preference import BATCH, LR, STEPS, losses_in_order, pairs

FAMILIES = ["llama", "qwen2_tied_window", "gemma2", "phi3", "stablelm_parallel_head_norms"]
PLAIN = ["run.precision=f32", "run.device=cpu", "run.threads=2", "run.log_every=1"]


def scorer(folder):
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32,
                                                              attn_implementation="eager").eval()


def save_language_model(name, folder):
    """The language model, and the same with a score head."""
    save_folder(make_model(name), folder)
    torch.manual_seed(11)
    model = scorer(folder)
    with torch.no_grad():
        model.score.weight.normal_(std=0.2)
    return model


def padded_scores(model, tokenizer, texts, pad):
    """One batch, padded on the right, read where config.pad_token_id says."""
    model.config.get_text_config().pad_token_id = pad
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad)
    batch = tokenizer(texts, padding=True, padding_side="right", add_special_tokens=False, return_tensors="pt")
    batch.pop("token_type_ids", None)
    assert (batch["attention_mask"] == 0).any()
    with torch.no_grad():
        return model(**batch).logits[:, 0].double()


def margins_there(model, tokenizer, rows, pad):
    render = lambda row, side: tokenizer.apply_chat_template(row["prompt"] + row[side], tokenize=False)
    sides = [padded_scores(model, tokenizer, [render(row, side) for row in rows], pad) for side in ("chosen", "rejected")]
    return (sides[0] - sides[1]).tolist()


def margins_here(prentice, address, rows):
    prentice.run("eval", f"model.path={address}", f"data.eval={rows}", "eval.tasks=[preference]", "run.out=scored", "--fresh", *PLAIN[:3])
    found = json.loads((prentice.folder / "scored/eval.json").read_text())["tasks"]["preference"]
    assert found["accuracy"] == sum(example["margin"] > 0 for example in found["examples"]) / found["count"]
    return [example["margin"] for example in found["examples"]]


def train_reference(model, tokenizer, rows, out):
    """The losses of TRL's trainer, in file order."""
    from trl import RewardConfig, RewardTrainer
    return losses_in_order(RewardTrainer, RewardConfig, model, tokenizer, rows, out)


def assert_same_losses(run, expected):
    ours = read_metrics(run)
    assert len(ours) == len(expected) == STEPS
    for (step, found), theirs in zip(sorted(ours.items()), expected):
        assert abs(found - theirs) < 1e-4 * max(1, abs(theirs)), f"step {step}: {found} against {theirs}"
    assert max(ours.values()) - min(ours.values()) > 1e-2  # it has learned: equal losses say something


def train(prentice, rows, *words):
    prentice.run("reward", "model.path=model", f"data.train={rows}", "data.shuffle=false", "data.eval_split=0",
                 f"train.batch={BATCH}", "train.epochs=1", f"optim.lr={LR}", "optim.schedule=constant", "optim.warmup=0",
                 "run.out=run", "export.merged=f32", *PLAIN, *words)


@pytest.mark.parametrize("name", FAMILIES)
def test_ten_steps_equal_trl_and_the_folders_score_the_same(name, prentice, tmp_path):
    tuned = start_adapter(save_language_model(name, tmp_path / "model"), tmp_path / "start", "SEQ_CLS")
    rows = pairs(STEPS * BATCH, True)
    train(prentice, write_rows(tmp_path / "rows.jsonl", rows), "adapter.init=start", "train.micro_tokens=96")
    # What the chosen answers end with is no padding, and the folder says so.
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run/merged", attn_implementation="eager").eval()
    pad = merged.config.pad_token_id
    assert pad != END and merged.config.num_labels == 1 and type(merged).__name__.endswith("ForSequenceClassification")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path / "run/merged")
    assert tokenizer.pad_token_id == pad
    assert_same_losses(tmp_path / "run", train_reference(tuned, tokenizer, rows, tmp_path / "trl"))

    held = write_rows(tmp_path / "held.jsonl", pairs(12, True))
    here = margins_here(prentice, "run", held)
    merged_there = margins_there(merged, tokenizer, pairs(12, True), pad)
    adapted = peft.PeftModel.from_pretrained(scorer(tmp_path / "model"), tmp_path / "run/adapter").eval()
    adapted_there = margins_there(adapted, tokenizer, pairs(12, True), pad)
    for mine, whole, adapter in zip(here, merged_there, adapted_there):
        assert mine == pytest.approx(whole, abs=2e-5) == pytest.approx(adapter, abs=2e-5)
    assert margins_here(prentice, "run/merged", held) == pytest.approx(here, abs=2e-5)


def test_a_reward_model_of_transformers_trains_on_whole(prentice, tmp_path):
    """Its padding token is the end token: transformers reads the score before it, and so does Prentice."""
    model = save_language_model("llama", tmp_path / "language")
    shutil.copytree(TOKENIZER, tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path / "model")
    rows = pairs(STEPS * BATCH, True)
    before = margins_here(prentice, "model", write_rows(tmp_path / "held.jsonl", rows[:12]))
    assert before == pytest.approx(margins_there(model, tokenizer, rows[:12], END), abs=2e-5)
    train(prentice, write_rows(tmp_path / "rows.jsonl", rows), "adapter.kind=full", "data.packing=false")
    assert_same_losses(tmp_path / "run", train_reference(model, tokenizer, rows, tmp_path / "trl"))


def test_a_fresh_head_and_adapter(prentice, tmp_path):
    """What PEFT's own task SEQ_CLS writes, and a head drawn as every new weight is."""
    save_folder(make_model("llama"), tmp_path / "model")
    rows = write_rows(tmp_path / "rows.jsonl", pairs(64, False))  # worse answers end in two words of their own
    prentice.run("reward", "model.path=model", f"data.train={rows}", "data.eval_split=16", "train.batch=8", "train.epochs=8",
                 "optim.lr=2e-3", "run.out=run", *PLAIN)
    config = json.loads((tmp_path / "run/adapter/adapter_config.json").read_text())
    assert config["task_type"] == "SEQ_CLS" and config["modules_to_save"] == ["score"]
    with safe_open(tmp_path / "run/adapter/adapter_model.safetensors", "pt") as file:
        assert list(file.get_tensor("base_model.model.score.weight").shape) == [1, 64]
    with safe_open(tmp_path / "run/merged/model.safetensors", "pt") as file:  # bf16 by itself
        names = set(file.keys())
        assert file.get_tensor("score.weight").dtype == torch.bfloat16
    assert "lm_head.weight" not in names
    accuracies = read_metrics(tmp_path / "run", "eval.accuracy")
    assert accuracies[max(accuracies)] > 0.9
    assert {"margin", "accuracy", "rewards.chosen", "rewards.rejected"} <= set(
        json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[1]))
    page = (tmp_path / "run/serve/serve.md").read_text()
    assert "AutoModelForSequenceClassification" in page and "vllm" not in page


def test_the_serve_pages_own_lines_give_the_scores(prentice, tmp_path):
    """The commands that a person copies out of serve.md."""
    save_folder(make_model("llama"), tmp_path / "model")
    train(prentice, write_rows(tmp_path / "rows.jsonl", pairs(STEPS * BATCH, True)))
    code = (tmp_path / "run/serve/serve.md").read_text().split("```python\n")[1].split("```")[0]
    row = pairs(1, True)[0]
    conversations = [row["prompt"] + row[side] for side in ("chosen", "rejected")]
    # Not AutoTokenizer: for this tokenizer it takes another class (test_preference.py).
    code = code.replace('"merged"', repr(str(tmp_path / "run/merged"))).replace("AutoTokenizer", "PreTrainedTokenizerFast")
    lines = [f"conversations = {conversations!r}" if line.startswith("conversations = ") else line for line in code.splitlines()]
    found = {}
    exec("\n".join(lines), found)
    here = margins_here(prentice, "run", write_rows(tmp_path / "one.jsonl", [row]))
    assert (found["scores"][0] - found["scores"][1]).item() == pytest.approx(here[0], abs=2e-5)


REFUSED = {
    "sft": ["sft", "data.train=rows.jsonl"],
    "dpo": ["dpo", "data.train=rows.jsonl"],
    "distill": ["distill", "distill.teacher=language", "data.train=rows.jsonl"],
    "teach": ["teach", "data.train=rows.jsonl"],
    "generate": ["generate", "generate.prompt=hello"],
    "loss": ["eval", "data.eval=rows.jsonl"],
    "gguf": ["export", "export.gguf=[F16]"],
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_needs_words_refuses_a_reward_model(kind, prentice, tmp_path):
    model = save_language_model("llama", tmp_path / "language")
    shutil.copytree(TOKENIZER, tmp_path / "scores")
    model.save_pretrained(tmp_path / "scores")
    write_rows(tmp_path / "rows.jsonl", pairs(4, True) if kind == "dpo" else [{"prompt": "a", "completion": "b"}])
    result = prentice.run(*REFUSED[kind], "model.path=scores", code=None)
    assert result.returncode in (2, 4)
    wanted = "its head gives scores and no words" if kind == "gguf" else "a reward model, which gives one score and no words"
    assert result.stderr.count(wanted) == 1, result.stderr


@pytest.mark.parametrize("kind, key", [("dpo", "preference.reference"), ("distill", "distill.teacher")])
def test_a_reward_model_has_no_words_to_compare_with(kind, key, prentice, tmp_path):
    model = save_language_model("llama", tmp_path / "language")
    shutil.copytree(TOKENIZER, tmp_path / "scores")
    model.save_pretrained(tmp_path / "scores")
    write_rows(tmp_path / "rows.jsonl", pairs(4, True) if kind == "dpo" else [{"prompt": "a", "completion": "b"}])
    result = prentice.run(kind, "model.path=language", f"{key}=scores", "data.train=rows.jsonl", code=2)
    assert result.stderr.count("is a reward model, which gives one score and no words") == 1 and key in result.stderr, result.stderr


def test_a_language_model_is_no_judge(prentice, tmp_path):
    save_folder(make_model("llama"), tmp_path / "model")
    write_rows(tmp_path / "rows.jsonl", pairs(4, True))
    result = prentice.run("eval", "model.path=model", "data.eval=rows.jsonl", "eval.tasks=[preference]", code=2)
    assert "preference asks a reward model" in result.stderr
