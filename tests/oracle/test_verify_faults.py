"""`recipe: verify`: good files of every family, type and writer pass; what somebody does wrong when a model is exported is found, one
thing at a time, named, and the file loses its name."""

import json
import re
import shutil

import gguf
import numpy as np
import pytest
import torch
from conftest import Prentice
from gguf_faults import File, flip, turned
from safetensors.torch import load_file, save_file
from tiny_models import MODELS, make_model, save_folder, start_adapter

UINT32, INT32, FLOAT32, STRING, BOOL = (getattr(gguf.GGUFValueType, kind) for kind in ("UINT32", "INT32", "FLOAT32", "STRING", "BOOL"))
TEMPLATE = "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endfor %}"
HEADS, KEY_HEADS = 4, 2
WIDE = {"hidden_size": 256, "intermediate_size": 768}
THEIRS = {"Q4_0": 2, "Q4_1": 3, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_M": 12, "Q4_K_M": 15, "Q6_K": 18}  # llama_ftype


class Shop:
    """A folder of models and files of them, and `verify` on any pair."""

    def __init__(self, binary, root):
        self.root, self.program, self.count = root, Prentice(binary, root), 0

    def export(self, model, kind="Q8_0", name=None, **options):
        name = name or f"{str(model).replace('+', '-')}-{kind}"
        self.program.run("export", f"model.path={model}", f"export.gguf=[{kind}]", "export.name=it", f"run.out=made/{name}", "run.device=cpu",
                         "export.peft=false", *[f"{key}={value}" for key, value in options.items()])
        return self.root / f"made/{name}/gguf/it-{kind}.gguf"

    def verify(self, model, artifact, code=0, *words):
        self.count += 1
        out = f"verify-{self.count}"
        said = self.program.run("verify", f"verify.model={model}", f"verify.artifact={artifact}", f"run.out={out}", "run.device=cpu", *words,
                                code=None)
        assert said.returncode == code, f"exit {said.returncode}, wanted {code}\n{said.stdout[-3000:]}\n{said.stderr[-3000:]}"
        report = self.root / out / "verify.json"
        return said, json.loads(report.read_text()) if report.is_file() else None


@pytest.fixture(scope="module")
def shop(binary, tmp_path_factory):
    shop = Shop(binary, tmp_path_factory.mktemp("shop"))
    for name in ("llama", "gemma", "gemma2_usual_scale", "qwen2", "llama_tied_llama3_rope", "stablelm"):
        save_folder(make_model(name), shop.root / name)
        (shop.root / name / "chat_template.jinja").write_text(TEMPLATE)
    save_folder(make_model("llama", seed=7), shop.root / "stranger")
    for seed in (5, 6):
        start_adapter(make_model("llama"), shop.root / f"adapter{seed}")
        file = shop.root / f"adapter{seed}/adapter_model.safetensors"
        save_file({name: tensor * (1 if seed == 5 else -0.8) for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    shop.good = {name: shop.export(name) for name in ("llama", "gemma", "gemma2_usual_scale", "qwen2", "llama_tied_llama3_rope", "stablelm")}
    shop.exact = shop.export("llama", "F32")
    return shop


# What is done to a file of a model, and a word of the reason that must be given.
FAULTS = {
    "q rows in Hugging Face's order": ("llama", lambda f: f.change("blk.0.attn_q.weight", lambda w: turned(w, HEADS)), "blk.0.attn_q"),
    "k rows in Hugging Face's order": ("llama", lambda f: f.change("blk.2.attn_k.weight", lambda w: turned(w, KEY_HEADS)), "blk.2.attn_k"),
    "q rows permuted where they must not be": ("qwen2", lambda f: f.change("blk.1.attn_q.weight", lambda w: turned(w, HEADS)), "blk.1.attn_q"),
    "a norm offset that is missing": ("gemma", lambda f: f.change("blk.1.attn_norm.weight", lambda w: w - 1), "by -1 everywhere"),
    "a norm offset that does not belong": ("llama", lambda f: f.change("output_norm.weight", lambda w: w + 1), "by 1 everywhere"),
    "another RoPE base": ("llama", lambda f: f.set("ARCH.rope.freq_base", 500000.0), "base: expected 10000"),
    "a RoPE base a little off": ("qwen2", lambda f: f.set("ARCH.rope.freq_base", 10010.0), "base: expected 10000"),
    "RoPE scaling that is not the model's": ("llama", lambda f: (f.set("ARCH.rope.scaling.type", "linear", STRING),
                                                                 f.set("ARCH.rope.scaling.factor", 4.0, FLOAT32)), "rotation"),
    "RoPE factors that are not there": ("llama_tied_llama3_rope", lambda f: f.bytes.pop("rope_freqs.weight"), "rope_freqs.weight is missing"),
    "other RoPE factors": ("llama_tied_llama3_rope", lambda f: f.change("rope_freqs.weight", lambda w: np.ones_like(w)), "rotation"),
    "a scale of positions under its old key": ("llama", lambda f: f.set("ARCH.rope.scale_linear", 4.0, FLOAT32), "rotation"),
    "a key that nobody reads here": ("llama", lambda f: f.set("ARCH.attention.gate_scale", 3.0, FLOAT32), "llama.attention.gate_scale"),
    "windows on all layers": ("gemma2_usual_scale", lambda f: f.set("ARCH.attention.sliding_window_pattern", [True] * 3), "only every other layer"),
    "fewer rotated features": ("stablelm", lambda f: f.set("ARCH.rope.dimension_count", 8), "rotated features"),
    "another epsilon": ("llama", lambda f: f.set("ARCH.attention.layer_norm_rms_epsilon", 1e-5), "epsilon"),
    "another context": ("llama", lambda f: f.set("ARCH.context_length", 128), "positions: expected 256, got 128"),
    "another architecture": ("llama", lambda f: setattr(f, "architecture", "qwen2"), "architecture: expected llama, got qwen2"),
    "another pre-tokenizer": ("llama", lambda f: f.set("tokenizer.ggml.pre", "llama-bpe"), "pre-tokenizer"),
    "the default pre-tokenizer": ("qwen2", lambda f: f.set("tokenizer.ggml.pre", "default"), "pre-tokenizer"),
    "a template with one newline less": ("llama", lambda f: f.set("tokenizer.chat_template", f.get("tokenizer.chat_template").replace("\n", "", 1)),
                                         "chat template: differs at byte"),
    "a template with one space more": ("gemma", lambda f: f.set("tokenizer.chat_template", f.get("tokenizer.chat_template") + " "),
                                       "chat template: differs"),
    "no template": ("llama", lambda f: f.drop("tokenizer.chat_template"), "chat template: is missing"),
    "a template for tools that the model has not": ("llama", lambda f: f.set("tokenizer.chat_template.tool_use", "garbage", STRING), "named templates: "),
    "another stop id": ("llama", lambda f: f.set("tokenizer.ggml.eos_token_id", 5), "eos_token_id: expected 0, got 5"),
    "no stop id": ("qwen2", lambda f: f.drop("tokenizer.ggml.eos_token_id"), "eos_token_id: expected 0"),
    "an end of turn that is a piece of words": ("llama", lambda f: f.set("tokenizer.ggml.eot_token_id", 261, UINT32), "stop tokens: expected of 0, got 0, 261"),
    "a beginning that was not trained": ("llama", lambda f: f.set("tokenizer.ggml.add_bos_token", True), "bos_token_id: expected none"),
    "an end behind every text": ("llama", lambda f: f.set("tokenizer.ggml.add_eos_token", True), "add_eos_token"),
    "two tokens in each other's place": ("llama", lambda f: swapped(f, "tokenizer.ggml.tokens", 900, 901), "token list: token 900"),
    "a token spelled otherwise": ("gemma", lambda f: changed(f, "tokenizer.ggml.tokens", 1, "zzzz"), "token list: token 1"),
    "a special token that is plain text": ("llama", lambda f: changed(f, "tokenizer.ggml.token_type", 0, 1), "token types: token 0"),
    "an ordinary token that is unused": ("llama", lambda f: changed(f, "tokenizer.ggml.token_type", 500, 5), "token types: token 500"),
    "an ordinary token that is a control token": ("qwen2", lambda f: changed(f, "tokenizer.ggml.token_type", 501, 3), "token types: token 501"),
    "an ordinary token that is a byte": ("llama", lambda f: changed(f, "tokenizer.ggml.token_type", 502, 6), "token types: token 502"),
    "an ordinary token of no type": ("llama", lambda f: changed(f, "tokenizer.ggml.token_type", 503, 0), "token types: token 503"),
    "a special token that is printed": ("llama", lambda f: changed(f, "tokenizer.ggml.token_type", 0, 4), "token types: token 0"),
    **{f"{key} that is a piece of words": ("llama", lambda f, key=key: f.set(f"tokenizer.ggml.{key}_token_id", 300, UINT32),
                                           f"ends: tokenizer.ggml.{key}_token_id") for key in ("fim_pad", "fim_rep", "fim_sep")},
    **{f"{key} that is a piece of words": ("llama", lambda f, key=key: f.set(f"tokenizer.ggml.{key}_token_id", 300, UINT32),
                                           f"middles: tokenizer.ggml.{key}_token_id")
       for key in ("fim_pre", "fim_suf", "fim_mid", "prefix", "suffix", "middle")},
    "a middle that begins with the end": ("qwen2", lambda f: f.set("tokenizer.ggml.fim_mid_token_id", 0, UINT32), "middles: tokenizer.ggml.fim_mid"),
    "a temperature of nobody's": ("llama", lambda f: f.set("general.sampling.temp", 5.0, FLOAT32),
                                  "sampling: general.sampling.temp: llama.cpp samples with 5, and the model says nothing"),
    "one token that is sampled": ("llama", lambda f: f.set("general.sampling.top_k", 1, INT32), "sampling: general.sampling.top_k"),
    "an end of message that is a piece of words": ("llama", lambda f: f.set("tokenizer.ggml.eom_token_id", 300, UINT32), "stop tokens: expected of 0"),
    "tokens that are never generated": ("llama", lambda f: f.metadata.update({"tokenizer.ggml.suppress_tokens": ([gguf.GGUFValueType.ARRAY, INT32], [300, 301])}),
                                        "ends: tokenizer.ggml.suppress_tokens"),
    "two merges in the other order": ("llama", lambda f: swapped(f, "tokenizer.ggml.merges", 3, 4), "merges: differ from merge 3"),
    "merges that are cut off": ("qwen2", lambda f: f.set("tokenizer.ggml.merges", f.get("tokenizer.ggml.merges")[:-5]), "merges: differ"),
    "a file type that is another": ("llama", lambda f: f.set("general.file_type", 15), "general.file_type says Q4_K_M, the tensors are those of Q8_0"),
    "a file type that nobody knows": ("llama", lambda f: f.set("general.file_type", 777), "general.file_type says number 777"),
    "a tensor of zeros": ("llama", lambda f: f.change("blk.1.ffn_up.weight", np.zeros_like), "blk.1.ffn_up.weight is all zeros"),
    "a scaled tensor": ("llama", lambda f: f.change("blk.1.ffn_down.weight", lambda w: 1.1 * w), "blk.1.ffn_down.weight is 1.1 times"),
    "a tensor of the other sign": ("qwen2", lambda f: f.change("output.weight", lambda w: -w), "output.weight is -1 times"),
    "a value that is no number": ("llama", lambda f: f.change("output_norm.weight", nan_at_3), "output_norm.weight: 1 values are not finite"),
    "an infinite scale": ("llama", lambda f: f.bytes["blk.0.attn_v.weight"].__setitem__((0, slice(0, 2)), [0, 0x7c]), "not finite"),
    "swapped layers": ("llama", lambda f: [f.swap(a, a.replace("blk.0.", "blk.1.")) for a in list(f.bytes) if a.startswith("blk.0.")],
                       "another tensor's"),
    "gate and up in each other's place": ("llama", lambda f: f.swap("blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"), "blk.0.ffn_gate"),
    "a transposed square": ("llama", lambda f: f.change("blk.0.attn_output.weight", np.transpose), "blk.0.attn_output"),
    "embeddings one row on": ("llama", lambda f: f.change("token_embd.weight", lambda w: np.roll(w, 1, axis=0)), "token_embd"),
    "the embedding as the head": ("llama", lambda f: f.bytes.__setitem__("output.weight", f.bytes["token_embd.weight"]), "output.weight"),
    "rounding that is coarser than the type's": ("llama", lambda f: f.change("blk.0.ffn_up.weight", lambda w: np.round(w * 8) / 8), "blk.0.ffn_up"),
    "a tensor that is missing": ("llama", lambda f: f.bytes.pop("blk.2.ffn_norm.weight"), "blk.2.ffn_norm.weight is missing"),
    "a tensor too many": ("llama", lambda f: f.put("blk.0.attn_q.bias", np.zeros(64)), "blk.0.attn_q.bias does not belong here"),
    "a layer less": ("llama", lambda f: [f.bytes.pop(name) for name in list(f.bytes) if name.startswith("blk.2.")], "is missing"),
    "norms in eight bits": ("llama", lambda f: f.put("output_norm.weight", f.values("output_norm.weight"), gguf.GGMLQuantizationType.Q8_0),
                            "output_norm.weight has another type or shape"),
    "norms in sixteen bits": ("llama", lambda f: f.put("blk.1.ffn_norm.weight", f.values("blk.1.ffn_norm.weight"), gguf.GGMLQuantizationType.F16),
                              "blk.1.ffn_norm.weight has another type or shape"),
    "a bias in sixteen bits": ("qwen2", lambda f: f.put("blk.0.attn_q.bias", f.values("blk.0.attn_q.bias"), gguf.GGMLQuantizationType.BF16),
                               "blk.0.attn_q.bias has another type or shape"),
    "a head cut to fewer rows": ("llama", lambda f: f.put("output.weight", f.values("output.weight")[:-32], f.types["output.weight"]),
                                 "output.weight has another type or shape"),
}


def swapped(file, key, a, b):
    items = list(file.get(key))
    items[a], items[b] = items[b], items[a]
    file.set(key, items)


def changed(file, key, index, value):
    items = list(file.get(key))
    items[index] = value
    file.set(key, items)


def nan_at_3(values):
    values[3] = np.nan
    return values


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_and_named(fault, shop, tmp_path):
    model, plant, reason = FAULTS[fault]
    file = File(shop.good[model])
    plant(file)
    file.types = {name: kind for name, kind in file.types.items() if name in file.bytes}
    path = file.write(tmp_path / "planted.gguf")
    said, report = shop.verify(model, path, 9)
    assert reason in said.stderr, said.stderr
    assert not report["passed"] and any(not check["passed"] for check in report["checks"])
    assert not path.exists() and (tmp_path / "planted.gguf.rejected").is_file()


@pytest.mark.parametrize("name, offset, mask", [
    ("blk.1.ffn_gate.weight", 34 * 7 + 2 + 11, 0x80), ("blk.0.attn_v.weight", 34 * 3 + 1, 0x04), ("blk.2.ffn_down.weight", 34 * 50, 0x01), ("token_embd.weight", 34 * 2000 + 20, 0x20),
    ("output_norm.weight", 4 * 17 + 1, 0x01), ("blk.2.attn_norm.weight", 2, 0x40)])
def test_one_flipped_bit_is_found(name, offset, mask, shop, tmp_path):
    said, _ = shop.verify("llama", flip(shop.good["llama"], tmp_path / "flipped.gguf", name, offset, mask), 9)
    assert name in said.stderr


@pytest.mark.parametrize("how", [lambda b: b[: len(b) // 2], lambda b: b[:-1], lambda b: b[:100], lambda b: b"GGUG" + b[4:],
                                 lambda b: b[:4] + b"\x01" + b[5:], lambda b: b""])
def test_a_container_that_is_broken_is_refused_too(how, shop, tmp_path):
    path = tmp_path / "broken.gguf"
    path.write_bytes(how(shop.good["llama"].read_bytes()))
    said, report = shop.verify("llama", path, 9)
    assert f"readable: {path}" in said.stderr and [check["name"] for check in report["checks"]] == ["readable"]
    assert not path.exists() and (tmp_path / "broken.gguf.rejected").is_file()


def test_what_cannot_be_read_is_refused_with_its_origin_asked_too_and_a_broken_model_is_not_its_fault(shop, tmp_path):
    path = tmp_path / "cut.gguf"
    path.write_bytes(shop.good["llama"].read_bytes()[:-1])
    assert "readable: " in shop.verify("llama", path, 9, "--provenance")[0].stderr and not path.exists()
    shutil.copytree(shop.root / "llama", tmp_path / "it-model")  # its name begins with the artifact's
    shutil.copytree(shop.root / "llama", tmp_path / "it")
    (tmp_path / "it-model/model.safetensors").write_bytes(b"no weights")
    shop.verify(tmp_path / "it-model", tmp_path / "it", 4)
    assert (tmp_path / "it").is_dir()


def test_a_size_of_cosines_beside_factors_is_refused(shop, tmp_path):
    file = File(shop.good["llama_tied_llama3_rope"])
    file.set("ARCH.rope.scaling.attn_factor", 3.0, FLOAT32)
    said, _ = shop.verify("llama_tied_llama3_rope", file.write(tmp_path / "large.gguf"), 9)
    assert "readable: " in said.stderr and "rope.scaling.attn_factor" in said.stderr


def test_a_stale_adapter_a_forgotten_one_and_another_model_are_found(shop, tmp_path):
    merged = shop.export("llama+adapter5")
    _, report = shop.verify("llama+adapter5", merged)
    assert 0 < report["kld_mean"] < 5e-3
    for model, artifact in (("llama+adapter6", merged), ("llama+adapter5", shop.good["llama"]), ("llama", merged), ("stranger", shop.good["llama"])):
        copy = tmp_path / "copy.gguf"
        shutil.copy(artifact, copy)
        said, _ = shop.verify(model, copy, 9)
        assert "rounding: " in said.stderr and not copy.exists()
    other = tmp_path / "babyllama.gguf"
    shutil.copy(shop.good["qwen2"], other)
    assert "architecture: expected llama, got qwen2" in shop.verify("llama", other, 9)[0].stderr


def test_an_adapter_file_is_verified_too(shop, tmp_path):
    shop.program.run("export", "model.path=llama+adapter5", "export.gguf_adapter=F32", "run.out=made/adapter", "run.device=cpu")
    path = tmp_path / "adapter.gguf"
    shutil.copy(shop.root / "made/adapter/gguf/adapter.gguf", path)
    shop.verify("llama+adapter5", path)
    assert "values: " in shop.verify("llama+adapter6", path, 9)[0].stderr
    file = File(shop.root / "made/adapter/gguf/adapter.gguf")
    file.set("adapter.lora.alpha", 8.0)
    assert "architecture and scale" in shop.verify("llama+adapter5", file.write(path), 9)[0].stderr
    shutil.copy(shop.root / "made/adapter/gguf/adapter.gguf", path)
    assert "verify.artifact" in shop.verify("llama", path, 2)[0].stderr and path.exists()


@pytest.mark.parametrize("kind", ["f32", "bf16", "nf4"])
def test_a_merged_folder_passes_and_one_that_was_changed_does_not(kind, shop, tmp_path):
    shop.program.run("export", "model.path=llama+adapter5", f"export.merged={kind}", f"run.out=made/{kind}", "run.device=cpu", "export.peft=false")
    merged = shop.root / f"made/{kind}/merged"
    _, report = shop.verify("llama+adapter5", merged)
    assert report["passed"] and report["top1"] > (0.99 if kind == "f32" else 0.6)

    def tensors(change):
        def apply(folder):
            file = folder / "model.safetensors"
            save_file({name: tensor.clone() for name, tensor in change(load_file(file)).items()}, file, {"format": "pt"})
        return apply

    def text(name, old, new):
        def apply(folder):
            content = (folder / name).read_text()
            assert old in content
            (folder / name).write_text(content.replace(old, new, 1))
        return apply

    norm = "model.layers.1.input_layernorm.weight"
    faults = [(tensors(lambda all_: {**all_, norm: all_[norm] * 2}), 9, norm + " is 2 times"),
              (tensors(lambda all_: {name: tensor for name, tensor in all_.items() if name != norm}), 9, norm + " is missing"),
              (tensors(lambda all_: {**all_, "more": all_[norm]}), 9, "more does not belong here"),
              (text("config.json", '"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'), 9, "epsilon"),
              (text("chat_template.jinja", "\n", " \n"), 9, "chat template: differs"),
              (text("generation_config.json", '"eos_token_id": 0', '"eos_token_id": 7'), 9, "stop tokens"),
              (text("config.json", '"eos_token_id": 0', '"eos_token_id": 5'), 9, "stop tokens of config.json: eos_token_id 5"),
              (text("config.json", '"eos_token_id": 0', '"eos_token_id": [0, 5]'), 9, "stop tokens of config.json: eos_token_id 5"),
              (text("generation_config.json", '"eos_token_id": 0', '"suppress_tokens": [300, 301], "eos_token_id": 0'), 9,
               "sampling: generation_config.json: suppress_tokens: transformers generates with [300, 301]"),
              (text("generation_config.json", '"eos_token_id": 0', '"temperature": 5.0, "eos_token_id": 0'), 9, "sampling: generation_config.json: temperature")]
    for number, (plant, code, reason) in enumerate(faults):
        folder = tmp_path / f"planted{number}"
        shutil.copytree(merged, folder)
        plant(folder)
        said, _ = shop.verify("llama+adapter5", folder, code)
        assert reason in said.stderr, said.stderr
        assert (tmp_path / f"planted{number}.rejected").is_dir()


def test_a_folder_that_peft_merged_passes(shop, tmp_path):
    import peft
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(shop.root / "llama", dtype=torch.float32)
    merged = peft.PeftModel.from_pretrained(model, shop.root / "adapter5").merge_and_unload()
    save_folder(merged, tmp_path / "merged")
    (tmp_path / "merged/chat_template.jinja").write_text(TEMPLATE)
    shop.verify("llama+adapter5", tmp_path / "merged")


@pytest.mark.parametrize("name", MODELS)
def test_good_files_of_every_family_pass(name, shop, tmp_path):
    """As the exporter wrote them, which proves them itself, and as the package gguf writes them."""
    save_folder(make_model(name), tmp_path / "model")
    again = File(shop.export(tmp_path / "model", "F16", name=f"family-{name}"))
    _, report = shop.verify(tmp_path / "model", again.write(tmp_path / "again.gguf"))
    assert {check["name"] for check in report["checks"]} >= {"token ids", "rotation", "values", "log-probabilities", "top-1"}


def test_a_trained_model_passes(shop, shared_data):
    """Its tokenizer is of SentencePiece, and what it has learnt is not spread evenly."""
    model = shared_data / "models/stories260K-hf"
    for kind in ("F16", "Q8_0", "Q4_0"):
        path = shop.export(model, kind, name=f"stories-{kind}")
        shop.verify(model, path, 0, f"data.eval={shared_data / 'datasets/tinystories/train.jsonl'}", "data.limit=8")


@pytest.mark.parametrize("spoil", [np.zeros_like, lambda scores: np.floor(scores / 16) * 16, lambda scores: -scores],
                         ids=["none", "sixteen alike", "the other way round"])
def test_scores_that_join_other_pieces_first_are_found(spoil, shop, shared_data, tmp_path):
    model = shared_data / "models/stories260K-hf"
    file = File(shop.export(model, "F16", name="stories-scores"))
    file.set("tokenizer.ggml.scores", spoil(np.array(file.get("tokenizer.ggml.scores"), np.float32)).tolist())
    assert "scores: " in shop.verify(model, file.write(tmp_path / "scores.gguf"), 9)[0].stderr


@pytest.mark.parametrize("rows, seen", [(1, 511), (40, 480)])
def test_few_rows_are_no_proof_alone(rows, seen, shop, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "No paper."}\n' * rows)
    report = shop.verify("llama", shop.good["llama"], 0, f"data.eval={tmp_path / 'rows.jsonl'}", "data.format=text")[1]
    tokens = next(check["detail"] for check in report["checks"] if check["name"] == "log-probabilities")
    assert int(re.search(r"over ([\d,]+) tokens", tokens).group(1).replace(",", "")) > seen - 60, tokens


def test_a_size_of_cosines_that_no_scaling_explains_is_refused(shop, tmp_path):
    """llama.cpp multiplies by it whatever the type of the scaling is."""
    file = File(shop.good["llama"])
    file.set("ARCH.rope.scaling.attn_factor", 3.0, FLOAT32)
    said, _ = shop.verify("llama", file.write(tmp_path / "large.gguf"), 9)
    assert "llama.rope.scaling.attn_factor" in said.stderr


def test_a_template_of_a_name_is_the_models(shop, tmp_path):
    """As convert_hf_to_gguf writes those that transformers saves beside chat_template.jinja."""
    shutil.copytree(shop.root / "llama", tmp_path / "model")
    (tmp_path / "model/additional_chat_templates").mkdir()
    (tmp_path / "model/additional_chat_templates/tool-use.jinja").write_text("{{ tools }}" + TEMPLATE)
    file = File(shop.good["llama"])
    file.set("tokenizer.chat_template.tool_use", "{{ tools }}" + TEMPLATE, STRING)
    shop.verify(tmp_path / "model", file.write(tmp_path / "good.gguf"))
    file.set("tokenizer.chat_template.tool_use", TEMPLATE)
    said, _ = shop.verify(tmp_path / "model", file.write(tmp_path / "bad.gguf"), 9)
    assert "named templates: tokenizer.chat_template.tool_use: differs" in said.stderr


@pytest.mark.parametrize("kind, code", [(2, 0), (1, 9), (5, 9)])
def test_what_is_unknown_may_be_a_control_token_and_no_ordinary_one(kind, code, shop, shared_data, tmp_path):
    model = shared_data / "models/stories260K-hf"
    file = File(shop.export(model, "F16", name="stories-types"))
    assert file.get("tokenizer.ggml.token_type")[0] == 2
    changed(file, "tokenizer.ggml.token_type", 0, {2: 3}.get(kind, kind))
    assert ("token types: token 0" in shop.verify(model, file.write(tmp_path / "types.gguf"), code)[0].stderr) == (code == 9)


def test_limits_are_the_recipes_where_it_has_some(shop, tmp_path):
    path = tmp_path / "file.gguf"
    shutil.copy(shop.good["llama"], path)
    said, report = shop.verify("llama", path, 9, "verify.limits={Q8_0: {kld: 1e-9, top1: 1}}")
    assert "log-probabilities: " in said.stderr and report["kld_mean"] > 1e-9
