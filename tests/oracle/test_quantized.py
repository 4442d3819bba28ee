"""A base held in NF4 against transformers, PEFT and TRL on bitsandbytes: scores, twenty steps of QLoRA, ten of DPO."""

import json
import shutil

import peft
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT, read_metrics, write_rows
from safetensors.torch import load_file, save_file
from test_preference import pairs
from test_preference import train_reference as train_with_trl
from test_training import BATCH, LR, STEPS, WARMUP, train_reference
from tiny_models import make_model, save_folder, start_adapter
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedTokenizerFast

bnb = pytest.importorskip("bitsandbytes")
KINDS = {"nf4": True, "nf4-single": False}  # whether the scales are nested
TICKETS = ROOT / "data/tickets/train.jsonl"


def tiny_model(name):
    """Rows of whole blocks: where one has a multiple of 32 values and not of 64, as the tiny models' own 160, bitsandbytes 0.50
    takes other blocks' scales on a CPU with AVX-512."""
    return make_model(name, intermediate_size=192)


def exact_places(module, values):
    """The nearest places of the scales: on the CPU bitsandbytes finds those for float64 numbers, and others near by for float32."""
    state = module.weight.quant_state
    _, plain = bnb.functional.quantize_4bit(values, quant_type="nf4", compress_statistics=False)
    above = (plain.absmax - state.offset).double()
    state.absmax, _ = torch.ops.bitsandbytes.quantize_blockwise(above, state.state2.code, 256)


def quantized_model(folder, nested):
    """The model as transformers loads it in four bits. It stays in training mode: bitsandbytes infers in bf16 on some CPUs."""
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, device_map="cpu",
        quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=nested,
                                               bnb_4bit_compute_dtype=torch.float32))
    for name, module in model.named_modules():
        if nested and isinstance(module, bnb.nn.Linear4bit):
            exact_places(module, plain.get_submodule(name).weight.detach())
    return model.train()


def rows_as_read(prentice, recipe, count):
    """[(ids, labels)] in file order, as the program reads them: what is compared is not the tokenizer."""
    audit = json.loads(prentice.run("audit", recipe, "--rows", str(count), "--json").stdout)
    rows = [(row["ids"], [i if trained else -100 for i, trained in zip(row["ids"], row["trained"])]) for row in audit["sequences"]]
    assert len(rows) == count
    return rows


def stories(shared_data, path):
    lines = (shared_data / "datasets/tinystories/train.jsonl").read_text().splitlines()[: STEPS * BATCH]
    rows = [next(iter(json.loads(line).values())) for line in lines]
    write_rows(path, [{"text": row[:300]} for row in rows])
    folder = shared_data / "models/stories260K-hf"
    if not folder.is_dir():
        pytest.skip("no stories260K")
    return folder


def tickets(path):
    path.write_text("".join(line + "\n" for line in TICKETS.read_text().splitlines()[: STEPS * BATCH]))
    return save_folder(tiny_model("llama"), path.parent / "model")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("base, settings", [("stories", {}), ("tickets", {"train.micro_tokens": 64, "train.recompute": "block"})],
                         ids=["stories260K", "tiny_micros_recomputed"])
