"""Runs of other kinds that are killed and continued give the bytes of the one that was never stopped. Of preferences: the
reference is the model as it was at the first step, not as it was when the program started again. Of reward models: a new
score head is not drawn twice. Of distillations: learned projections and what the student samples are a function of the
recipe and of the step."""

import json
import random
import shutil
import time

import pytest
import torch
from conftest import ROOT, Prentice, full
from test_resume import assert_same_run, kill_and_continue, tree
from tiny_models import SHAPE, make_model, save_folder, start_adapter
from transformers import LlamaConfig, LlamaForCausalLM

KILLS = 10 if full() else 2
TICKETS = ROOT / "data/tickets/train.jsonl"


def make_preferences(folder):
    save_folder(make_model("llama"), folder / "model")
    start_adapter(make_model("llama"), folder / "start")
    rows = [json.loads(line)["messages"] for line in TICKETS.read_text().splitlines()[:96]]
    rng = random.Random(1)
    with open(folder / "rows.jsonl", "w") as out:
        for question, answer in rows:
            other = {"role": "assistant", "content": rng.choice(rows)[1]["content"] + ", or so"}
            out.write(json.dumps({"prompt": [question], "chosen": [answer], "rejected": [other]}) + "\n")
    return ["model.path=model"]


def make_distillation(folder):
    save_folder(make_model("llama", seed=2), folder / "teacher")
    torch.manual_seed(7)
    student = LlamaForCausalLM(LlamaConfig(**{**SHAPE, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}))
    save_folder(student.float(), folder / "student")
    shutil.copy(TICKETS, folder / "rows.jsonl")
    return ["model.path=student", "distill.teacher=teacher", "data.limit=200"]


CASES = {"start": (make_preferences, ["dpo", "adapter.init=start"]),
         "precomputed": (make_preferences, ["dpo", "preference.reference=precomputed", "adapter.dropout=0.1"]),
         "kto": (make_preferences, ["dpo", "preference.loss=kto"]),
         "reward": (make_preferences, ["reward", "adapter.dropout=0.1"]),
         "reward_full": (make_preferences, ["reward", "adapter.kind=full"]),
         "full_8bit": (make_preferences, ["reward", "adapter.kind=full", "optim.name=adamw8bit"]),
         "projections": (make_distillation, ["distill", "distill.loss=hidden_mse", "adapter.dropout=0.1"]),
         "on_policy": (make_distillation, ["distill", "distill.on_policy=0.5", "distill.loss=jsd", "distill.max_new_tokens=8"])}


@pytest.fixture(scope="module", params=CASES)
def case(request, binary, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    make, (kind, *settings) = CASES[request.param]
    words = [kind, *make(folder), "data.train=rows.jsonl", "data.eval_split=8", "train.batch=8", "train.steps=30",
             "train.checkpoint_every=5", "train.eval_every=15", "optim.lr=1e-3", "run.precision=f32", "run.device=cpu",
             "run.threads=2", "run.log_every=1", "export.verify=false", *settings]
    program = Prentice(binary, folder)
    started = time.monotonic()
    program.run(*words, "run.out=whole")
    return program, folder, words, time.monotonic() - started


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_and_continued_equals_never_stopped(seed, case):
    run = kill_and_continue(case, seed, f"killed-{seed}")
    assert_same_run(run, case[1] / "whole")
    assert tree(run / "merged") == tree(case[1] / "whole/merged")
    shutil.rmtree(run)
