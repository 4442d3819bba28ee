"""Ways to take less memory: what they change of a run, and what they do not."""

import json
import shutil

import pytest
from conftest import ROOT, read_rows
from safetensors import safe_open
from tiny_models import make_model, save_folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("less")
    save_folder(make_model("llama"), folder / "model")
    shutil.copy(ROOT / "data/tickets/train.jsonl", folder / "rows.jsonl")
    return folder


def sft(base, out, *words):
    return ["sft", f"model.path={base / 'model'}", f"data.train={base / 'rows.jsonl'}", "data.eval_split=0", "data.limit=64",
            "train.batch=8", "train.steps=6", "optim.lr=1e-3", "run.precision=f32", "run.device=cpu", "run.threads=2",
            "run.log_every=1", "export.verify=false", f"run.out={out}", *words]


def losses(out):
    lines = read_rows(out / "metrics.jsonl")
    return [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize("words", [["adapter.dropout=0.1"], ["adapter.kind=dora", "adapter.dropout=0.1"], ["adapter.kind=full"],
                                   ["model.quantize=nf4"]], ids=["lora", "dora", "full", "nf4"])
def test_what_is_computed_again_changes_no_bit(words, base, prentice, tmp_path):
    for way in ("none", "selective", "block"):
        prentice.run(*sft(base, tmp_path / way, *words, f"train.recompute={way}"))
        assert "recompute: " + way in (tmp_path / way / "recipe.yaml").read_text()
    plain = losses(tmp_path / "none")
    assert len(plain) == 6 and losses(tmp_path / "selective") == plain and losses(tmp_path / "block") == plain


def test_on_a_cpu_there_is_nothing_to_offload(base, prentice, tmp_path):
    said = prentice.run(*sft(base, tmp_path / "offload", "train.offload=true")).stderr
    assert "train.offload has no effect on a CPU" in said, said
    (tmp_path / "sft.yaml").write_text("recipe: sft\n")
    words = [tmp_path / "sft.yaml", *sft(base, tmp_path / "out", "train.offload=true")[1:]]
    assert prentice.run("validate", *words).stderr.count("train.offload has no effect on a CPU") == 1
    there = [word for word in words if word not in ("run.device=cpu", "run.precision=f32")]
    told = prentice.run("validate", *there, "plan.hardware=l40s-48gb")
    assert "no effect" not in told.stdout + told.stderr, told
    prentice.run(*sft(base, tmp_path / "plain"))
    assert losses(tmp_path / "offload") == losses(tmp_path / "plain")


def states(out):
    with safe_open(out / "checkpoints/step-00000006/optimizer-00000-of-00001.safetensors", "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def test_moments_in_8_bits_take_a_quarter_and_learn_alike(base, prentice, tmp_path):
    full = ["adapter.kind=full", "train.keep=2"]
    prentice.run(*sft(base, tmp_path / "f32", *full))
    prentice.run(*sft(base, tmp_path / "8bit", *full, "optim.name=adamw8bit"))
    wide, narrow = states(tmp_path / "f32"), states(tmp_path / "8bit")
    for name, tensor in wide.items():
        if not name.endswith(".exp_avg"):
            continue
        weight = name.removesuffix(".exp_avg")
        if tensor.numel() < 4096:
            assert narrow[name].dtype == tensor.dtype, name
        else:
            assert narrow[weight + ".state1"].numel() == tensor.numel() and narrow[weight + ".state1"].element_size() == 1, name
            assert narrow[weight + ".absmax2"].numel() == -(-tensor.numel() // 256), name
    size = [sum(tensor.nbytes for tensor in held.values()) for held in (wide, narrow)]
    assert size[1] < 0.35 * size[0], size
    assert losses(tmp_path / "8bit") == pytest.approx(losses(tmp_path / "f32"), rel=0.02)
    assert losses(tmp_path / "8bit") != losses(tmp_path / "f32")

    (tmp_path / "sft.yaml").write_text("recipe: sft\n")

    def disk(*words):
        planned = ["plan", tmp_path / "sft.yaml", *sft(base, tmp_path / "planned", *full, *words)[1:], "--json"]
        return json.loads(prentice.run(*planned).stdout)["disk_bytes"]
    assert disk() - disk("optim.name=adamw8bit") == 3 * (size[0] - size[1])  # two checkpoints are kept, and one is being written
    best = ["data.eval_split=4", "train.eval_every=1", "train.select=eval.loss"]
    assert disk(*best) - disk(*best, "optim.name=adamw8bit") == 4 * (size[0] - size[1])  # and the best one beside them
