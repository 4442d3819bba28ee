"""`cmake --install` gives a folder that runs elsewhere: moved, with an empty environment, without the toolchain."""

import os
import subprocess

from conftest import ROOT, setting


def test_installed_folder_runs_after_it_was_moved(binary, tmp_path):
    build = setting("PRENTICE_BUILD", ROOT / "build")
    subprocess.run(["cmake", "--install", build, "--component", "prentice", "--prefix", tmp_path / "first"], check=True,
                   capture_output=True)
    os.rename(tmp_path / "first", tmp_path / "moved")
    program = tmp_path / "moved/bin/prentice"
    result = subprocess.run([program, "--version"], env={}, capture_output=True, text=True, check=True)
    assert "prentice" in result.stdout
    loaded = subprocess.run(["ldd", program], env={}, capture_output=True, text=True, check=True).stdout
    assert "not found" not in loaded
    ours = [line for line in loaded.splitlines() if "torch" in line or "libc10" in line]
    assert ours and all(str(tmp_path / "moved") in line for line in ours)
