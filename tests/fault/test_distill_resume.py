"""Distillations that are killed and continued give the bytes of the one that was never stopped: learned projections, what
the student samples, and what a store says are all a function of the recipe and of the step."""

import shutil
import time

import pytest
import torch
from conftest import ROOT, Prentice, full
from test_resume import assert_same_run, kill_and_continue
from tiny_models import SHAPE, make_model, save_folder
from transformers import LlamaConfig, LlamaForCausalLM

KILLS = 10 if full() else 2
CASES = {"projections": ["distill.loss=hidden_mse", "adapter.dropout=0.1"],
         "on_policy": ["distill.on_policy=0.5", "distill.loss=jsd", "distill.max_new_tokens=8"]}


@pytest.fixture(scope="module", params=CASES)
def case(request, binary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("distill")
    save_folder(make_model("llama", seed=2), folder / "teacher")
    torch.manual_seed(7)
    student = LlamaForCausalLM(LlamaConfig(**{**SHAPE, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}))
    save_folder(student.float(), folder / "student")
    shutil.copy(ROOT / "data/tickets/train.jsonl", folder / "rows.jsonl")
    words = ["distill", "model.path=student", "distill.teacher=teacher", "data.train=rows.jsonl", "data.limit=200",
             "data.eval_split=8", "train.batch=8", "train.steps=30", "train.checkpoint_every=5", "train.eval_every=15",
             "optim.lr=1e-3", "run.precision=f32", "run.device=cpu", "run.threads=2", "run.log_every=1", "export.verify=false",
             *CASES[request.param]]
    program = Prentice(binary, folder)
    started = time.monotonic()
    program.run(*words, "run.out=whole")
    return program, folder, words, time.monotonic() - started


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_and_continued_equals_never_stopped(seed, case):
    run = kill_and_continue(case, seed, f"killed-{seed}")
    assert_same_run(run, case[1] / "whole")
    shutil.rmtree(run)
