"""`prentice dpo` and its kin against TRL's trainers: same start, rows and order; and the first step, which every start must give."""

import json
import math
import random

import peft
import pytest
import torch
from conftest import ROOT, read_metrics, write_rows
from tiny_models import make_model, save_folder, start_adapter
from transformers import PreTrainedTokenizerFast

STEPS, BATCH, LR = 10, 4, 5e-3
TICKETS = ROOT / "data/tickets/train.jsonl"


def pairs(count, chat):
    """Tickets with their own answer and another's."""
    rows = [json.loads(line)["messages"] for line in TICKETS.read_text().splitlines()[: 4 * count]]
    answers = sorted({row[1]["content"] for row in rows})
    rng = random.Random(3)
    made = []
    for row in rows[:count]:
        other = rng.choice([answer for answer in answers if answer != row[1]["content"]])
        if chat:
            made.append({"prompt": row[:1], "chosen": row[1:2], "rejected": [{"role": "assistant", "content": other}]})
        else:
            made.append({"prompt": row[0]["content"], "chosen": " " + row[1]["content"], "rejected": f" {other}, or so"})
    return made


def labelled(count, chat):
    """The answers of pairs() one by one: good and bad ones mixed, two in three good."""
    return [{"prompt": row["prompt"], "completion": row["rejected" if i % 3 == 1 else "chosen"], "label": i % 3 != 1}
            for i, row in enumerate(pairs(count, chat))]


def losses_in_order(trainer, config, model, tokenizer, rows, out, **settings):
    """The losses of one of TRL's trainers, in file order."""
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    losses = []

    class InOrder(trainer):
        def _get_train_sampler(self, *_):
            return SequentialSampler(self.train_dataset)

        def compute_loss(self, *words, **options):
            found = super().compute_loss(*words, **options)
            losses.append((found[0] if isinstance(found, tuple) else found).item())
            return found

    arguments = config(
        output_dir=str(out), per_device_train_batch_size=BATCH, max_steps=STEPS, learning_rate=LR, lr_scheduler_type="constant",
        warmup_steps=0, weight_decay=0.0, max_grad_norm=1.0, optim="adamw_torch", max_length=512, report_to=[],
        save_strategy="no", disable_tqdm=True, gradient_checkpointing=False, bf16=False, use_cpu=True, seed=1, disable_dropout=True,
        **settings)
    InOrder(model=model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer).train()
    return losses


def orpo_of_answers():
    """TRL's ORPO but for its NLL, which covers the prompt too: here the trained tokens alone, as ours and as the paper's text."""
    from trl.experimental.orpo import ORPOTrainer

    class OfAnswers(ORPOTrainer):
        def concatenated_forward(self, model, batch):
            chosen, rejected, chosen_logits, *rest = super().concatenated_forward(model, batch)
            labels = self.concatenated_inputs(batch, padding_value=self.padding_value)["concatenated_labels"][: len(chosen), 1:]
            nll = torch.nn.functional.cross_entropy(chosen_logits.flatten(0, 1), labels.flatten())
            return chosen, rejected, chosen_logits, rest[0], nll
    return OfAnswers


def train_reference(model, tokenizer, rows, out, loss, beta):
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
    from trl.experimental.cpo import CPOConfig, CPOTrainer
    from trl.experimental.orpo import ORPOConfig
    trainer, config, settings = {
        "kto": (KTOTrainer, KTOConfig, {"loss_type": "kto"}),
        "cpo": (CPOTrainer, CPOConfig, {"loss_type": "sigmoid", "cpo_alpha": 1.0}),
        "simpo": (CPOTrainer, CPOConfig, {"loss_type": "simpo", "cpo_alpha": 0.0, "simpo_gamma": 1.0}),
        "orpo": (orpo_of_answers(), ORPOConfig, {}),
        "robust": (DPOTrainer, DPOConfig, {"loss_type": ["robust"], "label_smoothing": 0.1}),
    }.get(loss, (DPOTrainer, DPOConfig, {"loss_type": [loss]}))
    return losses_in_order(trainer, config, model, tokenizer, rows, out, beta=beta, **settings)


