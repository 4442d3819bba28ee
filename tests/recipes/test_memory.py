"""The memory that training takes does not grow with its steps: the plan would be wrong after an hour."""

import json
import re
import shutil
import time

import pytest
from conftest import ROOT, Prentice
from tiny_models import make_model, save_folder
from transformers import LlamaConfig, LlamaForCausalLM

MEGABYTE = 1024  # /proc counts in kB


def anonymous_memory(process):
    """Of a process that runs, every tenth of a second until it ends, in MB."""
    samples = []
    while process.poll() is None:
        try:
            with open(f"/proc/{process.pid}/status") as status:
                samples += [int(line.split()[1]) / MEGABYTE for line in status if line.startswith("RssAnon")]
        except (FileNotFoundError, ProcessLookupError):
            break
        time.sleep(0.1)
    return samples


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_rows_of_ever_new_lengths_do_not_fill_the_memory(binary, tmp_path, precision):
    """Compiled products were kept for 1,024 shapes, twice: 60 steps of bf16 took 800 MB, 40 times the model."""
    save_folder(make_model("llama"), tmp_path / "model")
    shutil.copy(ROOT / "data/tickets/train.jsonl", tmp_path / "rows.jsonl")
    process = Prentice(binary, tmp_path).start(
        "sft", "model.path=model", "data.train=rows.jsonl", "data.eval_split=0", "train.batch=4", "train.steps=80",
        "data.shuffle=true", "run.device=cpu", "run.threads=1", f"run.precision={precision}", "run.out=run", "export.verify=false")
    samples = anonymous_memory(process)
    assert process.returncode == 0, process.stderr.read()
    assert max(samples) < 220


MODEL = ["model.path=quickstart-1m", "model.init=random", f"model.tokenizer={ROOT / 'data/quickstart/tokenizer'}"]
FULL = ["adapter.kind=full", "train.steps=8"]
TICKETS, REPLIES = ROOT / "data/tickets/train.jsonl", ROOT / "data/replies/train.jsonl"


@pytest.mark.parametrize("words", [
    ["sft", *MODEL, *FULL, f"data.train={TICKETS}", "train.batch=64"],
    ["reward", *MODEL, *FULL, f"data.train={REPLIES}"],
    ["dpo", *MODEL, *FULL, f"data.train={REPLIES}", "preference.reference=precomputed"],
    ["dpo", *MODEL, f"data.train={REPLIES}", "train.steps=8"],
    ["distill", *MODEL, *FULL, f"data.train={TICKETS}", "train.batch=64", "distill.teacher=teacher"],
    ["teach", *MODEL, f"data.train={TICKETS}"],
], ids=["sft", "reward", "dpo", "dpo_lora", "distill", "teach"])
def test_the_plan_is_what_a_run_takes(words, binary, tmp_path):
    """Both in the report's own words; beyond the bare program. A heap's holes are not the same twice."""
    save_folder(make_model("llama"), tmp_path / "teacher")
    Prentice(binary, tmp_path).run(*words, "run.device=cpu", "run.precision=f32", "run.threads=2", "run.out=run")
    row = re.search(r"peak memory</td><td>([\d.]+) MB</td><td>([\d.]+) MB", (tmp_path / "run/report.html").read_text())
    plan, fact = map(float, row.groups())
    assert 0.85 * fact < plan < 1.15 * fact, (plan, fact)


TEXT = ("The printer on floor {} has no paper and the queue is stuck again since this morning; nobody knows who has the key to "
        "the store room.")


@pytest.mark.parametrize("batch", [8, 16])
def test_the_plan_of_a_base_in_four_bits_is_what_it_takes(batch, binary, tmp_path):
    """28 million weights in the layers: 112 MB in f32, 14 MB held."""
    config = LlamaConfig(vocab_size=1536, hidden_size=512, intermediate_size=1536, num_hidden_layers=8, num_attention_heads=8,
                         max_position_embeddings=512, bos_token_id=None, eos_token_id=0, pad_token_id=0)
    save_folder(LlamaForCausalLM(config), tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": TEXT.format(i % 10)}) + "\n" for i in range(2 * batch)))
    peaks = {}
    for quantize in ("nf4", "none"):
        told = Prentice(binary, tmp_path).run(
            "sft", "model.path=model", f"model.quantize={quantize}", "data.train=rows.jsonl", "data.format=text", "data.eval_split=0",
            f"train.batch={batch}", "train.steps=2", "train.micro_tokens=2048", "optim.warmup=0", "run.device=cpu", "run.threads=1",
            "run.precision=f32", f"run.out={quantize}", "export.verify=false").stdout
        line = re.search(r"peak memory .*?\)", told).group()  # measured, then planned
        peaks[quantize] = [float(number) * (1000 if unit == "GB" else 1) for number, unit in re.findall(r"([\d.]+) (MB|GB)", line)]
    measured, planned = peaks["nf4"]
    assert 0.9 * measured < planned < 1.1 * measured, peaks
    assert measured < peaks["none"][0] - 70, peaks
