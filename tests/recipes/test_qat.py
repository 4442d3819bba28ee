"""adapter.qat: trained against the blocks of a GGUF file, a run hands over the file whose answers it was trained on; stopped and
continued it gives the same bytes; what cannot be is refused by name."""

import json
import signal
import time

import pytest
from conftest import eval_loss, read_rows, without_origin, write_rows
from tiny_models import make_model, office_rows, save_folder

# Width 256 has blocks of 256 values; rows of 352 and of 64 (4 heads of 16) do not, and fall back.
WIDE = {"hidden_size": 256, "intermediate_size": 352, "head_dim": 16}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qat")
    write_rows(folder / "rows.jsonl", office_rows())
    (folder / "sft.yaml").write_text("recipe: sft\n")
    save_folder(make_model("llama", **WIDE), folder / "base")
    save_folder(make_model("llama_tied_llama3_rope", **WIDE), folder / "tied")
    return folder


def sft(base, out, *options, model="base", steps=12, qat="Q4_K_M"):
    return ["sft", f"model.path={base / model}", f"data.train={base / 'rows.jsonl'}", "data.chat=off", "train.batch=4",
            f"train.steps={steps}", "train.checkpoint_every=4", "adapter.rank=4", "optim.lr=3e-3", "run.threads=1", "run.device=cpu",
            f"adapter.qat={qat}", f"export.gguf=[{qat}]", "export.name=x", f"run.out={out}", *options]


def scored(base):
    return [f"data.eval={base / 'rows.jsonl'}", "eval.tasks=[loss]"]


@pytest.mark.parametrize("model, qat, more", [
    ("base", "Q4_K_M", []), ("tied", "Q2_K", []), ("base", "Q4_0", ["adapter.targets=[q_proj,down_proj]"]),
    ("base", "Q4_K_M", ["export.types={attn_v: Q5_1, ffn_up: F32}", "train.recompute=block"])])
def test_the_file_gives_what_was_trained(model, qat, more, base, prentice, tmp_path):
    before = eval_loss(prentice, base / model, base / "rows.jsonl", tmp_path / "before")
    prentice.run(*sft(base, tmp_path / "run", *scored(base), *more, model=model, qat=qat))
    trained = json.loads((tmp_path / "run/eval.json").read_text())["tasks"]["loss"]["mean"]
    served = eval_loss(prentice, tmp_path / f"run/gguf/x-{qat}.gguf", base / "rows.jsonl", tmp_path / "served")
    assert trained < before - 0.02, "nothing was learnt"
    # The same products of the same blocks; a mean over other batches may add in another order.
    assert served == pytest.approx(trained, rel=2e-7)
    # The run's address means what was trained; the adapter on the base as it is does not.
    assert eval_loss(prentice, tmp_path / "run", base / "rows.jsonl", tmp_path / "addressed") == pytest.approx(trained, rel=2e-7)
    assert eval_loss(prentice, f"{tmp_path / 'run'}@12", base / "rows.jsonl", tmp_path / "step") == pytest.approx(trained, rel=2e-7)
    unrounded = eval_loss(prentice, f"{base / model}+{tmp_path / 'run/adapter'}", base / "rows.jsonl", tmp_path / "unrounded")
    assert abs(unrounded - served) > 1e-4, "rounding makes no difference here, and nothing is shown"
    proofs = json.loads((tmp_path / "run/verify.json").read_text())
    assert proofs["passed"] and proofs["kld_mean"] < 1e-9 and proofs["top1"] == 1.0


def test_an_update_below_the_rounding_is_not_gone_where_training_was_against_it(base, prentice, tmp_path):
    """And is, in the same file merged without: the rounding is then nobody's."""
    small = ["optim.lr=1e-5", "optim.warmup=0"]
    said = prentice.run(*sft(base, tmp_path / "run", *small, steps=3), "--json")
    told = json.loads(said.stdout.splitlines()[-1]).get("warnings", []) if said.stdout.startswith("{") else []
    assert "nearly gone" not in said.stderr + " ".join(told)
    merged = prentice.run(*sft(base, tmp_path / "merged", *small, "adapter.qat=none", steps=3))
    assert "take a type of more bits" in merged.stderr, merged.stderr