def test_twenty_steps_follow_peft_and_bitsandbytes(kind, base, settings, prentice, shared_data, tmp_path):
    data = tmp_path / "rows.jsonl"
    folder = stories(shared_data, data) if base == "stories" else tickets(data)
    start_adapter(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), tmp_path / "start")
    recipe = tmp_path / "recipe.yaml"
    lines = {"model": {"path": str(folder), "quantize": kind},
             "adapter": {"init": str(tmp_path / "start")},
             "data": {"train": str(data), "shuffle": False, "eval_split": 0, **({"format": "text"} if base == "stories" else {})},
             "train": {"batch": BATCH, "epochs": 1}, "optim": {"lr": LR, "warmup": WARMUP}}
    recipe.write_text("recipe: sft\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items()))
    prentice.run("run", recipe, "run.out=run", "run.precision=f32", "run.device=cpu", "run.threads=2", "run.log_every=1",
                 *(f"{key}={value}" for key, value in settings.items()))

    tuned = peft.PeftModel.from_pretrained(quantized_model(folder, KINDS[kind]), tmp_path / "start", is_trainable=True)
    assert any(isinstance(module, peft.tuners.lora.Linear4bit) for module in tuned.modules())
    losses = train_reference(tuned, rows_as_read(prentice, recipe, STEPS * BATCH))
    ours = read_metrics(tmp_path / "run")
    assert len(ours) == STEPS
    worst = max(abs(found - expected) for (_, found), expected in zip(sorted(ours.items()), losses))
    assert worst < 1e-4, worst
    assert max(losses) - min(losses) > 0.05  # it has learned: equal losses say something


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["llama", "qwen2", "phi3", "phi", "starcoder2"])
def test_scores_are_those_of_the_quantized_model(name, kind, prentice, tmp_path):
    """Fused modules, biases and tied heads among them; embedding and head stay as they are."""
    folder = save_folder(tiny_model(name), tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text("".join(line + "\n" for line in TICKETS.read_text().splitlines()[:6]))
    scores = []
    for quantize in (kind, "none"):
        prentice.run("eval", f"model.path={folder}", f"model.quantize={quantize}", "data.eval=rows.jsonl", "eval.tasks=[loss]",
                     f"run.out=score-{quantize}", "run.precision=f32", "run.device=cpu")
        score = json.loads((tmp_path / f"score-{quantize}/eval.json").read_text())["tasks"]["loss"]["examples"]
        scores.append([example["loss"] for example in score])
    ours, unquantized = scores
    recipe = tmp_path / "rows.yaml"
    recipe.write_text(f"recipe: sft\nmodel: {{path: {folder}}}\ndata: {{train: rows.jsonl, eval_split: 0}}\n")
    model = quantized_model(folder, KINDS[kind])
    for (ids, labels), loss in zip(rows_as_read(prentice, recipe, 6), ours, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, :-1]
        expected = F.cross_entropy(logits, torch.tensor(labels[1:]), ignore_index=-100).item()
        assert loss == pytest.approx(expected, rel=2e-5)
    assert max(abs(loss - other) for loss, other in zip(ours, unquantized)) > 1e-2  # rounding the weights has done something


@pytest.mark.parametrize("kind", KINDS)
def test_ten_steps_of_dpo_on_a_quantized_base_equal_trl(kind, prentice, tmp_path):
    """The reference is the base in four bits, its adapter switched off."""
    folder = save_folder(tiny_model("llama"), tmp_path / "model")
    rows = pairs(40, True)
    prentice.run(
        "dpo", f"model.path={folder}", f"model.quantize={kind}", "adapter.rank=8",
        f"data.train={write_rows(tmp_path / 'rows.jsonl', rows)}", "data.shuffle=false", "data.eval_split=0",
        "train.batch=4", "train.epochs=1", "optim.lr=5e-3", "optim.schedule=constant", "optim.warmup=0", "preference.beta=0.3",
        "run.out=run", "run.precision=f32", "run.device=cpu", "run.threads=2", "run.log_every=1", "export.verify=false")
    start = tmp_path / "run/checkpoints/step-00000000"
    assert (start / "adapter_model.safetensors").exists(), sorted(path.name for path in start.iterdir())
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tuned = peft.PeftModel.from_pretrained(quantized_model(folder, KINDS[kind]), start, is_trainable=True)
    expected = train_with_trl(tuned, tokenizer, rows, tmp_path / "trl", "sigmoid", 0.3)
    ours = read_metrics(tmp_path / "run")
    assert len(ours) == len(expected) == 10
    apart = [abs(found - theirs) for (_, found), theirs in zip(sorted(ours.items()), expected)]
    # Where B begins at 0 AdamW's first steps have the size of the learning rate whatever the gradient, rounding included.
    assert apart[0] < 1e-6 and max(apart) < 1e-2, apart
    assert max(ours.values()) - min(ours.values()) > 1e-2


def save_in_four_bits(name, nested, tmp_path):
    """(folder as transformers writes it, the model)"""
    model = quantized_model(save_folder(tiny_model(name), tmp_path / "model"), nested)
    return save_folder(model, tmp_path / "four_bits"), model


def mean_losses(prentice, folder, tmp_path, *more):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(line + "\n" for line in TICKETS.read_text().splitlines()[:6]))
    prentice.run("eval", f"model.path={folder}", f"data.eval={rows}", "eval.tasks=[loss]", "run.out=score", "run.precision=f32",
                 "run.device=cpu", *more)
    examples = json.loads((tmp_path / "score/eval.json").read_text())["tasks"]["loss"]["examples"]
    shutil.rmtree(tmp_path / "score")
    return [example["loss"] for example in examples]


