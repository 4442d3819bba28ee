"""`prentice download` from a hub that refuses, breaks off, lies and stalls: what is kept, what is said, the exit code."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time

import pytest
from conftest import absent
from hub_server import Hub, Repository, git_hash

NAME = "acme/tiny"
WEIGHTS = random.Random(7).randbytes(3_000_000)
FILES = {"config.json": b'{"model_type": "llama"}', "tokenizer.json": b"{}" * 20_000, "model.safetensors": WEIGHTS}
BLOB = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with Hub() as hub:
        hub.repositories[NAME] = Repository(dict(FILES))
        hub.stand_in(monkeypatch, tmp_path / "home")
        monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")
        yield hub


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "home/hub" / ("models--" + NAME.replace("/", "--"))


def is_whole(cache):
    snapshot = cache / "snapshots" / ("c" * 40)
    return (cache / "refs/main").is_file() and all((snapshot / name).read_bytes() == data for name, data in FILES.items())


def change(**changes):
    return lambda hub: hub.repositories.update({NAME: Repository(**{"files": dict(FILES), **changes})})


def fault(**changes):
    return lambda hub: [setattr(hub.faults, name, value) for name, value in changes.items()]


def without(*names, **more):
    return {**{name: data for name, data in FILES.items() if name not in names}, **more}


INDEX = json.dumps({"weight_map": {"a": "model-00001-of-00001.safetensors"}}).encode()

# name: (what is wrong, words, exit code, the message, the hint)
REFUSALS = {
    "no_such_model": (change(), ["acme/tinny"], 2, "acme/tinny: not found at ENDPOINT (401)",
                      "check the name; a private model needs a token in HF_TOKEN"),
    "private": (change(token="s3cret"), [NAME], 2, "acme/tiny: not found at ENDPOINT (401)",
                "check the name; a private model needs a token in HF_TOKEN"),
    "gated": (change(gated=True), [NAME], 2, "acme/tiny: access is refused (403)",
              "accept the model's terms at ENDPOINT/acme/tiny, then set HF_TOKEN to a token of that account"),
    "no_such_revision": (change(), [NAME, "--revision", "v9"], 2, "acme/tiny: has no such branch, tag or commit",
                         "without --revision its main branch is taken"),
    "no_name": (change(), [], 2, "download: expected one model, ORG/NAME", None),
    "a_path": (change(), ["./tiny"], 2, "download: expected ORG/NAME as the hub calls the model, got ./tiny", None),
    "revision_that_climbs": (change(), [NAME, "--revision", "../../x"], 2,
                             "--revision: expected a branch, tag or commit, got ../../x", None),
    "pickles_only": (change(files=without("model.safetensors", **{"pytorch_model.bin": b"\x80"})), [NAME], 4,
                     "acme/tiny: has no safetensors, and pytorch_model.bin is a pickle, which can run code when it is read",
                     "convert it once in Python: AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR, "
                     "safe_serialization=True)"),
    "gguf_only": (change(files=without("model.safetensors", **{"tiny-Q4_0.gguf": b"GGUF"})), [NAME], 4,
                  "acme/tiny: has no safetensors, only GGUF files",
                  "take the model that these files were made from; its page at the hub names it"),
    "no_model": (change(files=without("config.json")), [NAME], 4,
                 "acme/tiny: holds no model: it has neither config.json nor adapter_config.json", None),
    "shard_missing": (change(files=without("model.safetensors", **{"model.safetensors.index.json": INDEX})), [NAME], 4,
                      "acme/tiny: model.safetensors.index.json: names model-00001-of-00001.safetensors, which the repository "
                      "does not hold", None),
    "name_that_climbs": (change(files={**FILES, "../../../config.json": b"{}"}), [NAME], 4,
                         'ENDPOINT/api/models/acme/tiny/revision/main: "../../../config.json" is not a plain relative file name',
                         None),
    "other_bytes": (fault(content={"model.safetensors": WEIGHTS[:-1] + b"!"}), [NAME], 4,
                    f"acme/tiny: model.safetensors: expected the hash {BLOB}, got "
                    + hashlib.sha256(WEIGHTS[:-1] + b"!").hexdigest(),
                    "what arrived is not what the hub announced, and was removed; try again, or look for a proxy between"),
    "other_small_bytes": (fault(content={"config.json": b'{"model_type": "lama!"}'}), [NAME], 4,
                          f"acme/tiny: config.json: expected the hash {git_hash(FILES['config.json'])}, got", None),
    "more_bytes": (fault(content={"model.safetensors": WEIGHTS + b"!"}), [NAME], 4,
                   "acme/tiny: model.safetensors: expected 3000000 bytes, more arrive", None),
    "fewer_bytes": (fault(content={"model.safetensors": WEIGHTS[:-1]}), [NAME], 4,
                    "acme/tiny: model.safetensors: expected 3000000 bytes, got 2999999", None),
    "disk_too_small": (fault(size={"model.safetensors": 10**14}), [NAME], 5, "bytes are missing",
                       "free some space there, or choose another folder"),
    "always_broken": (fault(status={"model.safetensors": [503] * 9}), [NAME], 5, "acme/tiny: CDN answered 503",
                      "try again later; what has arrived is kept"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_says_why_and_leaves_no_model(hub, prentice, cache, name):
    spoil, words, code, message, hint = REFUSALS[name]
    spoil(hub)
    done = prentice.run("download", *words, code=code)
    told = done.stderr.replace(hub.endpoint, "ENDPOINT").replace(hub.cdn, "CDN")
    assert message in told
    assert told.count("error:") == 1
    if hint:
        assert f"hint: {hint}" in told
    assert done.stdout == "" and not (cache / "refs/main").exists()


def test_the_token_goes_to_the_hub_and_nowhere_else(hub, prentice, cache, monkeypatch, tmp_path):
    change(token="s3cret")(hub)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/token").write_text("s3cret\n")  # as `hf auth login` leaves it
    prentice.run("download", NAME)
    assert is_whole(cache)
    assert {auth for *_, auth, role in hub.requests if role == "hub"} == {"Bearer s3cret"}
    assert {auth for *_, auth, role in hub.requests if role == "cdn"} == {""}
    monkeypatch.setenv("HF_TOKEN", "wrong")  # the variable comes before the file
    assert "check the name, and that the token in HF_TOKEN may read it" in prentice.run("download", NAME, code=2).stderr


def test_connections_that_break_are_continued(hub, prentice, cache):
    hub.faults.cut_times = {"model.safetensors": 3, "config.json": 1}
    hub.faults.status = {"tokenizer.json": [503, 429]}
    done = prentice.run("download", NAME)
    assert is_whole(cache)
    assert hub.fetched("model.safetensors") == ["", "bytes=1500000-", "bytes=2250000-", "bytes=2625000-"]
    assert "attempt 2 of 5" in done.stderr


@pytest.mark.parametrize("refusal", ["no_ranges", "wrong_range"])
def test_a_server_that_does_not_continue_files_gives_them_whole(hub, prentice, cache, refusal):
    hub.faults.cut_times = {"model.safetensors": 1}
    setattr(hub.faults, refusal, True)
    prentice.run("download", NAME)
    assert is_whole(cache)
    assert hub.fetched("model.safetensors")[:2] == ["", "bytes=1500000-"]


def test_a_lost_connection_is_an_error_that_the_same_command_mends(hub, prentice, cache):
    hub.faults.cut_after = {"model.safetensors": 0}
    done = prentice.run("download", NAME, code=5)
    assert "acme/tiny: the connection to" in done.stderr and "the same command continues where it stopped" in done.stderr
    assert not (cache / "refs/main").exists()
    hub.faults.cut_after = {}
    prentice.run("download", NAME)
    assert is_whole(cache)


def test_a_server_that_falls_silent_counts_as_lost(hub, prentice, cache):
    silence = threading.Event()
    hub.faults.stall = {"model.safetensors": silence}
    process = prentice.start("download", NAME)
    while len(hub.fetched("model.safetensors")) < 2 and process.poll() is None:
        time.sleep(0.05)
    hub.faults.stall = {}
    silence.set()
    assert process.wait(60) == 0
    assert is_whole(cache) and hub.fetched("model.safetensors")[1] == "bytes=1500000-"


@pytest.mark.parametrize("how, code", [(signal.SIGKILL, -9), (signal.SIGTERM, -15), (signal.SIGINT, -2)])
def test_stopped_and_started_again_it_continues(hub, prentice, cache, how, code):
    silence = threading.Event()
    hub.faults.stall = {"model.safetensors": silence}
    process = prentice.start("download", NAME)
    partial = cache / "blobs" / (BLOB + ".incomplete")
    while not (partial.is_file() and partial.stat().st_size == 1_500_000):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(how)
    _, errors = process.communicate(timeout=30)
    silence.set()
    assert process.returncode in (code, 128 - code)
    if how != signal.SIGKILL:
        assert "the same command continues the download" in errors
    assert not (cache / "refs/main").exists()
    hub.faults.stall = {}
    hub.requests.clear()
    prentice.run("download", NAME)
    assert is_whole(cache)
    assert hub.fetched("model.safetensors") == ["bytes=1500000-"] and hub.fetched("tokenizer.json") == []
    assert not list((cache / "blobs").glob("*.incomplete"))


def test_damage_in_the_cache_is_found_and_mended(hub, prentice, cache):
    prentice.run("download", NAME)
    with open(cache / "blobs" / BLOB, "r+b") as file:
        file.seek(1_000_000)
        file.write(b"?")
    hub.requests.clear()
    done = prentice.run("download", NAME)
    assert "the copy in the cache is damaged; fetching it again" in done.stderr
    assert "3.0 MB fetched" in done.stderr and "all of it was in the cache" not in done.stderr
    assert is_whole(cache) and hub.fetched("model.safetensors") == [""]
    # What an earlier attempt left is checked as a part of the whole.
    (cache / "blobs" / BLOB).unlink()
    (cache / "blobs" / (BLOB + ".incomplete")).write_bytes(b"?" * 1_000_000)
    hub.requests.clear()
    done = prentice.run("download", NAME)
    assert "what an earlier attempt left is damaged" in done.stderr
    assert is_whole(cache) and hub.fetched("model.safetensors") == ["bytes=1000000-", ""]


def test_a_full_disk_is_said_and_the_same_command_continues(hub, prentice, cache):
    limited = ["bash", "-c", f'ulimit -f 1000; exec "$@"', "-", str(prentice.path), "download", NAME]  # blocks of 1 kB
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(limited, env=environment, text=True, capture_output=True, timeout=60)
    assert done.returncode == 5
    assert "cannot write: File too large" in done.stderr
    prentice.run("download", NAME)
    assert is_whole(cache)


def test_a_new_commit_replaces_the_old_one_only_when_it_is_whole(hub, prentice, cache):
    prentice.run("download", NAME)
    change(files={**FILES, "model.safetensors": WEIGHTS[::-1]}, commit="d" * 40)(hub)
    hub.faults.cut_after = {"model.safetensors": 0}
    prentice.run("download", NAME, code=5)
    assert (cache / "refs/main").read_text() == "c" * 40 and is_whole(cache)
    hub.faults.cut_after = {}
    hub.requests.clear()
    prentice.run("download", NAME)
    assert (cache / "refs/main").read_text() == "d" * 40
    assert hub.fetched("tokenizer.json") == []  # the same blob as before
    assert (cache / "snapshots" / ("d" * 40) / "model.safetensors").read_bytes() == WEIGHTS[::-1]


def test_two_at_once_fetch_every_file_once(hub, prentice, cache):
    silence = threading.Event()
    hub.faults.stall = {"model.safetensors": silence}
    first = prentice.start("download", NAME)
    while not hub.fetched("model.safetensors"):
        time.sleep(0.02)
    second = prentice.start("download", NAME)
    for line in second.stderr:
        if "another process is fetching it" in line:
            break
    hub.faults.stall = {}
    silence.set()  # the first one's connection ends here, and it continues
    assert first.wait(60) == 0 and second.wait(60) == 0
    assert is_whole(cache) and hub.fetched("model.safetensors") == ["", "bytes=1500000-"]


def test_certificates_are_checked(prentice, tmp_path, monkeypatch, cache):
    if not shutil.which("openssl"):
        absent("no openssl to make a certificate")
    pem, key = tmp_path / "hub.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", pem], check=True, capture_output=True)
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + pem.read_bytes())
    with Hub(certificate=both) as hub:
        hub.repositories[NAME] = Repository(dict(FILES))
        hub.stand_in(monkeypatch, tmp_path / "home")
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        done = prentice.run("download", NAME, code=5)
        assert "cannot prove who it is" in done.stderr and "set SSL_CERT_FILE" in done.stderr
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        prentice.run("download", NAME)
        assert is_whole(cache)


def test_json_names_every_file_and_its_hash(hub, prentice, cache):
    result = json.loads(prentice.run("download", NAME, "--json").stdout)
    assert result["path"] == str(cache / "snapshots" / ("c" * 40)) and result["commit"] == "c" * 40
    assert result["bytes"] == result["fetched_bytes"] == sum(map(len, FILES.values()))
    assert {file["name"]: file["hash"] for file in result["files"]}["model.safetensors"] == BLOB
    assert json.loads(prentice.run("download", NAME, "--json").stdout)["fetched_bytes"] == 0
