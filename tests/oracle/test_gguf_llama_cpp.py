"""Exports in the hands of the programs they are for: GGUF files in llama.cpp (token ids, log-probabilities) and in the
Python package gguf (every value), merged folders in transformers, merged adapters against PEFT. Drives test_export."""

import json
import os
import subprocess
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from conftest import ROOT, absent, built, setting
from peft import LoraConfig, PeftModel, get_peft_model
from tiny_models import MODELS, make_model, save_folder
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

TYPES = ["F32", "F16", "BF16", "Q8_0"]
TEXTS = ["Once upon a time", "  two  spaces, a\nnewline and a tab\t.", "She said: \"I can't, we'll see!\" 12345 67.", "x"]
TEXTS += ["größe — naïve café 東京 🦊", "e\u0301 \u00a0 \u2003|"]
SHARED = "stories260K-hf"


def with_adapter(base, folder):
    """A PEFT adapter with values everywhere, rsLoRA and a pattern."""
    torch.manual_seed(3)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
                           LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", use_rslora=True,
                                      rank_pattern={"down_proj": 2}, alpha_pattern={"q_proj": 3}, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """{name: {"base", "adapter", "out"}}: everything is exported by one process."""
    program = built("test_export")
    root = tmp_path_factory.mktemp("exports")
    data = setting("PRENTICE_TEST_DATA", ROOT.parent / "shared/data")
    jobs = {name: {"base": save_folder(make_model(name), root / name / "base")} for name in MODELS}
    if (data / "models" / SHARED).is_dir():
        jobs[SHARED] = {"base": data / "models" / SHARED}
    for name in {"llama_attention_and_mlp_bias", "qwen2", SHARED} & set(jobs):
        base = jobs[name]["base"]
        jobs[name + "+lora"] = {"base": base, "adapter": with_adapter(base, root / (name + "+lora") / "adapter")}
    for name, job in jobs.items():
        job.setdefault("adapter", None)
        job["out"] = root / name / "out"
    requests = [{"base": str(job["base"]), "adapter": job["adapter"] and str(job["adapter"]), "out": str(job["out"]),
                 "gguf": TYPES, "merged": "f32"} for job in jobs.values()]
    (root / "request.json").write_text(json.dumps(requests))
    result = subprocess.run([program, "--gtest_filter=Oracle.WritesExports"], capture_output=True, text=True,
                            env={**os.environ, "PRENTICE_ORACLE_DIR": str(root)})
    assert result.returncode == 0, result.stdout[-4000:]
    return jobs


def ask_llama_cpp(jobs, folder):
    modules = setting("PRENTICE_NODE_MODULES", ROOT / "node_modules")
    if not (Path(modules) / "node-llama-cpp").is_dir():
        absent(f"no node-llama-cpp in {modules}")
    answer = folder / "answer.json"
    result = subprocess.run(["node", Path(__file__).with_name("llama_oracle.mjs"), answer], input=json.dumps(jobs), text=True,
                            capture_output=True, env={**os.environ, "PRENTICE_NODE_MODULES": str(modules)})
    assert result.returncode == 0, result.stderr[-4000:]
    return json.loads(answer.read_text())


def reference_model(job):
    model = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32, attn_implementation="eager")
    return PeftModel.from_pretrained(model, job["adapter"]).eval() if job["adapter"] else model.eval()


def text_config(folder):
    config = json.loads((folder / "config.json").read_text())
    return config | config.get("text_config", {})


def vocabulary_of(model):
    return model.config.get_text_config().vocab_size


def uses_gelu(model):
    config = model.config.get_text_config()
    return "gelu" in str(getattr(config, "hidden_activation", None) or config.hidden_act)


class TableGelu(torch.nn.Module):
    """GELU as ggml's table has it: argument and value rounded to f16 between -10 and 10."""

    def forward(self, x):
        rounded = torch.nn.functional.gelu(x.half().float(), approximate="tanh").half().float()
        return torch.where(x <= -10, torch.zeros_like(x), torch.where(x >= 10, x, rounded))


def with_the_table_of_ggml(model):
    if uses_gelu(model):
        for module in model.modules():
            for name in ("act_fn", "activation_fn"):
                if hasattr(module, name):
                    setattr(module, name, TableGelu())
    return model


def sequences_for(name, vocabulary):
    """Short where a window of 8 holds, which llama.cpp does not apply to these architectures; long where it takes
    longrope's long factors whatever the text's length."""
    lengths = [8] if "window" in name else [24] if "longrope" in name else [24, 5]
    generator = torch.Generator().manual_seed(4)
    return [torch.randint(3, vocabulary, (length,), generator=generator).tolist() for length in lengths]


@pytest.fixture(scope="module")
def llama_cpp(exports, tmp_path_factory):
    """{name: what llama.cpp says of the F32 file}: one node process, because starting it is the slow part."""
    jobs = []
    for name, job in exports.items():
        vocabulary = text_config(job["base"])["vocab_size"]
        jobs.append({"path": str(job["out"] / "F32.gguf"), "contextSize": 256, "vocabulary": vocabulary, "texts": TEXTS,
                     "sequences": sequences_for(name, vocabulary)})
    return dict(zip(exports, ask_llama_cpp(jobs, tmp_path_factory.mktemp("answers"))))