def reference_losses(model, prentice, tmp_path):
    recipe = tmp_path / "rows.yaml"
    recipe.write_text(f"recipe: sft\nmodel: {{path: {tmp_path / 'model'}}}\ndata: {{train: rows.jsonl, eval_split: 0}}\n")
    losses = []
    for ids, labels in rows_as_read(prentice, recipe, 6):
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, :-1]
        losses.append(F.cross_entropy(logits.float(), torch.tensor(labels[1:]), ignore_index=-100).item())
    return losses


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["llama", "phi3", "phi"])
def test_a_folder_in_four_bits_is_taken_as_it_is(name, kind, prentice, tmp_path):
    folder, model = save_in_four_bits(name, KINDS[kind], tmp_path)
    ours = mean_losses(prentice, folder, tmp_path)
    assert ours == pytest.approx(reference_losses(model, prentice, tmp_path), rel=2e-5)
    # The same numbers from the folder that is not quantized: its layers are rounded as it is read.
    assert mean_losses(prentice, tmp_path / "model", tmp_path, f"model.quantize={kind}") == ours
    prentice.run("export", f"model.path={folder}", "export.merged=f32", "run.out=whole", "run.device=cpu")
    whole = load_file(tmp_path / "whole/merged/model.safetensors")
    for module_name, module in model.named_modules():
        if isinstance(module, bnb.nn.Linear4bit):
            expected = bnb.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            assert torch.equal(whole[module_name + ".weight"], expected), module_name
    assert "quantization_config" not in json.loads((tmp_path / "whole/merged/config.json").read_text())


def test_training_goes_on_from_a_folder_in_four_bits(prentice, tmp_path):
    folder, _ = save_in_four_bits("llama", True, tmp_path)
    mean_losses(prentice, folder, tmp_path)  # writes the rows
    train = ["data.train=rows.jsonl", "data.eval_split=0", "train.steps=3", "train.batch=2", "run.precision=f32", "run.device=cpu",
             "run.threads=1", "export.verify=false"]
    prentice.run("sft", f"model.path={folder}", "run.out=stored", *train)
    prentice.run("sft", f"model.path={tmp_path / 'model'}", "model.quantize=nf4", "run.out=read", *train)
    stored, read = (load_file(tmp_path / run / "adapter/adapter_model.safetensors") for run in ("stored", "read"))
    assert all(torch.equal(stored[key], read[key]) for key in stored)
    refused = prentice.run("sft", f"model.path={folder}", "model.quantize=nf4", *train, code=2)
    assert "model.quantize" in refused.stderr and "stored in four bits already" in refused.stderr
    refused = prentice.run("sft", f"model.path={folder}", "adapter.kind=full", *train, code=2)
    assert "its layers are stored in four bits, and cannot train" in refused.stderr


