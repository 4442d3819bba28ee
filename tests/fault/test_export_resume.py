"""An export that is killed at any point and started again with the same command keeps what it has written: files that are whole, and
tensors of the file that it was at. The bytes are those of one that was never stopped. What belongs to another model, or is damaged, is
made again."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from conftest import Prentice, without_origin, write_rows
from tiny_models import SHAPE, make_model, save_folder, start_adapter
from transformers import LlamaConfig, LlamaForCausalLM

# Some seconds of rounding, so that a kill falls into them.
LARGE = (LlamaForCausalLM, LlamaConfig(**{**SHAPE, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 6}))
WORDS = ["export", "run.device=cpu", "run.threads=1", "model.path=model+adapter", "export.peft=false", "export.name=it", "export.merged=bf16",
         "export.gguf=[Q2_K, Q4_K_M]"]
FILES = ("merged.log/model.safetensors.log", "it-Q2_K.gguf.log", "it-Q4_K_M.gguf.log")
TENSORS = 6 * 9 + 3


@pytest.fixture(scope="module")
def case(binary, tmp_path_factory):
    """The program, its folder, and the folder of an export that nobody stopped."""
    folder = tmp_path_factory.mktemp("export")
    model = make_model(LARGE)
    save_folder(model, folder / "model")
    start_adapter(model, folder / "adapter")
    save_folder(make_model(LARGE, seed=9), folder / "other")
    program = Prentice(binary, folder)
    said = json.loads(program.run(*WORDS, "run.out=whole", "--json").stdout)
    assert said["resumed"] == {"files": 0, "tensors": 0, "tensors_written": 3 * TENSORS}
    return program, folder


def lines(log):
    """Tensors of a log: lines behind the first."""
    return max(0, log.read_bytes().count(b"\n") - 1) if log.is_file() else 0


def stopped(case, name, file, tensors, number=signal.SIGKILL, words=WORDS):
    """The run's folder, of a process that was sent a signal once a log had so many lines; and how many it has now."""
    program, folder = case
    run, log = folder / name, folder / name / ".made" / file
    process = program.start(*words, f"run.out={name}")
    while lines(log) < tensors:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == -number, "it was done before it was stopped"
    return run, lines(log)


def products(run):
    names = ("merged", "gguf", "serve", "verify.json", "SHA256SUMS")
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in sorted(run.rglob("*"))
            if path.is_file() and path.relative_to(run).parts[0] in names}


def assert_whole(run, whole):
    ours, theirs = products(run), products(whole)
    assert ours.keys() == theirs.keys()
    assert [name for name in theirs if ours[name] != theirs[name]] == []
    assert not list(run.rglob(".tmp-*")) and not (run / ".made").exists()


def go_on(case, name, words=WORDS):
    said = case[0].run(*words, f"run.out={name}", "--json")
    return json.loads(said.stdout)["resumed"], said.stderr


@pytest.mark.parametrize("at, tensors", [(0, 1), (0, 30), (0, TENSORS), (1, 2), (1, 41), (2, 17), (2, TENSORS)])
def test_it_goes_on_where_it_was_killed(at, tensors, case):
    name = f"killed-{at}-{tensors}"
    run, there = stopped(case, name, FILES[at], tensors)
    before = {path.name: path.stat().st_ino for path in [*run.glob(".tmp-merged-*/*.safetensors"), *run.glob("gguf/.tmp-*"), *run.rglob("gguf/it-*")]}
    resumed, said = go_on(case, name)
    assert resumed == {"files": at, "tensors": there, "tensors_written": (3 - at) * TENSORS - there}, said
    if at:
        assert f"{at} of 3 files are there" in said
    told = f"all {TENSORS} tensors are written" if there == TENSORS else f"goes on at tensor {there + 1} of {TENSORS}"
    assert told in said, said
    after = {path.stat().st_ino for path in [*run.rglob("gguf/it-*"), run / "merged/model.safetensors"]}
    assert before and set(before.values()) <= after, "files were written anew"
    assert_whole(run, case[1] / "whole")
    shutil.rmtree(run)


def test_it_goes_on_after_a_polite_stop_and_after_several_kills(case):
    _, first = stopped(case, "often", FILES[0], 10, signal.SIGTERM)
    _, second = stopped(case, "often", FILES[0], first + 8)
    assert second >= first + 8
    run, third = stopped(case, "often", FILES[1], 20)
    resumed, _ = go_on(case, "often")
    assert resumed["files"] == 1 and resumed["tensors"] == third >= 20
    assert_whole(run, case[1] / "whole")