NAMES = [*MODELS, SHARED, "llama_attention_and_mlp_bias+lora", "qwen2+lora", SHARED + "+lora"]


@pytest.mark.parametrize("name", NAMES)
def test_llama_cpp_gives_the_log_probabilities_of_transformers(name, exports, llama_cpp):
    if name not in exports:
        pytest.skip(f"no shared model {name}")
    model = with_the_table_of_ggml(reference_model(exports[name]))
    for ids, theirs in zip(sequences_for(name, vocabulary_of(model)), llama_cpp[name]["log_probs"]):
        with torch.no_grad():
            ours = model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
        theirs = torch.tensor([-200.0 if x is None else x for x in theirs], dtype=torch.float64)
        likely = ours > -80  # below, the probability is no longer a normal f32
        assert (ours - theirs)[likely].abs().max() < (1e-3 if uses_gelu(model) else 1e-4)
        assert likely.sum() > 100 or likely.all()


@pytest.mark.parametrize("name", NAMES)
def test_llama_cpp_gives_the_token_ids_of_tokenizer_json(name, exports, llama_cpp):
    if name not in exports:
        pytest.skip(f"no shared model {name}")
    # The crate itself: transformers 5 rebuilds some families' tokenizers with rules that are not in the file.
    tokenizer = Tokenizer.from_file(str(exports[name]["base"] / "tokenizer.json"))
    for text, theirs in zip(TEXTS, llama_cpp[name]["texts"]):
        assert theirs == tokenizer.encode(text, add_special_tokens=False).ids, text
    assert llama_cpp[name]["eos"] == text_config(exports[name]["base"])["eos_token_id"]


@pytest.mark.parametrize("name", NAMES)
def test_merged_folder_gives_the_logits_of_the_source(name, exports):
    if name not in exports:
        pytest.skip(f"no shared model {name}")
    job = exports[name]
    merged = AutoModelForCausalLM.from_pretrained(job["out"] / "merged", dtype=torch.float32, attn_implementation="eager").eval()
    model = reference_model(job)
    for ids in sequences_for(name, merged.config.vocab_size):
        with torch.no_grad():
            ours, theirs = merged(torch.tensor([ids])).logits, model(torch.tensor([ids])).logits
        if job["adapter"]:
            assert (ours - theirs).norm() < 1e-5 * theirs.norm()
        else:
            assert torch.equal(ours, theirs)
    assert AutoTokenizer.from_pretrained(job["out"] / "merged").encode("Once") == AutoTokenizer.from_pretrained(job["base"]).encode("Once")


@pytest.mark.parametrize("kind", TYPES)
def test_python_gguf_reads_every_value(kind, exports):
    name = SHARED if SHARED in exports else "llama"
    reader = gguf.GGUFReader(exports[name]["out"] / f"{kind}.gguf")
    exact = {t.name: t.data for t in gguf.GGUFReader(exports[name]["out"] / "F32.gguf").tensors}
    types = {t.name: t.tensor_type for t in reader.tensors}
    for tensor in reader.tensors:
        wanted = exact[tensor.name]
        if tensor.tensor_type == gguf.GGMLQuantizationType.F32:
            np.testing.assert_array_equal(tensor.data, wanted)
        elif tensor.tensor_type == gguf.GGMLQuantizationType.F16:
            np.testing.assert_array_equal(tensor.data, wanted.astype(np.float16))
        else:
            # The package's own encoder is the reference: the same bytes.
            np.testing.assert_array_equal(tensor.data.view(np.uint8), gguf.quants.quantize(wanted, tensor.tensor_type).view(np.uint8))
    assert types["blk.0.attn_q.weight"].name == kind
    assert types["blk.0.attn_norm.weight"].name == "F32"


def test_llama_cpp_loads_every_type(exports, tmp_path):
    """Log-probabilities of rounded weights (and int8 activations, with Q8_0) stay near those of the exact ones."""
    name = SHARED if SHARED in exports else "llama"
    model = reference_model(exports[name])
    ids = sequences_for(name, model.config.vocab_size)[0]
    limits = {"F16": 1e-4, "BF16": 1e-3, "Q8_0": 5e-3}
    answers = ask_llama_cpp([{"path": str(exports[name]["out"] / f"{kind}.gguf"), "contextSize": 256, "sequences": [ids],
                              "vocabulary": model.config.vocab_size} for kind in limits], tmp_path)
    with torch.no_grad():
        ours = model(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
    for (kind, limit), answer in zip(limits.items(), answers):
        theirs = torch.tensor(answer["log_probs"][0], dtype=torch.float64)
        divergence = (ours.exp() * (ours - theirs)).sum()
        assert divergence < limit, f"{kind}: KLD {divergence:.2e}"
