"""Runs on pairs that are killed and continued give the bytes of the one that was never stopped: the reference is the model
as it was at the first step, not as it was when the program started again, and a new score head is not drawn twice."""

import json
import random
import shutil
import time

import peft
import pytest
import torch
from conftest import ROOT, Prentice, full
from test_resume import assert_same_run, kill_and_continue, tree
from tiny_models import make_model, save_folder

KILLS = 10 if full() else 2
CASES = {"start": ["dpo", "adapter.init=start"], "precomputed": ["dpo", "preference.reference=precomputed", "adapter.dropout=0.1"],
         "kto": ["dpo", "preference.loss=kto"], "reward": ["reward", "adapter.dropout=0.1"],
         "reward_full": ["reward", "adapter.kind=full"]}


@pytest.fixture(scope="module", params=CASES)
def case(request, binary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("preference")
    save_folder(make_model("llama"), folder / "model")
    torch.manual_seed(5)
    tuned = peft.get_peft_model(make_model("llama"), peft.LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    tuned.save_pretrained(folder / "start")
    rows = [json.loads(line)["messages"] for line in (ROOT / "data/tickets/train.jsonl").read_text().splitlines()[:96]]
    rng = random.Random(1)
    with open(folder / "rows.jsonl", "w") as out:
        for question, answer in rows:
            other = {"role": "assistant", "content": rng.choice(rows)[1]["content"] + ", or so"}
            out.write(json.dumps({"prompt": [question], "chosen": [answer], "rejected": [other]}) + "\n")
    kind, *settings = CASES[request.param]
    words = [kind, "model.path=model", "data.train=rows.jsonl", "data.eval_split=8", "train.batch=8", "train.steps=30",
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
