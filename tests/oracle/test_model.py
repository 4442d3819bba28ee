"""Logits, every gradient and greedy texts of tiny random models against transformers, in f32; in bf16 the errors of both.

The sequences stand in one packed row here and are passed alone there; they are shorter and longer than every window and
than every length at which a rotation changes, and the texts grow past it."""

import json
import os
import re
import subprocess

import pytest
import torch
import torch.nn.functional as F
from conftest import built, relative
from safetensors.torch import load_file
from tiny_models import HF_MODELS, MODELS, VOCABULARY, make_model, save_folder

LENGTHS = [23, 7, 40, 2]
TOLERANCE = 1e-5
NEW_TOKENS = 12
BF16_SHARE = 1.25  # of transformers' own error in bf16


@pytest.fixture(scope="module")
def dump_program():
    return built("test_model")


def reference(model, sequences):
    """Logits of each sequence alone, and the gradients of the mean loss over all their next tokens."""
    logits = [model(torch.tensor([ids])).logits[0] for ids in sequences]
    targets = sum(len(ids) - 1 for ids in sequences)
    losses = [F.cross_entropy(rows[:-1], torch.tensor(ids[1:]), reduction="sum") for rows, ids in zip(logits, sequences)]
    (sum(losses) / targets).backward()
    return torch.cat(logits).detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", MODELS | HF_MODELS)
def test_logits_and_gradients_equal_transformers(name, dump_program, tmp_path):
    model = make_model(name)
    save_folder(model, tmp_path)
    generator = torch.Generator().manual_seed(2)
    sequences = [torch.randint(4, VOCABULARY, (length,), generator=generator).tolist() for length in LENGTHS]
    (tmp_path / "tokens.json").write_text(json.dumps(sequences))
    subprocess.run([dump_program, "--gtest_filter=Oracle.WritesLogitsAndGradients"], check=True, capture_output=True,
                   env={**os.environ, "PRENTICE_ORACLE_DIR": str(tmp_path)})
    ours = load_file(tmp_path / "ours.safetensors")
    logits, gradients = reference(model, sequences)

    assert relative(ours.pop("logits"), logits) < TOLERANCE
    assert {key.removeprefix("grad.") for key in ours} == set(gradients)
    # A key bias shifts all scores of a query alike, so its gradient is rounding: it is measured against its layer's.
    for key, gradient in gradients.items():
        beside = re.sub(r"k_(proj|layernorm)\.bias", r"q_\1.bias", key)
        scale = gradients[beside].norm()
        error = ((ours[f"grad.{key}"] - gradient).norm() / scale).item()
        assert error < TOLERANCE, f"{key}: {error:.2e}"


def error_of(some, exact):
    """Of the logits, and of all gradients taken as one vector."""
    keys = sorted(exact[1])
    flat = [torch.cat([gradients[key].double().flatten() for key in keys]) for gradients in (some[1], exact[1])]
    return relative(some[0], exact[0]), relative(*flat)


@pytest.mark.parametrize("name", MODELS | HF_MODELS)
def test_bf16_is_as_near_to_f32_as_transformers_own(name, dump_program, tmp_path):
    """The same weights, rounded to bf16, three times: transformers in f32, in bf16, and ours in bf16."""
    model = make_model(name).to(torch.bfloat16)
    save_folder(model, tmp_path)
    generator = torch.Generator().manual_seed(2)
    sequences = [torch.randint(4, VOCABULARY, (length,), generator=generator).tolist() for length in LENGTHS]
    (tmp_path / "tokens.json").write_text(json.dumps(sequences))
    subprocess.run([dump_program, "--gtest_filter=Oracle.WritesLogitsAndGradients"], check=True, capture_output=True,
                   env={**os.environ, "PRENTICE_ORACLE_DIR": str(tmp_path), "PRENTICE_ORACLE_TYPE": "bf16"})
    ours = load_file(tmp_path / "ours.safetensors")
    # Loaded anew: .to() rounds the rotation's frequencies as well, which stay f32 in use.
    theirs, exact = [reference(type(model).from_pretrained(tmp_path, dtype=dtype, attn_implementation="eager"), sequences)
                     for dtype in (torch.bfloat16, torch.float32)]
    logits, gradients = error_of((ours.pop("logits"), {key.removeprefix("grad."): value for key, value in ours.items()}), exact)
    their_logits, their_gradients = error_of(theirs, exact)
    print(f"BF16 {name}: logits {logits:.1e} against {their_logits:.1e}, gradients {gradients:.1e} against {their_gradients:.1e}")
    assert logits < BF16_SHARE * their_logits
    assert gradients < BF16_SHARE * their_gradients


@pytest.mark.parametrize("name", MODELS | HF_MODELS)
def test_greedy_texts_equal_transformers(name, dump_program, tmp_path):
    model = make_model(name)
    save_folder(model, tmp_path)
    generator = torch.Generator().manual_seed(3)
    prompts = [torch.randint(4, VOCABULARY, (length,), generator=generator).tolist() for length in (3, 13, 21)]
    (tmp_path / "prompts.json").write_text(json.dumps({"prompts": prompts, "tokens": NEW_TOKENS}))
    subprocess.run([dump_program, "--gtest_filter=Oracle.WritesGreedyTexts"], check=True, capture_output=True,
                   env={**os.environ, "PRENTICE_ORACLE_DIR": str(tmp_path)})
    for prompt, ours in zip(prompts, json.loads((tmp_path / "texts.json").read_text())):
        theirs = model.generate(torch.tensor([prompt]), max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=None)
        assert ours == theirs[0, len(prompt):].tolist()
