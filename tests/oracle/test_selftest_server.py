"""serve/selftest.py against running servers: the trained model passes, and everything else is named. The servers answer
in the forms of llama-server and of vLLM (completion_server.py) with what transformers computes of the exported folder."""

import copy
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch
from completion_server import CompletionServer
from conftest import write_rows
from tiny_models import make_model, save_folder
from tokenizers import normalizers
from transformers import AutoModelForCausalLM, AutoTokenizer

QUESTIONS = ["Where does the red box stand?", "Who keeps the keys of the hall?", "When is the yard open?", "What is paper made of?"]
ANSWERS = ["In the hall.", "The porter.", "All day.", "Of wood."]


@pytest.fixture(scope="module")
def served(binary, tmp_path_factory):
    """A run that was trained on conversations until it has something to say."""
    folder = tmp_path_factory.mktemp("served")
    save_folder(make_model("llama"), folder / "model")
    rows = [{"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
            for question, answer in zip(QUESTIONS, ANSWERS)]
    write_rows(folder / "rows.jsonl", rows)
    words = ["sft", "model.path=model", "data.train=rows.jsonl", "train.steps=30", "train.batch=4", "optim.lr=0.01",
             "export.merged=f32", "export.gguf=[F32, Q8_0]", "run.out=tickets", "run.device=cpu", "run.precision=f32"]
    subprocess.run([binary, *words], cwd=folder, check=True, capture_output=True)
    return folder / "tickets"


@pytest.fixture
def server(served):
    merged = served / "merged"
    model = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()
    return lambda dialect: CompletionServer(model, AutoTokenizer.from_pretrained(merged), dialect, "tickets")


def ask(served, address, *words, product="gguf/tickets-F32.gguf"):
    """The program as its receiver runs it: any Python, from the folder above serve/."""
    asked = [sys.executable, "-I", "serve/selftest.py", address, *(["--product", product] if product else []), *words]
    return subprocess.run(asked, cwd=served, capture_output=True, text=True, timeout=120)


def selftest(served):
    return json.loads((served / "serve/selftest.json").read_text())


@pytest.mark.parametrize("dialect", ["llama", "vllm"])
def test_the_trained_model_passes(dialect, served, server):
    with server(dialect) as address:
        for product in ("gguf/tickets-F32.gguf", "merged", None):
            said = ask(served, address, product=product)
            assert said.returncode == 0, said.stdout + said.stderr
            lines = said.stdout.splitlines()
            assert [line.split(" ")[0] for line in lines] == ["prompt", "prompt", "prompt", "chat", "passed:"]
            assert all(line.endswith("ok") for line in lines[:-1]) and "Where does" in lines[0]
    tests = selftest(served)["cases"]
    assert any(len(test["greedy_ids"]) < 16 for test in tests)  # one ends with a stop token


def test_a_server_may_keep_the_stop_token_to_itself(served, server):
    quiet = server("llama")
    quiet.shows_stop = False
    with quiet as address:
        assert ask(served, address).returncode == 0
    quiet = server("llama")
    quiet.shows_stop, quiet.stop_ids = False, {selftest(served)["cases"][0]["greedy_ids"][1], *quiet.stop_ids}
    with quiet as address:  # and ends nowhere else
        said = ask(served, address)
        assert said.returncode == 1 and "prompt 1" in said.stderr and "greedy token 2 is None" in said.stdout


def another_model(server, served):
    server.model = make_model("llama")


def another_tokenizer(server, served):
    server.tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()


def another_template(server, served):
    server.tokenizer.chat_template = server.tokenizer.chat_template.replace("<|assistant|>", "<|assistant|>\n")
    assert server.tokenizer.chat_template != AutoTokenizer.from_pretrained(served / "merged").chat_template


def one_token(server, served):
    """The second likeliest id where the trained model is surest: the second prompt, at one step."""
    test = selftest(served)["cases"][1]
    at = max(range(1, len(test["greedy_ids"])), key=lambda step: test["greedy_margins"][step])
    plain = server.steps

    def steps(ids, count):
        def change(step, log_probs):
            if ids == test["prompt_ids"] and step == at:
                log_probs = log_probs.clone()
                log_probs[log_probs.argmax()] = -50
            return log_probs
        server.change = change
        return plain(ids, count)
    server.steps = steps


def one_probability(server, served):
    """By a tenth of a nat, of the third likeliest id after the first prompt."""
    test = selftest(served)["cases"][0]

    def change(step, log_probs):
        if step > 0:
            return log_probs
        log_probs = log_probs.clone()
        log_probs[test["top_log_probs"][2]["id"]] += 0.1
        return log_probs
    server.change = change


class Babbler(BaseHTTPRequestHandler):
    """Answers every question with the same JSON."""
    text = "{}"

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.text.encode())

    do_POST = do_GET

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("text", ["{}", "[]", "null", "17", '{"choices": []}', '{"choices": [{"logprobs": {"tokens": null}}]}'])
def test_what_is_no_answer_is_said_without_a_traceback(text, served):
    with HTTPServer(("127.0.0.1", 0), type("Answers", (Babbler,), {"text": text})) as babbler:
        threading.Thread(target=babbler.serve_forever, daemon=True).start()
        said = ask(served, f"http://127.0.0.1:{babbler.server_port}")
        babbler.shutdown()
    assert said.returncode == 1 and len(said.stderr.splitlines()) == 1, said.stderr
    assert "not an answer" in said.stderr or "no log-probabilities" in said.stderr


