"""A teacher's run that is killed or stopped at any point and continued leaves the store of the run that was never
stopped, byte for byte."""

import random
import signal
import time

import pytest
from conftest import ROOT, Prentice, full
from tiny_models import make_model, save_folder

KILLS = 17 if full() else 3  # each kills thrice
WORDS = ["teach", "model.path=model", "data.train=rows.txt", "data.format=text", "data.max_length=96", "run.device=cpu",
         "run.precision=f32", "run.threads=1", "run.log_every=1"]


def files_of(store):
    return {path.name: path.read_bytes() for path in sorted(store.iterdir()) if path.name != ".lock"}


@pytest.fixture(scope="module")
def case(binary, tmp_path_factory):
    """Six commits of a store: 24,000 rows."""
    folder = tmp_path_factory.mktemp("teach")
    save_folder(make_model("llama"), folder / "model")
    (folder / "rows.txt").write_text((ROOT / "data/office.txt").read_text()[:110000])
    program = Prentice(binary, folder)
    started = time.monotonic()
    program.run(*WORDS, "run.out=whole")
    seconds = time.monotonic() - started
    assert len((folder / "whole/store/manifest.jsonl").read_text().splitlines()) > 5
    return program, folder, seconds


def interrupt(case, name, how, wanted, more=0.0):
    """A run that is ended by the signal after so many commits and a share of the run's time."""
    program, folder, seconds = case
    process = program.start(*WORDS, f"run.out={name}")
    manifest = folder / name / "store/manifest.jsonl"
    while process.poll() is None and (not manifest.is_file() or manifest.read_text().count("\n") < wanted):
        time.sleep(0.005)
    time.sleep(more * seconds)
    process.send_signal(how)
    process.communicate()
    return process.returncode


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_and_continued_is_the_store_that_was_never_stopped(seed, case):
    program, folder, _ = case
    rng, name = random.Random(seed), f"killed-{seed}"
    for _ in range(3):
        interrupt(case, name, signal.SIGKILL, rng.randrange(0, 6), rng.random() / 6)
    program.run(*WORDS, f"run.out={name}")
    assert files_of(folder / name / "store") == files_of(folder / "whole/store")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_with_its_status_and_resume_goes_on(how, case):
    program, folder, _ = case
    name = f"stopped-{how}"
    assert interrupt(case, name, how, 1) in (-how, 128 + how)
    assert not program.run("inspect", f"{name}/store", "--json").stdout.count('"finished":true')
    program.run("resume", name)
    assert files_of(folder / name / "store") == files_of(folder / "whole/store")
    assert program.run("resume", name).stdout.startswith("already done")
