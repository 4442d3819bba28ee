"""Adapters as GGUF LoRA on the base model's GGUF in llama.cpp, against the same adapter in peft. Drives test_export."""

import json
import os
import subprocess

import pytest
import torch
from conftest import built
from peft import LoraConfig, PeftModel, get_peft_model
from test_gguf_llama_cpp import ask_llama_cpp, sequences_for, uses_gelu, with_the_table_of_ggml
from tiny_models import MODELS, VOCABULARY, make_model, save_folder
from transformers import AutoModelForCausalLM

ALL = dict(target_modules="all-linear", rank_pattern={"o_proj": 2, "dense": 2}, alpha_pattern={"q_proj": 3, "qkv_proj": 3})
ENDS = dict(target_modules=["embed_tokens", "lm_head", "down_proj", "fc2"])
# Every family's own adapter, once with rsLoRA; the ends where the head is a weight of its own.
TEXT = {**ALL, "target_modules": r".*language_model.*_proj"}  # of a model with images, the text part
CASES = {name: (name, TEXT if "images" in name else ALL) for name in MODELS}
CASES |= {name + "+rslora": (name, {**ALL, "use_rslora": True}) for name in ("llama_attention_and_mlp_bias", "phi3_plain")}
CASES |= {name + "+ends": (name, ENDS) for name in ("llama", "qwen2", "phi3_plain", "phi", "stablelm")}


def random_adapter(base, folder, options):
    torch.manual_seed(3)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
                           LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    program = built("test_export")
    root = tmp_path_factory.mktemp("adapters")
    bases = {name: save_folder(make_model(name), root / "bases" / name) for name in MODELS}
    jobs = {}
    for case, (name, options) in CASES.items():
        jobs[case] = {"base": bases[name], "adapter": root / case / "adapter", "out": root / case / "out"}
        random_adapter(bases[name], jobs[case]["adapter"], options)
    (root / "request.json").write_text(json.dumps([{key: str(path) for key, path in job.items()} for job in jobs.values()]))
    result = subprocess.run([program, "--gtest_filter=Oracle.WritesGgufAdapters"], capture_output=True, text=True,
                            env={**os.environ, "PRENTICE_ORACLE_DIR": str(root)})
    assert result.returncode == 0, result.stdout[-4000:]
    return jobs


def request(job, kind):
    return {"path": str(job["out"] / "F32.gguf"), "lora": str(job["out"] / f"adapter-{kind}.gguf"), "contextSize": 256,
            "vocabulary": VOCABULARY, "sequences": sequences_for(job["base"].name, VOCABULARY)}


@pytest.fixture(scope="module")
def llama_cpp(jobs, tmp_path_factory):
    answers = ask_llama_cpp([request(job, "F32") for job in jobs.values()], tmp_path_factory.mktemp("answers"))
    return dict(zip(jobs, answers))


def reference(job, adapted=True):
    model = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32, attn_implementation="eager")
    return (PeftModel.from_pretrained(model, job["adapter"]) if adapted else model).eval()


@torch.no_grad()
def log_probabilities(model, ids):
    return model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)


@pytest.mark.parametrize("case", CASES)
def test_llama_cpp_with_the_adapter_gives_the_log_probabilities_of_peft(case, jobs, llama_cpp):
    job = jobs[case]
    model, plain = with_the_table_of_ggml(reference(job)), reference(job, adapted=False)
    for ids, theirs in zip(sequences_for(job["base"].name, VOCABULARY), llama_cpp[case]["log_probs"]):
        ours = log_probabilities(model, ids)
        theirs = torch.tensor([-200.0 if x is None else x for x in theirs], dtype=torch.float64)
        likely = ours > -80  # below, the probability is no longer a normal f32
        assert (ours - theirs)[likely].abs().max() < (1e-3 if uses_gelu(model) else 1e-4)
        assert (ours - log_probabilities(plain, ids))[likely].abs().max() > 0.1, "the adapter does nothing"


def test_llama_cpp_takes_every_type(jobs, tmp_path):
    job = jobs["llama"]
    limits = {"F16": 1e-4, "BF16": 1e-3, "Q8_0": 5e-3}
    answers = ask_llama_cpp([request(job, kind) for kind in limits], tmp_path)
    model = reference(job)
    ids = sequences_for("llama", VOCABULARY)[0]
    ours = log_probabilities(model, ids)
    for (kind, limit), answer in zip(limits.items(), answers):
        theirs = torch.tensor(answer["log_probs"][0], dtype=torch.float64)
        assert (ours.exp() * (ours - theirs)).sum() < limit, kind
