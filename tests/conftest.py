"""Fixtures of every Python test: the real binary, the shared data, llama.cpp's node bindings. What is absent is skipped
by name, never by accident."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def setting(name, default):
    """The environment's word, else what set-up wrote, else the default."""
    if name in os.environ:
        return Path(os.environ[name])
    toolchain = ROOT / "build/toolchain.env"
    if toolchain.is_file():
        for line in toolchain.read_text().splitlines():
            if line.startswith(f"export {name}="):
                return Path(line.split("=", 1)[1])
    return Path(default)


def full():
    """True under scripts/test.sh --full: the stated counts instead of the reduced ones."""
    return bool(os.environ.get("PRENTICE_FULL"))


def absent(what):
    """Skips the test, or fails it where everything but the shared data is promised: under set-up's test profile."""
    if os.environ.get("PRENTICE_TEST_PROFILE"):
        pytest.fail(what)
    pytest.skip(what)


def built(name):
    """A program of the build folder that the tests drive."""
    path = setting("PRENTICE_BUILD", ROOT / "build") / name
    if not path.is_file():
        absent(f"no {path}")
    return path


@pytest.fixture(scope="session")
def binary():
    path = setting("PRENTICE_BINARY", ROOT / "build/prentice")
    if not path.is_file():
        absent(f"no binary at {path}")
    return path.resolve()


@pytest.fixture(scope="session")
def shared_data():
    path = setting("PRENTICE_TEST_DATA", ROOT.parent / "shared/data")
    if not path.is_dir():
        pytest.skip(f"no shared test data at {path}")
    return path.resolve()


@pytest.fixture(scope="session")
def node_modules():
    path = setting("PRENTICE_NODE_MODULES", ROOT / "node_modules")
    if not (path / "node-llama-cpp").is_dir():
        absent(f"no node-llama-cpp in {path}")
    return path


class Prentice:
    """Runs the binary. Threads that wait give their core away: several tests share two cores."""

    def __init__(self, path, folder):
        self.path, self.folder = path, folder

    def start(self, *words, **options):
        environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "OMP_WAIT_POLICY": "passive",
                       "XDG_CACHE_HOME": str(self.folder / "cache")}
        return subprocess.Popen([str(self.path), *map(str, words)], cwd=options.pop("cwd", self.folder), env=environment,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)

    def run(self, *words, code=0, timeout=600, **options):
        process = self.start(*words, **options)
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        result = subprocess.CompletedProcess(words, process.returncode, output, errors)
        if code is not None:
            assert result.returncode == code, f"exit {result.returncode}, wanted {code}\n{output[-4000:]}\n{errors[-4000:]}"
        return result


@pytest.fixture
def prentice(binary, tmp_path):
    return Prentice(binary, tmp_path)


def write_rows(path, rows):
    """A JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def relative(ours, theirs):
    """The norm of the difference of two tensors by that of the second."""
    return ((ours.double() - theirs.double()).norm() / theirs.double().norm()).item()


def read_metrics(run, key="loss"):
    """{step: value} of a run's metrics.jsonl; lines without the key are evaluations."""
    return {line["step"]: line[key] for line in read_rows(Path(run) / "metrics.jsonl") if key in line}


def eval_loss(prentice, model, rows, out, *more):
    """The mean loss of `prentice eval` on rows of prompts and completions."""
    prentice.run("eval", f"model.path={model}", f"data.eval={rows}", "data.chat=off", "run.device=cpu", "run.threads=1", f"run.out={out}", *more)
    return json.loads((out / "eval.json").read_text())["tasks"]["loss"]["mean"]


def failed(report):
    """The names of the checks of a verify.json that did not pass."""
    return [check["name"] for check in report["checks"] if not check["passed"]]


def without_origin(path):
    """What a file holds but for what its metadata say of where it comes from (prentice.*)."""
    path = Path(path)
    if path.suffix == ".gguf":
        import gguf
        reader = gguf.GGUFReader(path)
        said = {key: field.contents() for key, field in reader.fields.items() if not key.startswith(("prentice.", "GGUF."))}
        return said, {tensor.name: (tensor.tensor_type, tuple(tensor.shape), tensor.data.tobytes()) for tensor in reader.tensors}
    content = path.read_bytes()
    if path.suffix != ".safetensors":
        return content
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8:8 + length])
    header["__metadata__"] = {key: text for key, text in header["__metadata__"].items() if not key.startswith("prentice.")}
    return header, content[8 + length:]