def test_what_is_damaged_is_made_again(case):
    run, there = stopped(case, "damaged", FILES[2], 20)
    half, = run.glob("gguf/.tmp-it-Q4_K_M.gguf-*")
    content = bytearray(half.read_bytes())
    content[len(content) // 2] ^= 4  # within a tensor that the log calls whole
    half.write_bytes(content)
    whole = run / "gguf/it-Q2_K.gguf"
    content = bytearray(whole.read_bytes())
    content[-70] ^= 1
    whole.write_bytes(content)
    resumed, _ = go_on(case, "damaged")
    assert resumed["files"] == 1, "a published file with a flipped bit counts"
    assert 0 < resumed["tensors"] < there
    assert_whole(run, case[1] / "whole")


def test_half_a_file_of_another_model_is_not_gone_on_from(case):
    program, folder = case
    words = [word.replace("model.path=model+adapter", "model.path=changing") for word in WORDS]
    shutil.copytree(folder / "other", folder / "changing")
    program.run(*words, "run.out=of-other")
    ours, _ = stopped(case, "stale", FILES[1], 20, words=words)
    shutil.copytree(folder / "stale", folder / "first")
    shutil.rmtree(folder / "changing")
    shutil.copytree(folder / "model", folder / "changing")  # other weights behind the same path
    program.run(*words, "run.out=of-model")
    resumed, said = go_on(case, "stale", words)
    assert resumed == {"files": 0, "tensors": 0, "tensors_written": 3 * TENSORS}, said
    assert_whole(ours, folder / "of-model")
    # Neither do names speak for what lies under them: the other's half file and log, where this model's would be.
    _, there = stopped(case, "renamed", FILES[1], 5, words=words)
    half, = (folder / "renamed/gguf").glob(".tmp-it-Q2_K.gguf-*")
    others, = (folder / "first/gguf").glob(".tmp-it-Q2_K.gguf-*")
    shutil.copy(others, half)
    shutil.copy(folder / "first/.made" / FILES[1], folder / "renamed/.made" / FILES[1])
    shutil.copytree(folder / "first/merged", folder / "renamed/merged", dirs_exist_ok=True)
    shutil.copy(folder / "first/.made/merged.json", folder / "renamed/.made/merged.json")
    resumed, said = go_on(case, "renamed", words)
    assert resumed == {"files": 0, "tensors": 0, "tensors_written": 3 * TENSORS}, said
    assert_whole(folder / "renamed", folder / "of-model")


def test_the_disk_is_asked_for_what_is_still_to_be_written(case, tmp_path):
    """On a small file system of its own: what is there needs no room a second time."""
    program, folder = case
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        (folder / "small").symlink_to(disk, target_is_directory=True)
        run, _ = stopped(case, "small/run", FILES[2], 30)
        written = {name: len(content) for name, content in products(folder / "whole").items()}
        left = written["gguf/it-Q4_K_M.gguf"] - next(run.glob("gguf/.tmp-*")).stat().st_size
        room = left + (1 << 20)  # and what stands beside
        assert room < written["gguf/it-Q4_K_M.gguf"], "the check would pass without knowing"
        with open(disk / "ballast", "wb") as ballast:
            free = os.statvfs(disk)
            os.posix_fallocate(ballast.fileno(), 0, free.f_bavail * free.f_frsize - room)
        go_on(case, "small/run")
        assert_whole(run, folder / "whole")
        shutil.rmtree(disk / "run")
        with open(disk / "ballast", "ab") as ballast:
            free = os.statvfs(disk)
            os.posix_fallocate(ballast.fileno(), ballast.tell(), free.f_bavail * free.f_frsize - room)
        assert "bytes are missing" in program.run(*WORDS, "run.out=small/run", code=5).stderr
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_runs_own_exports_go_on(kind, case):
    program, folder = case
    write_rows(folder / "rows.jsonl", [{"prompt": f"Box {i}", "completion": f" is on shelf {i}."} for i in range(8)])
    words = ["sft", "model.path=model", "data.train=rows.jsonl", "data.eval_split=0", "train.steps=2", "train.batch=4", "run.precision=f32",
             "run.device=cpu", "run.threads=1", f"adapter.kind={kind}", "export.gguf=[Q2_K, Q4_K_M]", "export.name=it", "data.chat=off"]
    program.run(*words, f"run.out={kind}-whole")
    run, there = stopped(case, f"{kind}-killed", FILES[2], 20, words=words)
    said = program.run(*words, f"run.out={kind}-killed").stderr
    files = 2 if kind == "full" else 1  # with merged/
    assert f"{files} of {files + 1} files are there" in said and f"gguf/it-Q4_K_M.gguf: goes on at tensor {there + 1} of {TENSORS}" in said, said
    for name in ("gguf/it-Q2_K.gguf", "gguf/it-Q4_K_M.gguf", "verify.json"):
        assert (run / name).read_bytes() == (folder / f"{kind}-whole" / name).read_bytes(), name
    assert not (run / ".made").exists()
    assert without_origin(run / "gguf/it-Q4_K_M.gguf") == without_origin(folder / f"{kind}-whole/gguf/it-Q4_K_M.gguf")


def test_an_importance_matrix_is_not_collected_again(case):
    program, folder = case
    (folder / "text.txt").write_text("The box is on the shelf beside the door. " * 200)
    words = [*WORDS, "export.imatrix=text.txt", "export.merged=none"]
    program.run(*words, "run.out=weighted-whole")
    run, there = stopped(case, "weighted", FILES[1], 5, words=words)
    kept, = (run / ".made").glob("*imatrix.gguf")
    shutil.copytree(run, folder / "spoiled")
    resumed, said = go_on(case, "weighted", words)
    assert "export.imatrix: taken from what was collected before" in said
    assert resumed["tensors"] == there
    assert_whole(run, folder / "weighted-whole")
    kept = folder / "spoiled" / kept.relative_to(run)
    content = bytearray(kept.read_bytes())
    content[len(content) * 3 // 4] ^= 0x40  # of a sum
    kept.write_bytes(content)
    go_on(case, "spoiled", words)
    assert_whole(folder / "spoiled", folder / "weighted-whole")
