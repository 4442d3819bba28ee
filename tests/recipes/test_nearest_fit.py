"""A plan that does not fit names the smallest change that does, in words that a user appends to the command."""

import json

import pytest
from conftest import ROOT

RANDOM = ["model.init=random", f"model.tokenizer={ROOT / 'data/quickstart/tokenizer'}"]
SMALL, LARGE = "plan.hardware=rtx4080-16gb", "plan.hardware=a100-40gb"
SENTENCE = "The door is open and the lamp is on. "


def recipe(name, *words, shape=None):
    return [ROOT / f"recipes/models/{name}", f"model.path={shape or name.split('/')[0]}", *words]


FULL = ["adapter.kind=full", "export.peft=false"]
CASES = {
    "four_bits": (recipe("qwen2.5-14b/sft_lora.yaml", SMALL), ["model.quantize=nf4"]),
    "the_proof": (recipe("mistral-7b-v0.3/sft_lora.yaml", SMALL, "adapter.rank=64"), ["export.verify=false"]),
    "the_proof_of_a_large_vocabulary": (recipe("qwen2.5-7b/sft_lora.yaml", SMALL, "adapter.rank=144"), ["export.verify=false"]),
    "moments": (recipe("qwen2.5-3b/sft_lora.yaml", LARGE, *FULL, "train.graph=true"), ["optim.name=adamw8bit"]),
    "moments_on_the_host": (recipe("qwen2.5-3b/sft_lora.yaml", LARGE, *FULL, "train.offload=false"), ["train.offload=true"]),
    "an_adapter": (recipe("qwen2.5-14b/sft_lora.yaml", SMALL, *FULL), ["adapter.kind=lora", "model.quantize=nf4"]),
    "pairs": (recipe("gemma-7b/dpo_lora.yaml", SMALL, *FULL, "preference.reference=precomputed"),
              ["adapter.kind=lora", "model.quantize=nf4"]),
    "recomputed": (recipe("llama-3.1-8b/sft_lora.yaml", "plan.hardware=rtx4090-24gb", "data.train=long.jsonl", "data.format=text",
                          "data.max_length=8192", "data.overlong=truncate", "train.recompute=none"), ["train.recompute=block"]),
    "inputs_on_the_host": (recipe("phi-4-14b/sft_qlora.yaml", SMALL, "data.train=long.jsonl", "data.format=text", "data.max_length=16384",
                            "data.overlong=truncate", "train.offload=false", shape="phi-4"), ["train.offload=true"]),
    "rows_that_are_dropped": (recipe("llama-3.1-8b/sft_lora.yaml", SMALL, "model.quantize=nf4", "data.train=mixed.jsonl"),
                              ["data.max_length=", "data.overlong=drop"]),
}


@pytest.fixture
def rows(tmp_path):
    (tmp_path / "long.jsonl").write_text(2 * (json.dumps({"text": SENTENCE * 4000}) + "\n"))
    mixed = [{"prompt": "Say it.", "completion": " " + SENTENCE * count} for count in 30 * [1] + [5800]]
    (tmp_path / "mixed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in mixed))


@pytest.mark.parametrize("name", CASES)
def test_what_is_named_fits_and_nothing_less_does(name, prentice, rows):
    words, expected = CASES[name]
    told = json.loads(prentice.run("plan", *words, *RANDOM, "--json", code=7).stdout)
    named = told["nearest"]["words"]
    assert not told["fits"] and len(named) == len(expected), named
    assert all(word == wanted or (wanted[-1] == "=" and word.startswith(wanted)) for word, wanted in zip(named, expected)), named
    fitting = json.loads(prentice.run("plan", *words, *RANDOM, *named, "--json").stdout)
    assert fitting["fits"] and fitting["memory"]["peak"] <= told["device"]["bytes"] and "nearest" not in fitting
    for left_out in named if len(named) > 1 else []:
        fewer = prentice.run("plan", *words, *RANDOM, *(word for word in named if word != left_out), code=None)
        assert fewer.returncode != 0, left_out
    if "train.recompute=block" in named:
        prentice.run("plan", *words, *RANDOM, "train.recompute=selective", code=7)
    said = prentice.run("plan", *words, *RANDOM, code=7).stdout
    assert "GB would do with " + " ".join(named) + "\n" in said, said


def test_where_nothing_helps_the_plan_says_what_is_in_the_way(prentice):
    words = recipe("qwen2.5-14b/sft_lora.yaml", SMALL, "adapter.rank=8000", "model.quantize=nf4")
    told = prentice.run("plan", *words, *RANDOM, code=7).stdout
    assert "no change of the recipe is enough" in told and "would do" not in told
    assert "nearest" not in json.loads(prentice.run("plan", *words, *RANDOM, "--json", code=7).stdout)


def test_an_export_of_a_folder_without_weights_is_refused_as_by_its_run(prentice, tmp_path):
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/config.json").write_text((ROOT / "configs/models/quickstart-1m.json").read_text())
    for file in (ROOT / "data/quickstart/tokenizer").iterdir():
        (tmp_path / "bare" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "export.yaml").write_text("recipe: export\n")
    words = ["export.yaml", "model.path=bare", "export.gguf=[Q8_0]", "export.peft=false", "run.device=cpu"]
    said = [prentice.run(verb, *words, code=2).stderr for verb in ("plan", "run")]
    assert said[0] == said[1] and "has no model.safetensors and no model.safetensors.index.json" in said[0], said
