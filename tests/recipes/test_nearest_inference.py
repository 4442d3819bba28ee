"""The plan of a run that trains nothing, too, names the smallest change that fits, in words that a user appends."""

import json
import shutil

import pytest
from conftest import ROOT

TOKENIZER = ROOT / "data/quickstart/tokenizer"
RANDOM = ["model.init=random", f"model.tokenizer={TOKENIZER}"]
CARD = "plan.hardware=rtx4080-16gb"
VOCABULARY = 1536


def save_shape(folder, hidden, feed_forward, layers, vocabulary=VOCABULARY):
    folder.mkdir()
    for file in TOKENIZER.iterdir():
        shutil.copy(file, folder / file.name)
    (folder / "config.json").write_text(json.dumps({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": vocabulary, "hidden_size": hidden,
        "intermediate_size": feed_forward, "num_hidden_layers": layers, "num_attention_heads": hidden // 128, "rms_norm_eps": 1e-5,
        "num_key_value_heads": hidden // 128, "max_position_embeddings": 4096, "tie_word_embeddings": False, "eos_token_id": 0}))
    return folder


def save_holes(folder, hidden, feed_forward, layers):
    """A folder whose weights take no room on the disk: a file of one hole behind its head."""
    save_shape(folder, hidden, feed_forward, layers)
    shapes = {"model.embed_tokens.weight": [VOCABULARY, hidden], "model.norm.weight": [hidden], "lm_head.weight": [VOCABULARY, hidden]}
    for layer in range(layers):
        parts = {"input_layernorm": [hidden], "post_attention_layernorm": [hidden], "mlp.gate_proj": [feed_forward, hidden],
                 "mlp.up_proj": [feed_forward, hidden], "mlp.down_proj": [hidden, feed_forward]}
        parts.update({f"self_attn.{name}_proj": [hidden, hidden] for name in "qkvo"})
        shapes.update({f"model.layers.{layer}.{name}.weight": shape for name, shape in parts.items()})
    head, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * shape[0] * (shape[1] if len(shape) == 2 else 1)
        head[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return folder


@pytest.fixture
def plan(prentice, tmp_path):
    rows = [{"prompt": "Say it.", "completion": " The door is open."}] * 900  # more than a batch of 4,096 tokens
    (tmp_path / "short.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows.append({"prompt": "Say it.", "completion": " The door is open and the lamp is on." * 300})
    (tmp_path / "mixed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "text.txt").write_text("The door is open and the lamp is on. " * 2000)

    def run(kind, *words, code=None):
        (tmp_path / f"{kind}.yaml").write_text(f"recipe: {kind}\n")
        return prentice.run("plan", f"{kind}.yaml", *words, code=code)

    return run


def check(plan, kind, words, expected):
    """What is named is what was expected, fits, and would not without any part of it."""
    told = json.loads(plan(kind, *words, "--json", code=7).stdout)
    named = told["nearest"]["words"]
    assert len(named) == len(expected), named
    assert all(word == wanted or (wanted[-1] == "=" and word.startswith(wanted)) for word, wanted in zip(named, expected)), named
    fitting = json.loads(plan(kind, *words, *named, "--json", code=0).stdout)
    assert fitting["fits"] and fitting["memory"]["peak"] <= told["device"]["bytes"] and "nearest" not in fitting
    assert fitting["memory"]["peak"] <= told["nearest"]["peak"]
    for left_out in named if len(named) > 1 else []:
        assert plan(kind, *words, *(word for word in named if word != left_out)).returncode != 0, left_out
    said = plan(kind, *words, code=7).stdout
    assert "B would do with " + " ".join(named) + "\n" in said, said


EVAL = ["data.eval=short.jsonl", CARD, *RANDOM]
CASES = {
    "eval_in_four_bits": ("eval", ["model.path=qwen2.5-14b", *EVAL], ["model.quantize=nf4"]),
    "eval_in_half": ("eval", ["model.path=mistral-7b-v0.3", "run.precision=f32", *EVAL], ["run.precision=bf16"]),
    "eval_in_both": ("eval", ["model.path=wide_ends", "run.precision=f32", *EVAL], ["run.precision=bf16", "model.quantize=nf4"]),
    "store": ("teach", ["model.path=qwen2.5-14b", "data.train=short.jsonl", CARD, *RANDOM], ["model.quantize=nf4"]),
    "store_of_single_rows": ("teach", ["model.path=broad", "data.train=short.jsonl", CARD, *RANDOM], ["data.packing=false"]),
    "store_of_short_rows": ("teach", ["model.path=deep", "model.quantize=nf4", "data.train=mixed.jsonl", CARD, *RANDOM],
                            ["data.packing=false", "data.max_length=", "data.overlong=drop"]),
    "answers": ("teach", ["model.path=qwen2.5-14b", "data.train=short.jsonl", "teach.sample={n: 2, max_new_tokens: 8}", CARD, *RANDOM],
                ["model.quantize=nf4"]),
    "imatrix": ("imatrix", ["model.path=qwen2.5-14b", "data.train=text.txt", CARD, *RANDOM], ["model.quantize=nf4"]),
    "export": ("export", ["model.path=holes", "export.peft=false", "export.merged=bf16", CARD], ["export.verify=false"]),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_named_fits_and_nothing_less_does(name, plan, tmp_path):
    kind, words, expected = CASES[name]
    save_shape(tmp_path / "broad", 1024, 200_000, 11)
    save_shape(tmp_path / "deep", 1024, 200_000, 42)
    save_shape(tmp_path / "wide_ends", 5120, 20_480, 36, 300_000)
    save_holes(tmp_path / "holes", 4096, 350_000, 1)
    check(plan, kind, words, expected)


@pytest.mark.parametrize("kind", ["generate", "compare"])
def test_kinds_that_are_planned_for_this_machine_alone(kind, plan, tmp_path):
    small = save_shape(tmp_path / "small", 128, 256, 1)
    words = {"generate": [f"model.path={small}", *RANDOM, "generate.prompt=x"],
             "compare": [f"compare.a={small}", f"compare.b={small}", "data.eval=short.jsonl", "eval.tasks=[loss]"]}[kind]
    memory = json.loads(plan(kind, *words, "run.device=cpu", "--json", code=0).stdout)["device"]["bytes"]
    hidden = 8192
    layer = 4 * hidden * hidden + 3 * hidden * 3 * hidden
    large = save_shape(tmp_path / "large", hidden, 3 * hidden, round(1.5 * memory / 4 / layer))
    words = [word.replace(str(small), str(large)) for word in words]
    check(plan, kind, [*words, "run.device=cpu"], ["run.precision=bf16"])


def test_where_nothing_helps_the_plan_says_what_is_in_the_way(plan, tmp_path):
    save_shape(tmp_path / "deep", 8192, 28672, 60)
    words = ["model.path=deep", *EVAL]
    told = plan("eval", *words, code=7).stdout
    assert "no change of the recipe is enough: with model.quantize=nf4 " in told and "of it for the model's weights" in told, told
    assert "nearest" not in json.loads(plan("eval", *words, "--json", code=7).stdout)
