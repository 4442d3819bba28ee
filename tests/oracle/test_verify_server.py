"""`verify.llama_cpp=http://...`: a running llama-server as a second witness. The server answers in the form of llama-server
(completion_server.py), with what transformers computes of the model or with what llama.cpp computes of the file."""

import math
import shutil
import socket
import threading
import time

import peft
import pytest
import torch
from completion_server import CompletionServer
from conftest import failed
from test_gguf_llama_cpp import ask_llama_cpp
from test_verify_faults import TEMPLATE, WIDE, Shop
from tiny_models import make_model, save_folder, start_adapter
from tokenizers import normalizers
from transformers import AutoModelForCausalLM, AutoTokenizer

NAMES = ["reads the file", "token ids", "greedy tokens", "log-probabilities", "agreement"]


@pytest.fixture(scope="module")
def shop(binary, tmp_path_factory):
    shop = Shop(binary, tmp_path_factory.mktemp("shop"))
    for name, options in (("llama", {}), ("wide", WIDE)):
        save_folder(make_model("llama", **options), shop.root / name)
        (shop.root / name / "chat_template.jinja").write_text(TEMPLATE)
    start_adapter(make_model("llama"), shop.root / "adapter")
    shop.good = shop.export("llama", "F32")
    return shop


def server_of(shop, name="llama"):
    model = AutoModelForCausalLM.from_pretrained(shop.root / name, dtype=torch.float32).eval()
    return CompletionServer(model, AutoTokenizer.from_pretrained(shop.root / name), "llama")


@pytest.fixture
def path(shop, tmp_path):
    return shutil.copy(shop.good, tmp_path / "file.gguf")


def checks(report):
    return {check["name"].removeprefix("llama.cpp: "): check for check in report["checks"] if check["name"].startswith("llama.cpp: ")}


def test_a_server_of_the_same_weights_passes(shop, path):
    server = server_of(shop)
    with server as address:
        _, report = shop.verify("llama", path, 0, f"verify.llama_cpp={address}/")
    found = checks(report)
    assert set(NAMES) <= set(found) and found["agreement"]["value"] < 1e-4 and found["log-probabilities"]["value"] < 1e-4
    assert found["greedy tokens"]["value"] < 1e-4 and 0.02 < found["agreement"]["limit"] <= 0.03
    prompts = [asked["prompt"] for route, asked in server.asked if route == "/completion"]
    assert len(prompts) == 48 and "behind 48 prompts" in found["agreement"]["detail"]
    assert len({len(prompt) for prompt in prompts}) > 20  # short ones and long ones
    assert all("lora" not in asked for route, asked in server.asked if route == "/completion")


def test_no_prompt_is_longer_than_the_server_takes(shop, path):
    server = server_of(shop)
    server.context = 8
    with server as address:
        shop.verify("llama", path, 0, f"verify.llama_cpp={address}")
    assert max(len(asked["prompt"]) for route, asked in server.asked if route == "/completion") == 7


@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_K_M", "Q2_K"])
def test_what_llama_cpp_computes_of_the_file_passes(kind, shop, tmp_path):
    """A first run tells what is asked; llama.cpp answers that, and a second run hears it."""
    path = shop.export("wide", kind)
    server = server_of(shop, "wide")
    with server as address:
        code = shop.program.run("verify", "verify.model=wide", f"verify.artifact={shutil.copy(path, tmp_path / 'first.gguf')}",
                                f"verify.llama_cpp={address}", "run.out=first-" + kind, "run.device=cpu", code=None).returncode
        assert code in (0, 9)  # the model is not the file
    prompts = [asked["prompt"] for route, asked in server.asked if route == "/completion"]
    texts = [asked["content"] for route, asked in server.asked if route == "/tokenize"]
    answer = ask_llama_cpp([{"path": str(path), "contextSize": 256, "special": texts, "sequences": prompts,
                             "vocabulary": server.vocabulary}], tmp_path)[0]
    begin = server.tokenizer("").input_ids
    ids = {text: begin + said for text, said in zip(texts, answer["special"])}
    said = {tuple(ids): torch.tensor([-math.inf if p is None else p for p in log_probs], dtype=torch.float64)
            for ids, log_probs in zip(prompts, answer["log_probs"])}
    heard = server_of(shop, "wide")
    heard.behind = lambda ids, asked: (int(said[tuple(ids)].argmax()), said[tuple(ids)])
    plain = heard.answer
    heard.answer = lambda route, asked: (200, {"tokens": ids[asked["content"]]}) if route == "/tokenize" else plain(route, asked)
    with heard as address:
        _, report = shop.verify("wide", path, 0, f"verify.llama_cpp={address}")
    found = checks(report)
    assert 0 < found["agreement"]["value"] < found["agreement"]["limit"] / 2
    assert found["log-probabilities"]["value"] < found["log-probabilities"]["limit"]


