"""What fuzzing begins with, read by the targets without libFuzzer and without sanitizers, and changes of it. The fuzzing itself:
scripts/fuzz.sh."""

import random
import subprocess
import sys

import pytest
from conftest import ROOT, built, full

sys.path.insert(0, str(ROOT / "tests/fuzz"))
import seeds  # noqa: E402

CHANGES = 4000 if full() else 300


def replay(*words):
    program = built("prentice_replay")
    result = subprocess.run([program, *words], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, f"exit {result.returncode}\n{result.stderr[-2000:]}"


def changed(content, generator):
    made = bytearray(content)
    for _ in range(generator.choice((1, 2, 4))):
        at = generator.randrange(len(made))
        made[at] = generator.choice((0, 1, 0x7f, 0x80, 0xff, generator.randrange(256)))
    return bytes(made[: generator.choice((len(made), len(made), generator.randrange(len(made) + 1)))])


@pytest.mark.parametrize("target", seeds.corpora())
def test_every_file_and_its_changes_are_read_or_refused(target, tmp_path):
    generator = random.Random(17)
    corpus = seeds.corpora()[target]
    for name, content in corpus:
        (tmp_path / name).write_bytes(content)
    replay("--good", target, *(tmp_path / name for name, _ in corpus))
    files = []
    for i in range(CHANGES):
        files.append(tmp_path / f"changed{i}")
        files[-1].write_bytes(changed(generator.choice(corpus)[1], generator))
    replay(target, *files)


def test_a_target_that_is_not_there_is_told():
    with pytest.raises(AssertionError, match="exit 2"):
        replay("nothing")
