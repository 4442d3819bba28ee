"""C1: killed at random instants and continued until done gives the bytes of the run that was never stopped.

The instants are seeded. A third of them wait for a checkpoint that is being written. scripts/test.sh --full runs 50."""

import contextlib
import json
import random
import shutil
import signal
import subprocess
import time

import pytest
from conftest import ROOT, full, write_rows
from tiny_models import make_model, save_folder

KILLS = 50 if full() else 8
STEPS = 60
RECORDED = ("step", "tokens", "loss", "lr", "grad_norm", "epoch", "state")


@pytest.fixture(scope="module")
def case(binary, tmp_path_factory):
    """The command of a small run with dropout and checkpoints every 5 steps, and the folder of one that never stopped."""
    from conftest import Prentice
    folder = tmp_path_factory.mktemp("resume")
    save_folder(make_model("llama"), folder / "model")
    shutil.copy(ROOT / "data/tickets/train.jsonl", folder / "rows.jsonl")
    words = ["sft", "model.path=model", "data.train=rows.jsonl", "data.limit=320", "data.eval_split=20", "train.batch=8",
             f"train.steps={STEPS}", "train.checkpoint_every=5", "train.eval_every=20", "adapter.dropout=0.1", "optim.lr=1e-2",
             "run.precision=f32", "run.device=cpu", "run.threads=2", "run.log_every=1", "export.verify=false"]
    program = Prentice(binary, folder)
    started = time.monotonic()
    program.run(*words, "run.out=whole")
    return program, folder, words, time.monotonic() - started


def last_checkpoint(run):
    return max(path for path in (run / "checkpoints").iterdir() if path.name.startswith("step-"))


def lines_by_step(run):
    """The last line of every step: after a kill, the lines past the checkpoint are written again."""
    found = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        found[record["step"], "loss" in record] = {key: record[key] for key in RECORDED if key in record}
    return found


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def assert_same_run(ours, whole):
    assert lines_by_step(ours) == lines_by_step(whole)
    assert last_checkpoint(ours).name == last_checkpoint(whole).name
    for name, content in tree(last_checkpoint(whole)).items():
        if name.endswith(".safetensors"):
            assert (last_checkpoint(ours) / name).read_bytes() == content, name
    ours_adapter, whole_adapter = tree(ours / "adapter"), tree(whole / "adapter")
    assert ours_adapter.keys() == whole_adapter.keys()
    assert [name for name in whole_adapter if ours_adapter[name] != whole_adapter[name]] == []


def wait_for_save(process, run, deadline):
    """Returns as soon as a checkpoint is being written (its .tmp- folder is there)."""
    while process.poll() is None and time.monotonic() < deadline:
        if any((run / "checkpoints").glob(".tmp-*")):
            return
        time.sleep(0.0005)


def kill_and_continue(case, seed, name):
    """One random instant: kill -9 there, then the same command until it ends by itself."""
    program, folder, words, seconds = case
    rng = random.Random(seed)
    run = folder / name
    process = program.start(*words, f"run.out={name}")
    time.sleep(rng.uniform(0.05, 0.95) * seconds)
    if seed % 3 == 0:
        wait_for_save(process, run, time.monotonic() + seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    program.run(*words, f"run.out={name}")
    return run


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_and_continued_equals_never_stopped(seed, case):
    run = kill_and_continue(case, seed, f"killed-{seed}")
    assert_same_run(run, case[1] / "whole")
    assert not list((run / "checkpoints").glob(".tmp-*"))
    shutil.rmtree(run)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_save_and_continue(number, code, case):
    program, folder, words, seconds = case
    name = f"stopped-{code}"
    process = program.start(*words, f"run.out={name}")
    while process.poll() is None and not list((folder / name).glob("checkpoints/step-0000001*")):
        time.sleep(0.005)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    # The program raises the signal again, so that a shell sees it; as process 1 of a container it exits with the code.
    assert process.returncode in (code, -number), errors
    saved = [path.name for path in (folder / name / "checkpoints").iterdir()]
    program.run(*words, f"run.out={name}")
    assert saved and not any(item.startswith(".tmp-") for item in saved)
    assert_same_run(folder / name, folder / "whole")


def test_a_second_process_on_the_same_folder_is_refused_at_once(case):
    program, folder, words, _ = case
    first = program.start(*words, "run.out=shared")
    while first.poll() is None and not (folder / "shared/checkpoints/step-00000000").exists():
        time.sleep(0.005)
    second = program.run(*words, "run.out=shared", code=2)
    first.communicate(timeout=120)
    assert str(first.pid) in second.stderr


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(case):
    program, folder, words, seconds = case
    name = "damaged"
    process = program.start(*words, f"run.out={name}")
    while process.poll() is None and len(list((folder / name).glob("checkpoints/step-*"))) < 3:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    newest = last_checkpoint(folder / name)
    victim = next(newest.glob("*.safetensors"))
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    result = program.run(*words, f"run.out={name}")
    assert newest.name in result.stderr
    assert_same_run(folder / name, folder / "whole")


def test_a_finished_run_is_already_done(case):
    program, folder, words, _ = case
    before = tree(folder / "whole/adapter")
    result = program.run(*words, "run.out=whole")
    assert "already done" in result.stdout + result.stderr
    assert tree(folder / "whole/adapter") == before


def test_another_recipe_on_an_unfinished_run_names_the_key(case):
    program, folder, words, _ = case
    process = program.start(*words, "run.out=other")
    while process.poll() is None and not list((folder / "other").glob("checkpoints/step-0000000[5-9]")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    result = program.run(*words, "run.out=other", "optim.lr=2e-2", code=2)
    assert "optim.lr" in result.stderr


def test_a_run_whose_held_out_rows_are_the_longest_goes_on_by_its_own_recipe(case):
    """What was decided of the training rows alone refused the rows that the first session had taken."""
    program, folder, words, _ = case
    write_rows(folder / "long.jsonl", [{"messages": [
        {"role": "user", "content": f"Ticket {i}: " + "the printer on the third floor has no paper again; " * 12},
        {"role": "assistant", "content": "printer"}]} for i in range(3)])
    words = [*words, "data.eval_split=0", "data.eval=long.jsonl", "train.steps=15", "train.eval_every=5"]
    program.run(*words, "run.out=long")
    program.run("repro", "run", "long", "--out", "long-again")
    process = program.start(*words, "run.out=long-killed")
    while not (folder / "long-killed/checkpoints/step-00000005").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    program.run("resume", "long-killed")
    assert_same_run(folder / "long-killed", folder / "long")


def test_a_full_disk_leaves_what_is_known_of_a_run(case):
    """The end of a run writes how it ended, which must not cost what stood there."""
    program, folder, words, _ = case
    run = folder / "full-disk"
    run.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", run], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        process = program.start(*words, "run.out=full-disk", "train.steps=100000", "train.checkpoint_every=100000")
        while not (run / "metrics.jsonl").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        with contextlib.suppress(OSError), open(run / "ballast", "wb", buffering=0) as ballast:
            while ballast.write(bytes(4096)):
                pass
        process.terminate()
        process.communicate()
        (run / "ballast").unlink()
        assert json.loads((run / "run.json").read_text())["run_id"]
        assert not list(run.glob(".tmp-run.json"))
    finally:
        subprocess.run(["umount", run], check=True)
