"""Twenty AdamW steps of `prentice sft` against a plain PEFT loop: same adapter start, same rows, same order."""

import json
import math

import peft
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT, read_metrics
from safetensors.torch import load_file
from tiny_models import END, make_model, save_folder, start_adapter
from transformers import PreTrainedTokenizerFast

STEPS, BATCH, LR, WARMUP = 20, 4, 1e-3, 5
TICKETS = ROOT / "data/tickets/train.jsonl"


def encode(tokenizer, messages):
    """Ids and labels of one conversation: the answer and its end token are trained."""
    prompt = tokenizer.apply_chat_template(messages[:1], add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    border = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    assert ids[-1] == END
    return ids, [-100] * border + ids[border:]


def learning_rate(step):
    """The recipe's default: linear warm-up from 0, then cosine to a tenth."""
    if step < WARMUP:
        return LR * step / WARMUP
    share = (step - WARMUP) / (STEPS - WARMUP)
    return LR * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share)))


def train_reference(tuned, rows):
    weights = [p for p in tuned.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=0)
    losses = []
    for step in range(STEPS):
        batch = rows[step * BATCH : (step + 1) * BATCH]
        targets = sum(label != -100 for _, labels in batch for label in labels[1:])
        total = 0.0
        for ids, labels in batch:
            logits = tuned(torch.tensor([ids])).logits[0, :-1]
            loss = F.cross_entropy(logits, torch.tensor(labels[1:]), ignore_index=-100, reduction="sum") / targets
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
    return losses


@pytest.mark.parametrize("name", ["llama", "qwen2"])
@pytest.mark.parametrize("settings", [{}, {"train.micro_tokens": 64}, {"data.packing": "false", "train.recompute": "block"}],
                         ids=["packed", "micros", "unpacked_recomputed"])
def test_twenty_steps_equal_peft(name, settings, prentice, tmp_path):
    model = make_model(name)
    folder = save_folder(model, tmp_path / "model")
    tuned = start_adapter(model, tmp_path / "start")
    data = tmp_path / "rows.jsonl"
    lines = TICKETS.read_text().splitlines()[: STEPS * BATCH]
    data.write_text("\n".join(lines) + "\n")
    # Not AutoTokenizer: it takes the class that goes with the model's family, which splits text by another pattern.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)

    prentice.run(
        "sft", f"model.path={folder}", f"adapter.init={tmp_path / 'start'}",
        f"data.train={data}", "data.shuffle=false", "data.eval_split=0", f"train.batch={BATCH}", "train.epochs=1",
        f"optim.lr={LR}", f"optim.warmup={WARMUP}", "run.out=run", "run.precision=f32", "run.device=cpu", "run.threads=2",
        "run.log_every=1", *(f"{key}={value}" for key, value in settings.items()))

    losses = train_reference(tuned, [encode(tokenizer, json.loads(line)["messages"]) for line in lines])
    ours = read_metrics(tmp_path / "run")
    assert len(ours) == STEPS
    for (step, loss), expected in zip(sorted(ours.items()), losses):
        assert abs(loss - expected) < 1e-6 * abs(expected) + 1e-6, f"step {step}: {loss} against {expected}"
    check_adapter(load_file(tmp_path / "run/adapter/adapter_model.safetensors"), peft.get_peft_model_state_dict(tuned))


def check_adapter(ours, theirs):
    assert set(ours) == set(theirs)
    squared_error = squared_size = 0.0
    for key, expected in theirs.items():
        error, size = (ours[key] - expected).double().norm().item(), expected.double().norm().item()
        assert error < 5e-4 * size, f"{key}: {error / size:.2e}"
        squared_error, squared_size = squared_error + error**2, squared_size + size**2
    assert math.sqrt(squared_error / squared_size) < 1e-5


def test_peft_opens_the_written_adapter_and_gives_the_same_loss(prentice, tmp_path):
    folder = save_folder(make_model("llama"), tmp_path / "model")
    lines = TICKETS.read_text().splitlines()[:8]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    prentice.run("sft", f"model.path={folder}", "data.train=rows.jsonl", "data.eval_split=0", "train.steps=6", "train.batch=4",
                 "optim.lr=1e-2", "optim.warmup=1", "run.out=run", "run.precision=f32")
    prentice.run("eval", "model.path=run", "data.eval=rows.jsonl", "eval.tasks=[loss]", "run.out=score", "run.precision=f32")
    examples = json.loads((tmp_path / "score/eval.json").read_text())["tasks"]["loss"]["examples"]

    base = make_model("llama")
    tuned = peft.PeftModel.from_pretrained(base, tmp_path / "run/adapter")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    for line, example in zip(lines, examples, strict=True):
        ids, labels = encode(tokenizer, json.loads(line)["messages"])
        with torch.no_grad():
            logits = tuned(torch.tensor([ids])).logits[0, :-1]
        expected = F.cross_entropy(logits, torch.tensor(labels[1:]), ignore_index=-100).item()
        assert example["loss"] == pytest.approx(expected, rel=1e-5)
