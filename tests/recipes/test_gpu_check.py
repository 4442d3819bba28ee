"""scripts/gpu_check.sh without a GPU: what does not fit its time is listed and it ends, what the caller set reaches the
programs, a bundle brings its tests; and the bundle itself starts from elsewhere."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import ROOT, built, setting

sys.path.insert(0, str(ROOT / "experiments/gpu"))
import ledger  # noqa: E402
import steps  # noqa: E402
import table  # noqa: E402

LIMIT = 64 << 20  # bytes of a bundle that can be taken along
TESTS = sorted({f"test_{path.parent.name}" for path in ROOT.glob("tests/*/gpu_*_test.cpp")})

PROGRAM = """#!/bin/bash
echo "$PRENTICE_ASKED $CUDA_VISIBLE_DEVICES $LD_LIBRARY_PATH" >> "$PRENTICE_SEEN"
for word in "$@"; do case $word in run.out=*) out=${word#run.out=} ;; esac; done
case $1 in
  plan) echo '{"memory": {"peak": 700000001}}' ;;
  sft) mkdir -p "$out"; echo '{"tokens_per_second": 5, "memory": 600000003}' > "$out/metrics.jsonl" ;;
esac
"""
TEST_PROGRAM = """#!/bin/bash
echo "$PRENTICE_ASKED $CUDA_VISIBLE_DEVICES $LD_LIBRARY_PATH" >> "$PRENTICE_SEEN"
[[ $1 == *GpuSpeed\\* && $1 != *-GpuSpeed* ]] && echo '{"speed": "copy", "bytes_per_second": 1e9, "share": 1}'
echo '[  PASSED  ] 3 tests.'
"""
# It outlives what started it, and holds its output open.
HANGS = "#!/bin/bash\nsleep 300 &\nsleep 300\n"


def bundle_of(folder, program, tests):
    binaries = folder / "prentice-gpu/bin"
    binaries.mkdir(parents=True)
    for name, text in {"prentice": program, **{name: tests for name in TESTS}}.items():
        (binaries / name).write_text(text)
        (binaries / name).chmod(0o755)
    with tarfile.open(folder / "bundle.tar.gz", "w:gz") as archive:
        archive.add(folder / "prentice-gpu", "prentice-gpu")
    return folder / "bundle.tar.gz"


def gpu_check(out, *words, root=ROOT, dry=True, **asked):
    environment = {key: value for key, value in os.environ.items() if key != "PRENTICE_BUILD"}
    begin = time.monotonic()
    ran = subprocess.run([root / "scripts/gpu_check.sh", *(["--dry"] if dry else []), out, *words], env={**environment, **asked},
                         capture_output=True, text=True, timeout=300)
    results = {found["name"]: found for found in json.loads((out / "results.json").read_text())}
    return ran, results, time.monotonic() - begin


class FakeClock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_step_that_no_longer_fits_is_listed():
    clock, kept = FakeClock(), []
    book = ledger.Ledger(["a", "b", "c", "d"], 100, lambda results: kept.append([dict(found) for found in results]), clock)
    assert [found["left_out"] for found in kept[0]] == ["not reached"] * 4

    def takes(seconds):
        def body():
            clock.now += min(seconds, book.left())
            return {"seconds": seconds}
        return body

    for name, seconds in (("a", 30), ("b", 65), ("c", 40)):
        book.step(name, takes(seconds))
    assert book.left() >= 0 and "seconds" in kept[-1][1]
    assert kept[-1][2:] == [{"name": "c", "left_out": "the time was spent"}, {"name": "d", "left_out": "not reached"}]


def test_what_the_caller_set_reaches_the_programs_and_a_bundle_brings_its_tests(tmp_path):
    seen = tmp_path / "seen"
    archive = bundle_of(tmp_path, PROGRAM, TEST_PROGRAM)
    ran, results, _ = gpu_check(tmp_path / "out", "--only", "speed", *TESTS, "context", "lora-8b", "memory-qlora-8b",
                                PRENTICE_BUNDLE=str(archive), PRENTICE_SEEN=str(seen), PRENTICE_ASKED="asked",
                                CUDA_VISIBLE_DEVICES="3", LD_LIBRARY_PATH="/caller")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for line in seen.read_text().splitlines():
        asked, device, libraries = line.split(" ")
        assert (asked, device) == ("asked", "3") and libraries.split(":")[0].endswith("prentice-gpu/lib")
        assert libraries.split(":")[-1] == "/caller"
    assert results["speed"]["speeds"] and all(results[name]["tests"] == 3 for name in TESTS)
    assert results["lora-8b"]["plan_bytes"] == 700000001 and results["lora-8b"]["allocator_bytes"] == 600000003
    assert "train.offload=true" in (tmp_path / "out/table.md").read_text()


def test_programs_that_hang_are_listed_and_the_whole_ends_in_time(tmp_path):
    archive = bundle_of(tmp_path, HANGS, HANGS)
    ran, results, seconds = gpu_check(tmp_path / "out", "--only", "lora-8b", "qlora-8b", "plan-lora-1b", "profile",
                                      PRENTICE_BUNDLE=str(archive), PRENTICE_GPU_SECONDS="40")
    assert seconds < 40, ran.stdout + ran.stderr
    assert len(results) == 4 and all("left_out" in found or "failed" in found for found in results.values()), results
    told = (tmp_path / "out/table.md").read_text()
    assert all(re.search(rf"^- (left out|failed): {name}: ", told, re.M) for name in results), told


def test_what_cannot_be_unpacked_leaves_every_step_listed(tmp_path):
    (tmp_path / "bundle.tar.gz").write_text("no archive")
    ran, results, _ = gpu_check(tmp_path / "out", PRENTICE_BUNDLE=str(tmp_path / "bundle.tar.gz"))
    assert ran.returncode == 1 and "could not be unpacked" in ran.stderr
    names = [run.name for run in (*steps.RUNS, *steps.PLANS, *steps.TWINS, *steps.PEERS)]
    assert set(names) <= set(results) and all("unpacked" in found["left_out"] for found in results.values())


@pytest.fixture
def clone(tmp_path):
    """What the check reads of a checkout in which nothing is built; the set-up does nothing."""
    for path in (*ROOT.glob("scripts/*.sh"), *ROOT.glob("experiments/gpu/*.py"), *ROOT.glob("tests/*/gpu_*_test.cpp"),
                 ROOT / "src/artifact/machine.h"):
        copy = tmp_path / "clone" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    (tmp_path / "clone/scripts/setup.sh").write_text("#!/bin/bash\nmkdir -p build; touch build/toolchain.env\n")
    return tmp_path / "clone"


def test_a_clean_checkout_is_built_first(clone, tmp_path):
    (clone / "scripts/build.sh").write_text(f"#!/bin/bash\necho \"$@\" > build/asked\ncat > build/prentice << 'END'\n{PROGRAM}END\n"
                                            "chmod +x build/prentice\n")
    ran, results, _ = gpu_check(tmp_path / "out", "--only", "lora-8b", "speed", root=clone, PRENTICE_SEEN=str(tmp_path / "seen"))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (clone / "build/asked").read_text().split() == ["--tests", "prentice", *TESTS]
    assert results["lora-8b"]["plan_bytes"] and "not beside the program" in results["speed"]["left_out"]


def test_without_a_gpu_nothing_is_built_or_run(clone, tmp_path):
    if subprocess.run("nvidia-smi -L", shell=True, capture_output=True).returncode == 0:
        pytest.skip("there is a GPU")
    (clone / "scripts/build.sh").write_text(HANGS)
    ran, results, seconds = gpu_check(tmp_path / "out", root=clone, dry=False)
    assert ran.returncode == 1 and "no NVIDIA GPU answers" in ran.stderr and seconds < 30
    assert results and all("no NVIDIA GPU" in found["left_out"] for found in results.values())


def test_a_build_that_takes_too_long_leaves_every_step_listed(clone, tmp_path):
    (clone / "scripts/build.sh").write_text(HANGS)
    ran, results, seconds = gpu_check(tmp_path / "out", root=clone, PRENTICE_GPU_SECONDS="36")
    assert seconds < 36 and ran.returncode == 1 and "a rerun continues" in ran.stderr
    assert results and all("not built in time" in found["left_out"] for found in results.values())


def test_the_plan_is_held_against_at_least_twelve_recipes():
    recipes = {(run.shape, run.length, run.micro_tokens, run.words) for run in (*steps.RUNS, *steps.PLANS) if not run.twin}
    assert len(recipes) >= table.RECIPES == 12
    context = table.CONTEXT_BYTES
    runs = {"a": {"plan_bytes": 1030 + context, "allocator_bytes": 1000, "device_bytes": 1030 + context},
            "b": {"plan_bytes": 980 + context, "allocator_bytes": 1000}, "c": {"plan_bytes": 5, "allocator_bytes": 1, "twin": True}}
    assert table.plan_errors(runs, "allocator") == {"a": pytest.approx(3), "b": pytest.approx(-2)}
    assert table.plan_errors(runs, "driver") == {"a": 0}


def test_runs_of_the_real_program(binary, tmp_path):
    _, results, _ = gpu_check(tmp_path / "out", "--only", "context", "memory-qlora-8b", "plan-full-8bit-0.5b",
                              PRENTICE_BUILD=str(binary.parent))
    for name in ("memory-qlora-8b", "plan-full-8bit-0.5b"):
        found = results[name]
        assert found["plan_bytes"] > 0 and found["allocator_bytes"] > 0 and found["tokens_per_second"] > 0, found


def test_the_bundle_starts_from_elsewhere_and_can_be_taken_along(tmp_path):
    for name in ("prentice", "libprentice_cuda.so", *TESTS):
        built(name)
    build = setting("PRENTICE_BUILD", ROOT / "build")
    subprocess.run(["cmake", "--install", build, "--component", "gpu", "--strip", "--prefix", tmp_path / "first"], check=True,
                   capture_output=True)
    os.rename(tmp_path / "first", tmp_path / "gpu")
    with tarfile.open(tmp_path / "gpu.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "gpu", "gpu")
    assert (tmp_path / "gpu.tar.gz").stat().st_size < LIMIT
    assert not [path for path in (tmp_path / "gpu").rglob("*") if re.match(r"libtorch|libc10|libcudart|libc\.so|libresolv", path.name)]
    torch = Path(find_spec("torch").submodule_search_locations[0])
    environment = {"LD_LIBRARY_PATH": f"{tmp_path / 'gpu/lib'}:{torch / 'lib'}"}
    for name in TESTS:
        listed = subprocess.run([tmp_path / "gpu/bin" / name, "--gtest_filter=Gpu*", "--gtest_list_tests"], env=environment,
                                capture_output=True, text=True, check=True).stdout
        assert "Gpu" in listed
    loaded = subprocess.run(["ldd", tmp_path / "gpu/bin/libprentice_cuda.so"], env=environment, capture_output=True, text=True, check=True)
    assert "not found" not in loaded.stdout