def another_model(server):
    server.model = make_model("llama", seed=7).eval()


def another_tokenizer(server):
    server.tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()


def one_probability(server):
    """Of the third likeliest id behind one prompt, by a tenth of a nat."""
    plain = server.behind

    def behind(ids, asked):
        greedy, log_probs = plain(ids, asked)
        if sum(route == "/completion" for route, _ in server.asked) == 20:
            log_probs = log_probs.clone()
            log_probs[log_probs.topk(3).indices[2]] += 0.1
        return greedy, log_probs
    server.behind = behind


def one_token(server):
    """Behind one prompt the least likely of those that are shown is decoded."""
    plain = server.behind

    def behind(ids, asked):
        greedy, log_probs = plain(ids, asked)
        return (int(log_probs.topk(20).indices[-1]) if sum(route == "/completion" for route, _ in server.asked) == 30 else greedy), log_probs
    server.behind = behind


def another_vocabulary(server):
    server.vocabulary += 1


def a_strange_id(server):
    server.vocabulary, server.behind = None, lambda ids, asked: (10**6, server.steps(ids, 1)[0][0])


FAULTS = {another_model: {"greedy tokens", "log-probabilities", "agreement"}, another_tokenizer: {"token ids"},
          one_probability: {"log-probabilities", "agreement"}, one_token: {"greedy tokens"}, another_vocabulary: {"reads the file"},
          a_strange_id: {"runs the file"}}


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_what_is_served_instead_is_named(plant, shop, path):
    server = server_of(shop)
    plant(server)
    plain = server.answer
    if plant is a_strange_id:
        server.answer = lambda route, asked: (404, {}) if route == "/v1/models" else plain(route, asked)
    with server as address:
        said, report = shop.verify("llama", path, 9, f"verify.llama_cpp={address}")
    assert set(failed(report)) == {f"llama.cpp: {name}" for name in FAULTS[plant]}, failed(report)
    assert "llama.cpp: " in said.stderr and not path.exists() and path.with_name("file.gguf.rejected").is_file()


@pytest.mark.parametrize("served", ["the adapter", "none", "two", "switched off"])
def test_adapters(served, shop, tmp_path):
    """llama-server --lora: what it has switched on by itself is switched off where it is not asked for."""
    model = f"{shop.good}+adapter"
    shop.program.run("export", f"model.path={model}", "export.gguf_adapter=F32", f"run.out=made/{served.replace(' ', '-')}", "run.device=cpu")
    path = shutil.copy(shop.root / f"made/{served.replace(' ', '-')}/gguf/adapter.gguf", tmp_path / "adapter.gguf")
    server = server_of(shop)
    base = server.model
    tuned = peft.PeftModel.from_pretrained(make_model("llama"), shop.root / "adapter").eval()
    server.adapters = {"none": [], "two": ["other.gguf", "somewhere/adapter.gguf"]}.get(served, ["x.gguf"])

    def behind(ids, asked):
        on = {one["id"]: one["scale"] for one in asked.get("lora", [])}
        server.model = tuned if on.get(len(server.adapters) - 1) == 1 and served != "switched off" else base
        log_probs = server.steps(ids, 1)[0][0]
        return int(log_probs.argmax()), log_probs
    server.behind = behind
    with server as address:
        if served in ("none", "switched off"):
            said, report = shop.verify(model, path, 9, f"verify.llama_cpp={address}")
            assert ("--lora" in said.stderr) == (served == "none")
            assert served == "none" or {"llama.cpp: log-probabilities", "llama.cpp: agreement"} <= set(failed(report))
        else:
            _, report = shop.verify(model, path, 0, f"verify.llama_cpp={address}")
            assert checks(report)["agreement"]["value"] < 1e-4
    if served == "two":  # of a plain file both are off
        with server as address:
            shop.verify("llama", shutil.copy(shop.good, tmp_path / "file.gguf"), 0, f"verify.llama_cpp={address}")
        assert server.asked[-1][1]["lora"] == [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.0}]


class Raw:
    """A server that answers every request with these bytes; None: never."""

    def __init__(self, content):
        self.content, self.connections, self.socket = content, [], socket.create_server(("127.0.0.1", 0))

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections.append(connection)
            connection.recv(65536)
            if self.content is not None:
                connection.sendall(self.content)
                connection.close()

    def __enter__(self):
        threading.Thread(target=self.serve, daemon=True).start()
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def __exit__(self, *_):
        self.socket.close()
        for connection in self.connections:
            connection.close()


def http(status, body, *headers, length=None):
    length = len(body) if length is None else length
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {length}", *headers, "", body]).encode()


