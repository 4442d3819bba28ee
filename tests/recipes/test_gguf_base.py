"""A GGUF file as the base of everything: generated from, scored, compared, planned, looked into; an adapter trained on its blocks,
stopped and continued with the same bytes, and handed over as GGUF; what cannot be is refused by name."""

import json
import signal
import time

import pytest
from conftest import eval_loss, read_rows, without_origin, write_rows
from tiny_models import make_model, office_rows, save_folder

WIDE = {"hidden_size": 256, "intermediate_size": 352}


@pytest.fixture(scope="module")
def base(binary, tmp_path_factory):
    """A Q4_K_M file of a model of width 256, and its folder beside it."""
    from conftest import Prentice

    folder = tmp_path_factory.mktemp("gguf")
    write_rows(folder / "rows.jsonl", office_rows())
    pairs = [{"prompt": f"Room {i}", "chosen": " is green.", "rejected": " is a sad place."} for i in range(8)]
    write_rows(folder / "pairs.jsonl", pairs)
    (folder / "sft.yaml").write_text("recipe: sft\n")
    model = save_folder(make_model("llama", **WIDE), folder / "model")
    Prentice(binary, folder).run("export", f"model.path={model}", "export.gguf=[Q4_K_M]", "export.name=base", "run.out=out")
    (folder / "out/gguf/base-Q4_K_M.gguf").rename(folder / "base.gguf")
    return folder


def sft(base, out, *options, steps=12):
    return ["sft", f"model.path={base / 'base.gguf'}", f"data.train={base / 'rows.jsonl'}", "data.eval_split=0", "data.chat=off",
            "train.batch=4", f"train.steps={steps}", "train.checkpoint_every=4", "adapter.rank=4", "run.threads=1", "run.device=cpu",
            f"run.out={out}", *options]


def test_an_adapter_is_trained_on_the_blocks_and_handed_over_for_them(base, prentice, tmp_path):
    before = eval_loss(prentice, base / "base.gguf", base / "rows.jsonl", tmp_path / "before")
    prentice.run(*sft(base, tmp_path / "run", "export.gguf_adapter=true"))
    tolerances = json.loads((tmp_path / "run/serve/selftest.json").read_text())["tolerances"]
    assert tolerances and all(entry["log_prob"] < 0.6 for entry in tolerances), "the base is served as it was trained on"
    trained = eval_loss(prentice, tmp_path / "run", base / "rows.jsonl", tmp_path / "eval")
    assert trained < before - 0.02, "nothing was learnt"
    named = f"{base / 'base.gguf'}+{tmp_path / 'run/adapter'}"
    assert eval_loss(prentice, named, base / "rows.jsonl", tmp_path / "named") == trained
    assert eval_loss(prentice, tmp_path / "run/adapter", base / "rows.jsonl", tmp_path / "alone") == trained
    assert json.loads((tmp_path / "run/adapter/adapter_config.json").read_text())["base_model_name_or_path"] == str(base / "base.gguf")
    served = (tmp_path / "run/serve/serve.md").read_text()
    assert f"llama-server -m {base / 'base.gguf'} --lora gguf/adapter.gguf" in served and "vllm" not in served
    prentice.run("export", f"model.path={named}", "export.gguf_adapter=true", "run.out=again")
    ours, again = (path / "gguf/adapter.gguf" for path in (tmp_path / "run", tmp_path / "again"))
    assert without_origin(ours) == without_origin(again)
    inputs = json.loads((tmp_path / "run/run.json").read_text())["inputs"]
    assert any(entry["key"] == "model.path" and entry["path"] == str(base / "base.gguf") for entry in inputs)


def test_a_run_goes_on_where_it_was_stopped(base, prentice, tmp_path):
    prentice.run(*sft(base, tmp_path / "whole"))
    process = prentice.start(*sft(base, tmp_path / "stopped"))
    while not list((tmp_path / "stopped/checkpoints").glob("step-*")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    prentice.run(*sft(base, tmp_path / "stopped"))
    name = "adapter/adapter_model.safetensors"
    assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_changed_file_is_another_base(base, prentice, tmp_path):
    other = tmp_path / "base.gguf"
    content = bytearray((base / "base.gguf").read_bytes())
    other.write_bytes(content)
    words = [word if not word.startswith("model.path=") else f"model.path={other}" for word in sft(base, tmp_path / "run")]
    prentice.run(*words, "train.steps=4")
    content[-1] ^= 1
    other.write_bytes(content)
    assert "model.path" in prentice.run(*words, "train.steps=4", code=2).stderr


def test_pairs_train_on_it_too(base, prentice, tmp_path):
    prentice.run("dpo", f"model.path={base / 'base.gguf'}", f"data.train={base / 'pairs.jsonl'}", "data.eval_split=0", "data.chat=off",
                 "train.batch=4", "train.steps=4", "optim.lr=1e-3", "run.device=cpu", "run.out=run", "run.log_every=1")
    lines = read_rows(tmp_path / "run/metrics.jsonl")
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3) and losses[-1] < losses[0]


def test_verbs_take_the_file(base, prentice, tmp_path):
    path = base / "base.gguf"
    made = json.loads(prentice.run("generate", f"model.path={path}", "generate.prompt=The office", "generate.max_new_tokens=4",
                                   "run.device=cpu", "--json").stdout)
    assert 1 <= len(made["outputs"][0]["ids"]) <= 4
    planned = json.loads(prentice.run("plan", base / "sft.yaml", *sft(base, "planned")[1:], "--json").stdout)
    whole = [word if not word.startswith("model.path=") else f"model.path={base / 'model'}" for word in sft(base, "planned")]
    assert planned["memory"]["load"] < json.loads(prentice.run("plan", base / "sft.yaml", *whole[1:], "--json").stdout)["memory"]["load"]
    assert json.loads(prentice.run("inspect", path, "--json").stdout)["kind"] == "gguf"
    compared = prentice.run("compare", f"compare.a={base / 'model'}", f"compare.b={path}", f"data.eval={base / 'rows.jsonl'}",
                            "data.chat=off", "run.device=cpu", "run.out=compared", code=None)
    assert compared.returncode in (0, 9), compared.stderr


@pytest.mark.parametrize("option, key, why", [
    ("adapter.kind=full", "adapter.kind", "cannot train whole"),
    ("model.quantize=nf4", "model.quantize", "keeps its own blocks"),
    ("model.add_tokens=['<|x|>']", "model.add_tokens", "takes no more tokens"),
    ("export.merged=bf16", "export.merged", "is not merged"),
    ("export.gguf=[Q8_0]", "export.gguf", "is not quantized again"),
    ("adapter.modules_to_save=[embed_tokens]", "adapter.modules_to_save", "held in the blocks"),
    ("adapter.init=pissa", "adapter.init", "held in the blocks"),
])
def test_what_a_gguf_base_cannot_be_is_refused(option, key, why, base, prentice):
    told = prentice.run(*sft(base, "run", option), code=2).stderr
    assert key in told and why in told
    told = prentice.run("validate", base / "sft.yaml", *sft(base, "run", option)[1:], code=2).stderr
    assert key in told and why in told


def test_a_damaged_file_is_told_and_not_used(base, prentice, tmp_path):
    content = (base / "base.gguf").read_bytes()
    for name, bytes_ in {"cut": content[: len(content) // 2], "empty": b"", "other": b"PK\3\4" + content}.items():
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(bytes_)
        assert str(path) in prentice.run("generate", f"model.path={path}", "generate.prompt=x", code=4).stderr