def test_every_verb_takes_a_run_for_what_it_trained(base, prentice, tmp_path):
    prentice.run(*sft(base, tmp_path / "run", *scored(base)))
    file = tmp_path / "run/gguf/x-Q4_K_M.gguf"
    said = prentice.run("verify", f"verify.model={tmp_path / 'run'}", f"verify.artifact={file}", "run.device=cpu", f"run.out={tmp_path / 'proof'}",
                        "--json").stdout
    assert 0 <= json.loads(said)["kld_mean"] < 1e-9 and json.loads(said)["top1"] == 1.0
    compared = json.loads(prentice.run("compare", f"compare.a={tmp_path / 'run'}", f"compare.b={file}", f"data.eval={base / 'rows.jsonl'}",
                                       "data.chat=off", "eval.tasks=[loss]", "run.device=cpu", f"run.out={tmp_path / 'compared'}", "--json",
                                       code=None).stdout)
    assert compared["kld"]["mean"] < 1e-9, compared
    asked = ["generate.prompt=The office number 7", "generate.max_new_tokens=12", "run.device=cpu", "--json"]
    ours, theirs = (json.loads(prentice.run("generate", f"model.path={path}", *asked).stdout) for path in (tmp_path / "run", file))
    assert ours["outputs"] == theirs["outputs"]
    said = prentice.run("export", f"model.path={tmp_path / 'run'}", "export.gguf=[Q4_K_M, Q8_0]", "export.name=x",
                        f"run.out={tmp_path / 'again'}", "run.device=cpu", "--json").stdout
    proofs = {proof["artifact"]: proof for proof in json.loads((tmp_path / "again/verify.json").read_text())["logits"]}
    assert proofs["gguf/x-Q4_K_M.gguf"]["kld_mean"] < 1e-9
    assert without_origin(tmp_path / "again/gguf/x-Q4_K_M.gguf") == without_origin(file)
    told = json.loads(said)["warnings"]
    assert any(text.startswith("gguf/x-Q8_0.gguf: was not trained: adapter.qat trained for the Q4_K_M file") for text in told), told


@pytest.mark.parametrize("words, told", [
    ([], False), (["export.imatrix=text.txt"], True), (["export.types={attn_v: Q8_0}"], True), (["export.types={attn_v: Q6_K}"], True)])
def test_an_export_of_other_blocks_than_were_trained_says_so(words, told, base, prentice):
    """The name of the file is the same, and so are its numbers nearly; what is served is not what was trained."""
    (prentice.folder / "text.txt").write_text("The printer on the third floor has no paper. " * 200)
    if not (base / "plain-run").exists():
        prentice.run(*sft(base, base / "plain-run", "export.verify=false", steps=2))
    said = prentice.run("export", f"model.path={base / 'plain-run'}", "export.gguf=[Q4_K_M]", "export.name=x", "export.verify=false", *words,
                        "run.out=again", "run.device=cpu", "--json").stdout
    warned = [text for text in json.loads(said)["warnings"] if text.startswith("gguf/x-Q4_K_M.gguf: was not trained: ")]
    assert bool(warned) == told


def test_what_would_round_before_the_file_does_is_refused(base, prentice, tmp_path):
    prentice.run(*sft(base, tmp_path / "run", "export.verify=false", steps=1))
    words = ["eval", f"model.path={tmp_path / 'run'}", f"data.eval={base / 'rows.jsonl'}", "data.chat=off", "run.device=cpu", "run.out=none"]
    assert "run.precision: " in prentice.run(*words, "run.precision=bf16", code=2).stderr
    told = prentice.run(*words, "model.quantize=nf4", code=2).stderr
    assert "model.quantize: " in told and "trained for its Q4_K_M file (adapter.qat)" in told