LOADING = '{"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}'
NONSENSE = {
    "a page": (http("200 OK", "<html>hello</html>"), "does not answer as llama-server does"),
    "another program's JSON": (http("200 OK", '{"models": []}'), '"default_generation_settings" is missing'),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", "HTTP/0.9"),
    "a part of an answer": (http("200 OK", '{"default_gen', length=500), "no server answers there"),
    "still loading": (http("503 Service Unavailable", LOADING), "Loading model"),
    "nothing of that name": (http("404 Not Found", "no"), "answers 404: no"),
    "a key is wanted": (http("401 Unauthorized", '{"error": "Invalid API Key"}'), "Invalid API Key"),
    "sent elsewhere": (http("302 Found", "", "Location: http://127.0.0.1:1/"), "answers 302"),
    "never": (None, "no server answers there"),
}


def refused(shop, path, given, reason, code=2):
    said, report = shop.verify("llama", path, code, f"verify.llama_cpp={given}")
    errors = [line for line in said.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "verify.llama_cpp: " in errors[0] and given in errors[0] and reason in errors[0], said.stderr
    assert report is None and path.exists() and not path.with_name("file.gguf.rejected").exists()
    return said.stderr


@pytest.mark.parametrize("what", NONSENSE)
def test_what_is_no_llama_server_is_refused(what, shop, path):
    content, reason = NONSENSE[what]
    with Raw(content) as address:
        began = time.monotonic()
        said = refused(shop, path, address, reason)
        assert time.monotonic() - began < 60
    assert "\nhint: " in said or what not in ("still loading", "never")


def test_nobody_is_there(shop, path):
    with Raw(None) as address:
        pass  # the port is free again
    assert "hint: llama-server -m FILE.gguf" in refused(shop, path, address, "no server answers there")
    refused(shop, path, "https://127.0.0.1:8080", "expected a file or http://HOST:PORT")
    refused(shop, path, "http://", "expected a file or http://HOST:PORT")


@pytest.mark.parametrize("route, code", [("/tokenize", 5), ("/completion", 5)])
def test_a_server_that_goes_away_leaves_the_file_alone(route, code, shop, path):
    """In the middle of an answer."""
    server = server_of(shop)
    plain = server.answer

    def answer(path, asked):
        if path == route:
            raise ConnectionResetError
        return plain(path, asked)
    server.answer = answer
    with server as address:
        refused(shop, path, f"{address}", route, code)


def test_a_server_of_another_age_is_refused(shop, path):
    """Before December 2024 probabilities were named by texts."""
    server = server_of(shop)
    plain = server.answer

    def answer(path, asked):
        if path != "/completion":
            return plain(path, asked)
        return 200, {"content": "a", "tokens": [1], "completion_probabilities": [{"content": "a", "probs": [{"tok_str": "a", "prob": 1.0}]}]}
    server.answer = answer
    with server as address:
        refused(shop, path, address, '"id" is missing')


def test_positions_of_which_nothing_is_shown_are_left_out(shop, path):
    """An id that is a part of a character is not shown, and the server may go on to the next."""
    server = server_of(shop)
    plain = server.answer

    def answer(path, asked, hidden=lambda asked: len(asked["prompt"]) % 2):
        status, said = plain(path, asked)
        if path == "/completion" and hidden(asked):
            said["tokens"].append(7)
        return status, said
    server.answer = answer
    with server as address:
        _, report = shop.verify("llama", path, 0, f"verify.llama_cpp={address}")
    assert "behind 48 prompts" not in checks(report)["agreement"]["detail"]
    server.answer = lambda path, asked: answer(path, asked, lambda asked: True)
    with server as address:
        _, report = shop.verify("llama", path, 9, f"verify.llama_cpp={address}")
    assert failed(report) == ["llama.cpp: runs the file"]


def test_a_context_without_end_takes_every_prompt(shop, path):
    """No sum of it and a position is more than 64 bits hold."""
    asked = {}
    for context in (10**6, 2**63 - 1):
        server = server_of(shop)
        server.context = context
        with server as address:
            shop.verify("llama", shutil.copy(path, path.with_name(f"{context}.gguf")), 0, f"verify.llama_cpp={address}")
        asked[context] = [said["prompt"] for route, said in server.asked if route == "/completion"]
    assert asked[10**6] and asked[2**63 - 1] == asked[10**6]


@pytest.mark.parametrize("context", [-2**63, -1, 0, 1])
def test_a_context_that_holds_nothing_is_refused(context, shop, path):
    server = server_of(shop)
    server.context = context
    with server as address:
        refused(shop, path, address, f"n_ctx is {context}, which holds no prompt and an id behind it")


@pytest.mark.parametrize("more", [2**32, -2**32])
def test_a_token_id_of_more_than_32_bits_is_not_the_one_of_its_last_32(more, shop, path):
    server = server_of(shop)
    plain = server.answer

    def answer(route, asked):
        status, said = plain(route, asked)
        return status, {"tokens": [said["tokens"][0] + more, *said["tokens"][1:]]} if route == "/tokenize" and said["tokens"] else said
    server.answer = answer
    with server as address:
        refused(shop, path, address, "is no token id")
