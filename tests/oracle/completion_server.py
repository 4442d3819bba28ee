"""A model of transformers behind the endpoints of llama-server or of vLLM, in the form of their answers.

llama-server: tools/server/README.md of llama.cpp (GET /props, /lora-adapters; POST /tokenize, /apply-template, /completion,
/v1/completions; a completion's `logprobs.content` as a running server of October 2026 writes it). vLLM: its OpenAI-compatible server's protocol
(TokenizeCompletionRequest, TokenizeChatRequest, TokenizeResponse, CompletionLogProbs with return_tokens_as_token_ids)."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch


class CompletionServer:
    """`with` gives its address. What tests plant: other parts, or `change(step, log_probs)`, which sees what each step
    would answer."""

    def __init__(self, model, tokenizer, dialect, name="served"):
        self.model, self.tokenizer, self.dialect, self.name = model, tokenizer, dialect, name
        self.change = lambda step, log_probs: log_probs
        self.stop_ids, self.shows_stop = {tokenizer.eos_token_id}, True
        self.context, self.vocabulary, self.adapters = 256, model.config.vocab_size, []
        self.asked = []  # (path, question) of everything that was answered

    def steps(self, ids, count):
        """[log-probabilities over the vocabulary] of a greedy answer, and why it ended."""
        ids, found = list(ids), []
        while len(found) < count:
            with torch.no_grad():
                log_probs = self.model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
            found.append(self.change(len(found), log_probs))
            ids.append(int(found[-1].argmax()))
            if ids[-1] in self.stop_ids:
                return found, "stop"
        return found, "length"

    def complete(self, asked):
        if self.dialect == "vllm" and asked["model"] != self.name:
            return 404, {"error": {"message": f"The model `{asked['model']}` does not exist.", "code": 404}}
        assert asked["temperature"] == 0
        steps, why = self.steps(asked["prompt"], asked["max_tokens"])
        steps = steps[:-1] if why == "stop" and not self.shows_stop else steps
        tops = [[(int(i), float(p)) for p, i in zip(*step.topk(asked["logprobs"]))] for step in steps]
        if self.dialect == "llama":
            named = [[{"id": i, "token": self.tokenizer.decode([i]), "bytes": [], "logprob": p} for i, p in top] for top in tops]
            said = {"content": [{**top[0], "top_logprobs": top} for top in named]}
        else:
            assert asked["return_tokens_as_token_ids"]
            said = {"text_offset": [0] * len(tops), "token_logprobs": [top[0][1] for top in tops],
                    "tokens": [f"token_id:{top[0][0]}" for top in tops],
                    "top_logprobs": [{f"token_id:{i}": p for i, p in top} for top in tops]}
        return 200, {"object": "text_completion", "model": self.name,
                     "choices": [{"index": 0, "text": "", "logprobs": said, "finish_reason": why}]}

    def behind(self, ids, asked):
        """(what greedy decoding takes, log-probabilities over the vocabulary) behind ids, for /completion."""
        log_probs = self.steps(ids, 1)[0][0]
        return int(log_probs.argmax()), log_probs

    def complete_natively(self, asked):
        assert asked["temperature"] == 0 and asked["n_predict"] == 1 and not asked["post_sampling_probs"] and not asked["stream"]
        if len(asked["prompt"]) >= self.context:
            return 400, {"error": {"code": 400, "message": "the request exceeds the available context size", "type": "exceed_context_size_error"}}
        greedy, log_probs = self.behind(asked["prompt"], asked)
        top = [{"id": int(i), "token": self.tokenizer.decode([int(i)]), "bytes": [], "logprob": float(p)}
               for p, i in zip(*log_probs.topk(asked["n_probs"]))]
        return 200, {"index": 0, "content": self.tokenizer.decode([greedy]), "tokens": [greedy] if asked["return_tokens"] else [],
                     "stop": True, "stop_type": "limit", "model": self.name,
                     "completion_probabilities": [{**next((one for one in top if one["id"] == greedy), top[0]), "id": greedy,
                                                   "top_logprobs": top}]}

    def template(self, messages):
        return self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)

    def answer(self, path, asked):
        self.asked.append((path, asked))
        if path == "/v1/models":
            meta = {"meta": {"n_vocab": self.vocabulary}} if self.dialect == "llama" else {}
            return 200, {"object": "list", "data": [{"id": name, "object": "model", **meta} for name in ("base", self.name)]}
        if path == "/props" and self.dialect == "llama":
            return 200, {"default_generation_settings": {"id": 0, "n_ctx": self.context}, "total_slots": 1, "model_path": "model.gguf"}
        if path == "/lora-adapters" and self.dialect == "llama":
            return 200, [{"id": i, "path": path, "scale": 1.0} for i, path in enumerate(self.adapters)]
        if path == "/completion" and self.dialect == "llama":
            return self.complete_natively(asked)
        if path == "/v1/completions":
            return self.complete(asked)
        if path == "/apply-template" and self.dialect == "llama":
            return 200, {"prompt": self.template(asked["messages"])}
        if path == "/tokenize" and self.dialect == "llama":
            return 200, {"tokens": self.tokenizer(asked["content"], add_special_tokens=asked.get("add_special", False)).input_ids}
        if path == "/tokenize" and self.dialect == "vllm":
            text = self.template(asked["messages"]) if "messages" in asked else asked["prompt"]
            special = asked.get("add_special_tokens", "messages" not in asked)
            tokens = self.tokenizer(text, add_special_tokens=special).input_ids
            return 200, {"count": len(tokens), "max_model_len": 256, "tokens": tokens, "token_strs": None}
        return 404, {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}}

    def __enter__(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            def respond(self, asked):
                status, said = server.answer(self.path, asked)
                content = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self):
                self.respond(None)

            def do_POST(self):
                self.respond(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.http.server_port}"

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()
