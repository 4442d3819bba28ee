"""Does a running server answer as the trained model does? Compares with selftest.json, which lies beside this file.

python3 serve/selftest.py http://HOST:PORT [--model NAME] [--product FILE]      exit 0: it does; 1: it does not
Speaks to llama-server, vLLM and what has their /v1/completions (log-probabilities by token id) and /tokenize."""
import argparse, json, sys, urllib.error, urllib.request
from pathlib import Path
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("server")
parser.add_argument("--model", help="its name on the server; without it the one that selftest.json has, or the first")
parser.add_argument("--product", help="what is served, by its name in selftest.json; without it the widest tolerance")
asked, test = parser.parse_args(), json.loads(Path(__file__).with_name("selftest.json").read_text("utf-8"))
limits = {entry["product"]: entry["log_prob"] for entry in test["tolerances"]}
limit = limits.get(asked.product or max(limits, key=limits.get)) or sys.exit(f"--product: one of {', '.join(limits)}")

def ask(path, needed=False, **body):  # {} where the server does not know the question
    url, data = asked.server.rstrip("/") + path, json.dumps({"model": model, **body}).encode() if body else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        return json.load(urllib.request.urlopen(request, timeout=600))
    except urllib.error.HTTPError as error:
        return sys.exit(f"{url}: {error}: {error.read(500).decode(errors='replace')}") if needed else {}
    except (OSError, ValueError) as error:
        sys.exit(f"{url}: no server answers there: {error}")

def ids_of(text, special):  # llama-server reads the first two, vLLM the others
    return ask("/tokenize", content=text, add_special=special, prompt=text, add_special_tokens=special).get("tokens")

def ids_of_chat(messages):  # llama-server's way, then vLLM's
    text = ask("/apply-template", messages=messages).get("prompt")
    return ids_of(text, True) if text else ask("/tokenize", messages=messages).get("tokens")

def unequal(what, found, wanted):  # says the first place where two lists of ids part
    at = next((i for i, (a, b) in enumerate(zip(found, wanted)) if a != b), min(len(found), len(wanted)))
    return [f"{what} {at + 1} is {[*found, None][at]}, not {[*wanted, None][at]}"] if found != wanted else []

def wrong_answers(case, wanted):
    said = ask("/v1/completions", needed=True, prompt=case["prompt_ids"], max_tokens=len(wanted), temperature=0,
               logprobs=20, return_tokens_as_token_ids=True)["choices"][0]
    steps = said.get("logprobs") or sys.exit("the server gives no log-probabilities")
    found = [step["id"] for step in steps["content"]] if "content" in steps else [int(t[9:]) for t in steps["tokens"]]
    top = ({t["id"]: t["logprob"] for t in steps["content"][0]["top_logprobs"]} if "content" in steps  # llama-server
           else {int(t[9:]): p for t, p in steps["top_logprobs"][0].items()})  # vLLM writes "token_id:7"
    unshown = said["finish_reason"] == "stop" and wanted[-1] in test["stop_ids"] and len(found) < len(wanted)
    # Where the model's own best two are closer than twice the tolerance, either may come, and another text follows.
    end = next((i for i in range(len(wanted) - unshown)
                if case["greedy_margins"][i] <= 2 * limit and found[i:i + 1] != wanted[i:i + 1]), len(wanted) - unshown)
    apart = max(abs(t["log_prob"] - top.get(t["id"], min(t["log_prob"], *top.values()))) for t in case["top_log_probs"])
    return unequal("greedy token", found[:end], wanted[:end]) + [f"a log-probability is {apart:.3g} off"][:apart > limit]
sys.excepthook = lambda kind, error, _: print(f"{asked.server}: not an answer ({kind.__name__}: {error})", file=sys.stderr)
models = [entry["id"] for entry in ask("/v1/models").get("data", [])]
model = asked.model or ([name for name in models if name == test["model"]] + models + [test["model"]])[0]
checks = [(f"prompt {n} ({str(case['prompt'] or case['prompt_ids'])[:40]!r})", case["prompt"] and
           ids_of(case["prompt"], case["add_special"]), case["prompt_ids"], wrong_answers(case, case["greedy_ids"]))
          for n, case in enumerate(test["cases"], 1)]
checks += [("chat template", ids_of_chat(chat["messages"]), chat["ids"], []) for chat in test["chats"]]
verdicts = [(name, wrong + (unequal("token id", ids, wanted) if ids else [])) for name, ids, wanted, wrong in checks]
for (name, wrong), (_, ids, *_) in zip(verdicts, checks):
    print(f"{name}: {'FAILED: ' + '; '.join(wrong) if wrong else 'ok'}{'' if ids else ' (token ids not compared)'}")
bad = [name for name, wrong in verdicts if wrong]
sys.exit(f"FAILED: {', '.join(bad)}" if bad else print(f"passed: log-probabilities within {limit:.3g}"))
