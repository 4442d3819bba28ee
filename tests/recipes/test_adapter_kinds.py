"""Every kind of adapter through the whole program: trained, stopped and continued with the same bytes, evaluated, merged,
written as GGUF where that can be, and refused where it cannot."""

import json
import signal
import time

import pytest
from conftest import eval_loss, write_rows
from tiny_models import make_model, office_rows, save_folder

KINDS = {
    "dora": ["adapter.kind=dora", "adapter.dropout=0.1"],
    "pissa": ["adapter.init=pissa", "adapter.rslora=true", "export.gguf_adapter=true"],
    "embedding": ["adapter.targets=[embed_tokens,q_proj]", "adapter.lr_ratio=4", "export.gguf_adapter=F16"],
    "saved": ["adapter.targets=[q_proj]", "adapter.modules_to_save=[embed_tokens,lm_head,norm]"],
    "plain": ["adapter.rank_pattern={q_proj: 2}", "adapter.alpha_pattern={v_proj: 3}", "adapter.layers=[0, 2]",
              "export.gguf_adapter=Q8_0"],
    "tokens": ['model.add_tokens=["<|ticket|>", "<|other|>"]', "adapter.targets=[q_proj]"],
    "gaussian": ["adapter.init=gaussian", "adapter.rslora=true"],
}
# What is merged stands on other weights than what was trained, so only what follows is asked of these.
QUANTIZED = {"nf4": ["model.quantize=nf4"], "nf4_dora": ["model.quantize=nf4-single", "adapter.kind=dora", "adapter.dropout=0.1"]}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    write_rows(folder / "rows.jsonl", office_rows())
    return save_folder(make_model("llama"), folder / "base")


def words(base, out, options, steps=12):
    return ["sft", f"model.path={base}", f"data.train={base.parent / 'rows.jsonl'}", "data.eval_split=0", "data.chat=off",
            "train.batch=4", f"train.steps={steps}", "train.checkpoint_every=4", "adapter.rank=4", "run.threads=1",
            f"run.out={out}", *options]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_trained_is_what_is_handed_over(kind, base, prentice, tmp_path):
    options = KINDS[kind]
    prentice.run(*words(base, tmp_path / "run", [*options, "export.merged=f32"]))
    trained = eval_loss(prentice, tmp_path / "run", base.parent / "rows.jsonl", tmp_path / "eval")
    assert trained < eval_loss(prentice, base, base.parent / "rows.jsonl", tmp_path / "before") - 0.02, "nothing was learnt"
    assert abs(trained - eval_loss(prentice, tmp_path / "run/merged", base.parent / "rows.jsonl", tmp_path / "merged")) < 1e-4
    checks = json.loads((tmp_path / "run/verify.json").read_text())["checks"]
    as_gguf = any("gguf_adapter" in option for option in options)
    assert (tmp_path / "run/gguf/adapter.gguf").exists() == as_gguf
    assert ("--lora gguf/adapter.gguf" in (tmp_path / "run/serve/serve.md").read_text()) == as_gguf
    assert any(check["name"].startswith("gguf/adapter.gguf: values") and check["passed"] for check in checks) == as_gguf
    continued = [f"adapter.init={tmp_path / 'run/adapter'}"]
    prentice.run(*[word for word in words(base, tmp_path / "more", continued) if not word.startswith("adapter.rank")])
    assert eval_loss(prentice, tmp_path / "more", base.parent / "rows.jsonl", tmp_path / "after") < trained


@pytest.mark.parametrize("kind", KINDS | QUANTIZED)
def test_a_stopped_run_continues_with_the_same_bytes(kind, base, prentice, tmp_path):
    options = (KINDS | QUANTIZED)[kind]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    prentice.run(*words(base, whole, options, 30))
    process = prentice.start(*words(base, parts, options, 30))
    for _ in range(600):
        if (parts / "checkpoints/step-00000004").exists() or process.poll() is not None:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == -signal.SIGTERM  # taken, saved, then raised again
    prentice.run(*words(base, parts, options, 30))
    name = "adapter/adapter_model.safetensors"
    assert (whole / name).read_bytes() == (parts / name).read_bytes()


@pytest.mark.parametrize("options, message", [
    (["adapter.init=pissa"], "adapter.init: pissa takes its start out of the weights, and model.layers.0.self_attn.q_proj is held"),
    (["adapter.targets=[q_proj]", "adapter.modules_to_save=[down_proj]"],
     "adapter.modules_to_save: model.layers.0.mlp.down_proj is held in four bits, and cannot train whole"),
    (["adapter.kind=full"], "model.quantize: all weights train with adapter.kind: full, and four bits cannot"),
])
def test_what_four_bits_cannot_do_is_refused_before_weights_load(options, message, base, prentice, tmp_path):
    options = [*options, "model.quantize=nf4"]
    found = words(base, tmp_path / "run", options)
    if "adapter.kind=full" in options:
        found.remove("adapter.rank=4")
    assert message in prentice.run(*found, code=2).stderr


@pytest.mark.parametrize("kind", QUANTIZED)
def test_merging_four_bits_says_on_which_weights_and_how_far_that_is(kind, base, prentice, tmp_path):
    prentice.run(*words(base, tmp_path / "run", [*QUANTIZED[kind], "export.merged=f32"]))
    checks = {check["name"]: check for check in json.loads((tmp_path / "run/verify.json").read_text())["checks"]}
    told = checks["merged: log-probabilities on four bits"]
    assert "merged with the base's own weights, and not the four bits" in told["detail"]
    assert told["passed"] and 0 < told["value"] < told["limit"]
    trained = eval_loss(prentice, tmp_path / "run", base.parent / "rows.jsonl", tmp_path / "own", "model.quantize=" + QUANTIZED[kind][0].split("=")[1])
    merged = eval_loss(prentice, tmp_path / "run/merged", base.parent / "rows.jsonl", tmp_path / "merged")
    assert 0 < abs(trained - merged) < 0.2 < eval_loss(prentice, base, base.parent / "rows.jsonl", tmp_path / "before") - trained


def test_the_plan_counts_what_a_kind_adds(base, prentice, tmp_path):
    def memory(*options):
        return json.loads(prentice.run(*["plan", write(options)], "--json").stdout)["memory"]

    def write(options):
        lines = {"model": {"path": str(base)}, "data": {"train": str(base.parent / "rows.jsonl"), "chat": "off", "eval_split": 0}}
        path = tmp_path / f"plan{len(list(tmp_path.iterdir()))}.yaml"
        path.write_text("recipe: sft\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items())
                        + f"adapter: {json.dumps(dict(options))}\n")
        return path

    plain = memory(("rank", 4))
    assert memory(("rank", 4), ("kind", "dora"))["backward"] > plain["backward"]
    assert memory(("rank", 4), ("init", "pissa"))["load"] > plain["load"]
    assert memory(("rank", 4), ("modules_to_save", ["embed_tokens"]))["step"] >= plain["step"] + 4 * 4 * 1536 * 64


def test_an_export_refuses_what_a_gguf_adapter_cannot_carry(base, prentice, tmp_path):
    prentice.run(*words(base, tmp_path / "run", KINDS["dora"], 2))
    result = prentice.run("export", f"model.path={tmp_path / 'run'}", "export.gguf_adapter=F32", f"run.out={tmp_path / 'out'}", code=2)
    assert "export.gguf_adapter: a GGUF adapter cannot carry the magnitudes of DoRA" in result.stderr
    plain = prentice.run("export", f"model.path={base}", "export.gguf_adapter=F32", f"run.out={tmp_path / 'out'}", code=2)
    assert "has no adapter" in plain.stderr
