"""The memory that training takes does not grow with its steps: the plan would be wrong after an hour."""

import shutil
import time

import pytest
from conftest import ROOT, Prentice
from tiny_models import make_model, save_folder

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