@pytest.mark.parametrize("loss, chat, settings", [
    ("sigmoid", True, {}),
    ("sigmoid", False, {"train.micro_tokens": 96, "train.recompute": "block"}),
    ("ipo", True, {"train.micro_tokens": 64}),
    ("hinge", False, {"data.packing": "false"}),
    ("kto", True, {}),
    ("kto", False, {"train.micro_tokens": 64}),
    ("robust", True, {}),
    ("cpo", False, {"train.micro_tokens": 96}),
    ("simpo", False, {}),
    ("orpo", False, {"train.micro_tokens": 64}),
], ids=["sigmoid", "raw_micros_recomputed", "ipo_micros", "hinge_unpacked", "kto", "kto_raw_micros", "robust", "cpo_micros", "simpo",
        "orpo_micros"])
def test_ten_steps_equal_trl(loss, chat, settings, prentice, tmp_path):
    folder = save_folder(make_model("llama"), tmp_path / "model")
    start_adapter(make_model("llama"), tmp_path / "start")
    rows = (labelled if loss == "kto" else pairs)(STEPS * BATCH, chat)
    prentice.run(
        "dpo", f"model.path={folder}", f"adapter.init={tmp_path / 'start'}",
        f"data.train={write_rows(tmp_path / 'rows.jsonl', rows)}", "data.shuffle=false", "data.eval_split=0",
        f"train.batch={BATCH}", "train.epochs=1", f"optim.lr={LR}", "optim.schedule=constant", "optim.warmup=0",
        f"preference.loss={loss}", "preference.beta=0.3", "run.out=run", "run.precision=f32", "run.device=cpu",
        "run.threads=2", "run.log_every=1", "export.verify=false", *(f"{key}={value}" for key, value in settings.items()))
    # Not AutoTokenizer: it takes the class that goes with the model's family, which splits text by another pattern.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tuned = peft.PeftModel.from_pretrained(make_model("llama"), tmp_path / "start", is_trainable=True)
    expected = train_reference(tuned, tokenizer, rows, tmp_path / "trl", loss, 0.3)
    ours = read_metrics(tmp_path / "run")
    assert len(ours) == len(expected) == STEPS
    for (step, found), theirs in zip(sorted(ours.items()), expected):
        assert abs(found - theirs) < 1e-4 * max(1, abs(theirs)), f"step {step}: {found} against {theirs}"
    assert max(ours.values()) - min(ours.values()) > 1e-2  # it has learned: equal losses say something


STARTS = {
    "fresh": [],
    "trained": ["adapter.init=start"],
    "pissa": ["adapter.init=pissa", "adapter.rank=4"],
    "dora": ["adapter.kind=dora"],
    "dropout": ["adapter.dropout=0.1"],
    "precomputed": ["adapter.init=start", "preference.reference=precomputed"],
    "full": ["adapter.kind=full", "preference.reference=precomputed"],
    "itself": ["preference.reference=model"],
    "whole_modules": ["adapter.modules_to_save=[embed_tokens, lm_head]"],
}


@pytest.mark.parametrize("name", STARTS)
def test_the_first_step_has_a_loss_of_ln_2_and_no_margin(name, prentice, tmp_path):
    save_folder(make_model("llama"), tmp_path / "model")
    start_adapter(make_model("llama"), tmp_path / "start")
    write_rows(tmp_path / "rows.jsonl", pairs(24, True))
    prentice.run("dpo", "model.path=model", "data.train=rows.jsonl", "data.eval_split=8", "train.batch=8", "train.epochs=3",
                 "optim.lr=1e-3", "optim.warmup=0", "run.out=run", "run.precision=f32", "run.device=cpu", "run.log_every=1",
                 "export.verify=false", *STARTS[name])
    losses, margins = read_metrics(tmp_path / "run"), read_metrics(tmp_path / "run", "margin")
    accuracies, held_out = read_metrics(tmp_path / "run", "accuracy"), read_metrics(tmp_path / "run", "eval.loss")
    tolerance = 1e-12 if name not in ("dora", "dropout") else 1e-6
    if name != "dropout":
        assert losses[1] == pytest.approx(math.log(2), abs=tolerance)
        assert margins[1] == pytest.approx(0, abs=tolerance * 10)
    assert held_out[0] == pytest.approx(math.log(2), abs=max(tolerance, 1e-6 if name == "dropout" else 0))
    assert losses[max(losses)] < losses[1]
    assert accuracies[max(accuracies)] > 0.5
    assert set(read_metrics(tmp_path / "run", "kl")) == set(losses)