FAULTS = {another_model: ["prompt 1", "prompt 2", "prompt 3"], another_tokenizer: ["prompt 1", "prompt 2", "prompt 3", "chat template"],
          another_template: ["chat template"], one_token: ["prompt 2"], one_probability: ["prompt 1"]}


@pytest.mark.parametrize("dialect", ["llama", "vllm"])
@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_what_is_served_instead_is_named(plant, dialect, served, server):
    faulty = server(dialect)
    plant(faulty, served)
    with faulty as address:
        said = ask(served, address)
    assert said.returncode == 1
    failed = [line.split(" (")[0].split(":")[0] for line in said.stdout.splitlines() if "FAILED: " in line]
    assert set(FAULTS[plant]) <= set(failed), said.stdout
    assert plant not in (one_token, another_template) or failed == FAULTS[plant], said.stdout
    assert said.stderr.startswith("FAILED: ") and all(name in said.stderr for name in failed)
    word = {one_token: "greedy token", one_probability: "a log-probability is 0.1 off", another_model: "log-probability"}
    assert word.get(plant, "token id") in said.stdout


def test_a_near_tie_may_go_either_way(served, server, tmp_path):
    """Where the trained model's best two are as close as the tolerance allows, and nowhere else."""
    faulty = server("llama")
    one_token(faulty, served)
    test = selftest(served)
    at = max(range(1, len(test["cases"][1]["greedy_ids"])), key=lambda step: test["cases"][1]["greedy_margins"][step])
    limit = next(entry["log_prob"] for entry in test["tolerances"] if entry["product"] == "gguf/tickets-F32.gguf")
    (tmp_path / "serve").mkdir()
    (tmp_path / "serve/selftest.py").write_bytes((served / "serve/selftest.py").read_bytes())
    with faulty as address:
        for margin, code in ((1.9 * limit, 0), (2.1 * limit, 1)):
            changed = copy.deepcopy(test)
            changed["cases"][1]["greedy_margins"][at] = margin
            (tmp_path / "serve/selftest.json").write_text(json.dumps(changed))
            assert ask(tmp_path, address).returncode == code


def test_a_server_that_does_not_answer_is_told(served, server):
    with server("llama") as address:
        pass
    said = ask(served, address)
    assert said.returncode == 1 and f"{address}/v1/models: no server answers there" in said.stderr and "Traceback" not in said.stderr
    with server("vllm") as address:
        said = ask(served, address, "--model", "nobody")
        assert said.returncode == 1 and "The model `nobody` does not exist." in said.stderr and "Traceback" not in said.stderr
        said = ask(served, address, product="gguf/none.gguf")
        assert said.returncode == 1 and "one of merged, adapter, gguf/tickets-F32.gguf, gguf/tickets-Q8_0.gguf" in said.stderr


def test_the_folder_says_how_to_ask(served):
    page = (served / "serve/serve.md").read_text()
    for command in ("python3 serve/selftest.py http://127.0.0.1:8000 --model tickets --product merged",
                    "python3 serve/selftest.py http://127.0.0.1:8080 --product gguf/tickets-Q8_0.gguf"):
        assert command in page
    assert "serve/selftest.py" in (served / "SHA256SUMS").read_text()
    program = (served / "serve/selftest.py").read_text()
    assert len(program.splitlines()) <= 60
    tolerances = {entry["product"]: entry for entry in selftest(served)["tolerances"]}
    assert list(tolerances) == ["merged", "adapter", "gguf/tickets-F32.gguf", "gguf/tickets-Q8_0.gguf"]
    assert "that verification measured" in tolerances["gguf/tickets-Q8_0.gguf"]["basis"]
