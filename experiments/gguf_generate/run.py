"""Greedy generation from a GGUF file beside llama.cpp on the same file, threads and machine, in turns. Ours is the difference of
two whole runs of `prentice generate` that make few and many tokens; theirs the time from the first new token to the last."""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("quantize", ROOT / "experiments/quantize/run.py")
quantize = importlib.util.module_from_spec(spec)
spec.loader.exec_module(quantize)

FILE_TYPES = {"Q4_K_M": 15, "Q6_K": 18, "Q8_0": 7}
FEW, MANY = 4, 68
PROMPT = "Once upon a time there was a"


def ours(path, tokens, threads):
    begin = time.perf_counter()
    done = subprocess.run([quantize.BUILD / "prentice", "generate", f"model.path={path}", f"generate.prompt={PROMPT}", "run.device=cpu",
                           f"generate.max_new_tokens={tokens}", f"run.threads={threads}", "--json"],
                          capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    return time.perf_counter() - begin, len(answer["outputs"][0]["ids"]), answer["prompt_ids"]


def theirs(path, prompt, tokens, threads):
    done = subprocess.run(["node", Path(__file__).with_name("generate.mjs"), path, json.dumps(prompt), str(tokens), str(threads)],
                          capture_output=True, text=True, check=True,
                          env={**os.environ, "PRENTICE_NODE_MODULES": str(quantize.NODE_MODULES)})
    return float(done.stdout)


def compare(path, rounds, threads):
    pairs = []
    for turn in range(rounds + 1):
        few, few_tokens, prompt = ours(path, FEW, threads)
        many, many_tokens, _ = ours(path, MANY, threads)
        made = many_tokens - few_tokens
        if turn > 0:  # the first pair warms up
            pairs.append((made / (many - few), made / theirs(path, prompt, made, threads)))
    ratios = [other / own for own, other in pairs]
    return {"tokens_per_second": statistics.median(own for own, _ in pairs), "llama_cpp": statistics.median(other for _, other in pairs),
            "times_as_long": statistics.median(ratios), "range": [min(ratios), max(ratios)]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        quantize.write_folder(folder / "model", given.layers)
        subprocess.run([quantize.BUILD / "prentice", "export", f"model.path={folder / 'model'}", "export.gguf=[BF16]", "export.verify=false",
                        f"run.out={folder / 'out'}"], check=True, capture_output=True)
        source = next((folder / "out/gguf").glob("*.gguf"))
        make = quantize.quantizer(quantize.NODE_MODULES)
        for name, number in FILE_TYPES.items():
            make(source, folder / f"{name}.gguf", number, given.threads)
            results[name] = compare(folder / f"{name}.gguf", given.rounds, given.threads)
            print(name, json.dumps(results[name]))
    if given.out:
        given.out.write_text(json.dumps({"layers": given.layers, "threads": given.threads, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