def test_a_run_goes_on_where_it_was_stopped(base, prentice, tmp_path):
    held_out = [f"data.eval={base / 'rows.jsonl'}", "train.eval_every=3"]  # scoring passes between the steps change nothing
    prentice.run(*sft(base, tmp_path / "whole", *held_out))
    process = prentice.start(*sft(base, tmp_path / "stopped", *held_out))
    while not (tmp_path / "stopped/checkpoints/step-00000004").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == -signal.SIGTERM, "it was done before it was stopped"
    prentice.run(*sft(base, tmp_path / "stopped", *held_out))
    for name in ("adapter/adapter_model.safetensors", "gguf/x-Q4_K_M.gguf"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_recomputation_and_micro_batches_change_no_step(base, prentice, tmp_path):
    ways = {"plain": [], "recompute": ["train.recompute=block"], "micro": ["train.micro_tokens=32"], "alone": ["data.packing=false"]}
    losses = {}
    for name, words in ways.items():
        prentice.run(*sft(base, tmp_path / name, "data.eval_split=0", "run.log_every=1", *words, steps=4))
        lines = read_rows(tmp_path / name / "metrics.jsonl")
        losses[name] = [line["loss"] for line in lines if "loss" in line]
    assert losses["recompute"] == losses["plain"]
    # A factor's last bit may move a code of a block, and with it a logit.
    assert losses["micro"] == pytest.approx(losses["plain"], rel=2e-3) and losses["alone"] == pytest.approx(losses["plain"], rel=2e-3)


def test_a_students_blocks_train_against_a_teacher(base, prentice, tmp_path):
    words = [word if word != "sft" else "distill" for word in sft(base, tmp_path / "run", *scored(base))]
    prentice.run(*words, f"distill.teacher={base / 'base'}", "distill.weight=0.1")
    trained = json.loads((tmp_path / "run/eval.json").read_text())["tasks"]["loss"]["mean"]
    assert eval_loss(prentice, tmp_path / "run/gguf/x-Q4_K_M.gguf", base / "rows.jsonl", tmp_path / "served") == pytest.approx(trained, rel=2e-7)


def test_the_plan_counts_blocks_beside_the_weights_under_adapters(base, prentice):
    def memory(qat):
        words = [word for word in sft(base, "planned", qat=qat)[1:] if qat != "none" or not word.startswith("export.gguf")]
        return json.loads(prentice.run("plan", base / "sft.yaml", *words, "--json").stdout)["memory"]

    plain, rounded = memory("none"), memory("Q8_0")
    layer = 2 * 64 * 256 + 2 * 32 * 256 + 3 * 256 * 352
    blocks, ends = 3 * layer * 34 // 32, 2 * 1536 * 256
    # The blocks come beside the layers' f32, and take the place of embedding's and head's.
    assert rounded["load"] - plain["load"] == pytest.approx(blocks - ends * (4 - 34 / 32), rel=0.02)


@pytest.mark.parametrize("options, key, why", [
    (["adapter.targets=[lm_head,q_proj]"], "adapter.targets", "lm_head has an adapter, which adapter.qat does not train"),
    (["run.precision=bf16"], "run.precision", "bf16 rounds the F32 weights"),
    (["adapter.dropout=0.1"], "adapter.dropout", "which adapter.qat does not train"),
    (["export.dtype=bf16"], "export.dtype", "adapter.qat trains the blocks of an adapter in f32"),
])
def test_what_cannot_be_is_refused(options, key, why, base, prentice):
    told = prentice.run(*sft(base, "run", *options), code=2).stderr
    assert key in told and why in told and told.count("error:") == 1
    told = prentice.run("validate", base / "sft.yaml", *sft(base, "run", *options)[1:], code=2).stderr
    assert key in told and why in told


def test_neither_a_file_of_blocks_nor_an_adapter_with_magnitudes_is_gone_on_from(base, prentice, tmp_path):
    words = sft(base, tmp_path / "run", "adapter.kind=dora", "export.verify=false", steps=1)
    plain = [word for word in words if not word.startswith("adapter.qat")]
    prentice.run(*plain)
    words = [word for word in sft(base, tmp_path / "again", f"adapter.init={tmp_path / 'run/adapter'}") if "rank" not in word]
    assert "the adapter has magnitudes (DoRA), which adapter.qat" in prentice.run(*words, code=2).stderr
    file = tmp_path / "run/gguf/x-Q4_K_M.gguf"
    words = [word if not word.startswith("model.path") else f"model.path={file}" for word in sft(base, tmp_path / "again")]
    assert "adapter.qat: " in prentice.run(*words, code=2).stderr