DAMAGE = {
    "absmax": (lambda tensors, name: tensors.pop(name + ".absmax"), ".absmax is not there"),
    "nested": (lambda tensors, name: tensors.pop(name + ".nested_absmax"), ".nested_absmax is not there"),
    "state": (lambda tensors, name: tensors.pop(name + ".quant_state.bitsandbytes__nf4"), ".quant_state.bitsandbytes__nf4 is missing"),
    "values": (lambda tensors, name: tensors[name + ".quant_map"].mul_(0.5), ".quant_map is not there, or not"),
    "codes": (lambda tensors, name: tensors.update({name: tensors[name][:-1].clone()}), "its codes are 6143 bytes, and its shape needs 6144"),
    "extra": (lambda tensors, name: tensors.update({name + ".more": torch.zeros(3)}), ".more is not part of this architecture"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_to_a_folder_in_four_bits_is_named(what, prentice, tmp_path):
    folder, _ = save_in_four_bits("llama", True, tmp_path)
    name = "model.layers.1.mlp.down_proj.weight"
    tensors = load_file(folder / "model.safetensors")
    damage, message = DAMAGE[what]
    damage(tensors, name)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "rows.jsonl").write_text(TICKETS.read_text().splitlines()[0] + "\n")
    refused = prentice.run("eval", f"model.path={folder}", "data.eval=rows.jsonl", "run.out=score", "run.device=cpu", code=4)
    assert f"tensor {name}" in refused.stderr and message in refused.stderr, refused.stderr


def on_four_bits(run):
    """By its product, how far merging is from what was trained."""
    checks = json.loads((run / "verify.json").read_text())["checks"]
    return {check["name"].split(": ")[0]: check for check in checks if check["name"].endswith("log-probabilities on four bits")}


def test_an_export_of_a_run_on_four_bits_is_held_to_what_was_trained(prentice, tmp_path):
    """Merging takes the base's own weights: of a base that four bits change much, that is another model than was trained."""
    (tmp_path / "rows.jsonl").write_text("\n".join(TICKETS.read_text().splitlines()[:16]) + "\n")
    train = ["data.train=rows.jsonl", "data.eval_split=0", "train.steps=2", "train.batch=2", "run.precision=f32", "run.device=cpu"]
    whole = ["export.merged=f32", "export.gguf=[F32]", "export.peft=false", "run.device=cpu", "--json"]
    for name, spread in (("calm", 0.02), ("hot", 0.2)):
        save_folder(make_model("llama", initializer_range=spread), tmp_path / name)
        for quantize in ("none", "nf4", "nf4-single"):
            run = f"{name}-{quantize}"
            prentice.run("sft", f"model.path={name}", f"model.quantize={quantize}", f"run.out={run}", *train)
            code = 9 if name == "hot" and quantize != "none" else 0
            for address in (run, f"{run}/adapter", f"{name}+{run}"):
                told = prentice.run("export", f"model.path={address}", "run.out=made", *whole, "--fresh", code=code)
                found = on_four_bits(tmp_path / "made")
                if quantize == "none":
                    assert not found and json.loads(told.stdout)["merges"] == []
                    continue
                assert set(found) == {"merged", "gguf/made-F32.gguf"}
                for check in found.values():
                    assert check["detail"].endswith("merged with the base's own weights, and not the four bits that were trained on")
                    assert (check["value"] < 0.05) == (name == "calm"), check
                if code == 0:
                    assert len(json.loads(told.stdout)["merges"]) == 1
                else:
                    assert "log-probabilities on four bits: a mean KL of " in told.stderr and not (tmp_path / "made/merged").exists()
    told = prentice.run("export", "model.path=hot-nf4", "run.out=made", "export.verify=false", *whole, "--fresh")
    assert any("trained on four bits" in warning for warning in json.loads(told.stdout)["warnings"])


@pytest.mark.parametrize("name", ["llama", "qwen2", "phi3"])
def test_a_merged_folder_in_four_bits_is_loaded_by_transformers(name, prentice, tmp_path):
    folder = save_folder(tiny_model(name), tmp_path / "model")
    mean_losses(prentice, folder, tmp_path)  # writes the rows
    prentice.run("sft", f"model.path={folder}", "model.quantize=nf4", "data.train=rows.jsonl", "data.eval_split=0", "train.steps=3",
                 "train.batch=2", "optim.lr=1e-2", "optim.warmup=0", "run.precision=f32", "run.device=cpu", "run.out=run", "export.merged=nf4")
    checks = {check["name"]: check for check in json.loads((tmp_path / "run/verify.json").read_text())["checks"]}
    assert checks["merged: log-probabilities on four bits"]["detail"].endswith("merged with the base's own weights, and not the four bits that were trained on")
    assert 0 < checks["merged: log-probabilities"]["value"] < checks["merged: log-probabilities"]["limit"]
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "run/merged", dtype=torch.float32, device_map="cpu").train()
    assert merged.is_loaded_in_4bit and not isinstance(merged.lm_head, bnb.nn.Linear4bit)
    ours = mean_losses(prentice, tmp_path / "run/merged", tmp_path)
    assert ours == pytest.approx(reference_losses(merged, prentice, tmp_path), rel=2e-5)

    # Byte for byte what bitsandbytes makes of the merged weights.
    prentice.run("export", f"model.path={folder}+run/adapter", "export.merged=f32", "run.out=whole", "run.device=cpu")
    whole = load_file(tmp_path / "whole/merged/model.safetensors")
    stored = load_file(tmp_path / "run/merged/model.safetensors")
    quantized = [module_name for module_name, module in merged.named_modules() if isinstance(module, bnb.nn.Linear4bit)]
    assert len(quantized) >= 3 * 4
    for module_name in quantized:
        codes, state = bnb.functional.quantize_4bit(whole[module_name + ".weight"], quant_type="nf4", compress_statistics=True)
        assert torch.equal(stored[module_name + ".weight"], codes), module_name
        assert torch.equal(stored[module_name + ".weight.nested_absmax"], state.state2.absmax)
        written = json.loads(bytes(stored[module_name + ".weight.quant_state.bitsandbytes__nf4"].tolist()))
        assert written["nested_offset"] == state.offset.item() and written["shape"] == list(state.shape)
