"""model.add_tokens through the whole program against transformers and peft: the tokenizers, the first values of the new
rows, what adapters and merged folders compute, and the GGUF file in llama.cpp."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import ROOT, setting, without_origin, write_rows
from peft import PeftModel
from safetensors.torch import load_file
from tiny_models import SHAPE, TOKENIZER, make_model, save_folder
from tokenizers import AddedToken, Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

NEW = ["<|ticket|>", "[größe: 東]"]
TEXTS = ["Open <|ticket|> now", "<|ticket|><|ticket|>x[größe: 東]", " two  <|ticket|>  spaces\n<|ticket|>\n", "nothing new here <|end|> <s>"]
ROWS = [{"prompt": f"The office <|ticket|> number {i}", "completion": f" is [größe: 東] floor {i % 5}."} for i in range(24)]
DATA = setting("PRENTICE_TEST_DATA", ROOT.parent / "shared/data").resolve()
SPARE = 1600  # rows of an embedding that is larger than its tokenizer
BASES = {"llama": {}, "llama_tied_llama3_rope": {}, "phi": {}, "spare": {}, "gemma3_with_images": {}}


def padded_model():
    torch.manual_seed(5)
    return LlamaForCausalLM(LlamaConfig(**{**SHAPE, "vocab_size": SPARE}, tie_word_embeddings=True)).float().eval()


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    return {name: save_folder(padded_model() if name == "spare" else make_model(name), folder / name) for name in BASES}


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_rows(path, ROWS)
    return path


def words(base, rows, out, *options, steps=10, kind="sft", tokens=NEW):
    own = ["data.chat=off", "train.batch=4"] if kind == "sft" else ["data.format=completion", "train.batch_tokens=64"]
    return [kind, f"model.path={base}", f"model.add_tokens={json.dumps(tokens, ensure_ascii=False)}", f"data.train={rows}", "data.eval_split=0",
            *own, f"train.steps={steps}", "train.checkpoint_every=4", "run.threads=1", f"run.out={out}", *options]


ADAPTER = ["adapter.rank=4", "optim.lr=0.005"]


def reference_tokenizer(folder, tokens=NEW):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": tokens}, replace_extra_special_tokens=False)
    return tokenizer


def text_model(folder, **options):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", **options).eval()


def rows_of(model):
    return model.get_input_embeddings().weight.shape[0]


@torch.no_grad()
def logits_of(model, ids):
    return model(torch.tensor([ids]), use_cache=False).logits[0]


def loss_by_program(prentice, address, rows, out, *options):
    prentice.run("eval", f"model.path={address}", f"data.eval={rows}", "data.chat=off", f"run.out={out}", "run.precision=f32", *options)
    return json.loads((out / "eval.json").read_text())["tasks"]["loss"]["mean"]


@torch.no_grad()
def loss_by_transformers(model, tokenizer):
    """Over the completions and the end token, as the program scores them."""
    total, count = 0.0, 0
    for row in ROWS:
        prompt = tokenizer.encode(row["prompt"])
        ids = tokenizer.encode(row["prompt"] + row["completion"]) + [tokenizer.eos_token_id]
        assert ids[:len(prompt)] == prompt
        log_probs = logits_of(model, ids).log_softmax(-1)
        total -= sum(log_probs[i - 1, ids[i]].item() for i in range(len(prompt), len(ids)))
        count += len(ids) - len(prompt)
    return total / count


# --- tokenizers -------------------------------------------------------------------------------------------------------

def folders_of_tokenizers(root):
    stories = DATA / "models/stories260K-hf"
    yield "quickstart", TOKENIZER, None
    yield "merges_json", DATA / "tokenizers/smollm_hf_json", None
    yield "gpt2_json", DATA / "tokenizers/gpt2_hf_json", None
    yield "vocab_and_merges", DATA / "tokenizers/qwen2_bpe", None
    yield "sentencepiece_json", stories, ["config.json", "generation_config.json", "model.safetensors", "tokenizer.bin"]
    yield "sentencepiece_model", stories, ["config.json", "generation_config.json", "model.safetensors", "tokenizer.bin", "tokenizer.json"]


NAMES = [name for name, _, _ in folders_of_tokenizers(None)]


@pytest.mark.parametrize("name", NAMES)
def test_the_tokenizer_is_that_of_transformers(name, prentice, rows, tmp_path):
    _, source, without = next(entry for entry in folders_of_tokenizers(tmp_path) if entry[0] == name)
    if not source.is_dir():
        pytest.skip(f"no {source}")
    base = tmp_path / "base"
    shutil.copytree(source, base, ignore=shutil.ignore_patterns(*(without or [])))
    known = AutoTokenizer.from_pretrained(base)
    piece = known.convert_ids_to_tokens(len(known) // 3)  # an ordinary entry of the vocabulary
    added = known.convert_ids_to_tokens(sorted(known.added_tokens_decoder)[0])
    tokens = [NEW[0], piece, added, NEW[1]]
    wanted = reference_tokenizer(base, tokens)
    config = LlamaConfig(**{**SHAPE, "vocab_size": len(known), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1})
    LlamaForCausalLM(config).save_pretrained(base)
    result = prentice.run(*words(base, rows, tmp_path / "run", "adapter.rank=2", "export.merged=f32", "data.template=auto", steps=2, tokens=tokens))
    assert f"{NEW[0]} = {len(known)}, {NEW[1]} = {len(known) + 1}" in result.stderr
    assert f"{added} is in the vocabulary already = {known.convert_tokens_to_ids(added)}" in result.stderr
    texts = [*TEXTS, f"a{piece}b {piece} <|ticket|>{piece}"]
    for folder in (tmp_path / "run/adapter", tmp_path / "run/merged"):
        ours = AutoTokenizer.from_pretrained(folder)
        assert len(ours) == len(wanted) == len(known) + 2
        assert ours.convert_tokens_to_ids(tokens) == wanted.convert_tokens_to_ids(tokens)
        assert set(tokens) <= set(ours.all_special_tokens)
        for text in texts:
            assert ours.encode(text) == wanted.encode(text), (folder, text)
            assert ours.decode(ours.encode(text), skip_special_tokens=True) == wanted.decode(wanted.encode(text), skip_special_tokens=True)
    assert rows_of(text_model(tmp_path / "run/merged")) == len(wanted)
    (tmp_path / "run/merged/chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    text = "".join(texts)
    said = prentice.run("generate", f"model.path={tmp_path / 'run/merged'}", f"generate.prompt={text}", "generate.max_new_tokens=1", "--json")
    # transformers 5 rebuilds Llama's SentencePiece tokenizers with rules that are not in the file; the crate takes the file.
    crate = Tokenizer.from_file(str(source / "tokenizer.json")) if "sentencepiece" in name else wanted.backend_tokenizer
    crate.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in tokens])
    assert json.loads(said.stdout)["prompt_ids"] == crate.encode(text).ids
    differs = wanted.encode(f"{NEW[0]} a", add_special_tokens=False) != crate.encode(f"{NEW[0]} a", add_special_tokens=False).ids
    assert differs == ("sentencepiece" in name)
    assert ("AutoTokenizer" in (tmp_path / "run/serve/serve.md").read_text()) == differs


def test_a_chat_template_may_name_the_new_token(bases, prentice, tmp_path):
    rows = tmp_path / "chat.jsonl"
    rows.write_text("".join(json.dumps({"messages": [{"role": "user", "content": f"number {i}"}, {"role": "assistant", "content": "yes"}]}) + "\n"
                            for i in range(8)))
    template = tmp_path / "own.jinja"
    template.write_text("{% for m in messages %}{% if m.role == 'user' %}<|ticket|>{{ m.content }}\n"
                        "{% else %}{{ m.content }}<|end|>{% endif %}{% endfor %}")
    options = [word for word in words(bases["llama"], rows, tmp_path / "run", *ADAPTER, f"data.template={template}", steps=2) if word != "data.chat=off"]
    prentice.run(*options)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run/adapter")
    said = prentice.run("generate", f"model.path={tmp_path / 'run'}", "generate.prompt=hello", "generate.max_new_tokens=1", "--json")
    assert json.loads(said.stdout)["prompt_ids"] == tokenizer.apply_chat_template([{"role": "user", "content": "hello"}], return_dict=False)
    assert json.loads(said.stdout)["prompt_ids"][0] == 1536


# --- models -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", BASES)
def test_new_rows_start_where_transformers_puts_them(name, bases, prentice, rows, tmp_path):
    prentice.run(*words(bases[name], rows, tmp_path / "run", "optim.lr=1e-30", "adapter.rank=2", steps=1))
    saved = {key.removeprefix("base_model.model."): value for key, value in load_file(tmp_path / "run/adapter/adapter_model.safetensors").items()
             if "lora_" not in key}
    plain = text_model(bases[name])
    torch.manual_seed(0)
    if name == "spare":
        plain.resize_token_embeddings(1536)  # transformers' mean is then over the same rows
    known = rows_of(plain)
    plain.resize_token_embeddings(known + 2)
    wanted = {"embed": plain.get_input_embeddings().weight, "head": plain.get_output_embeddings().weight}
    if name == "phi":
        wanted["bias"] = plain.get_output_embeddings().bias
    found = {"embed": next(value for key, value in saved.items() if key.endswith("embed_tokens.weight")),
             "head": saved["lm_head.weight"], "bias": saved.get("lm_head.bias")}
    for key, tensor in wanted.items():
        ours, theirs = found[key][:known + 2], tensor.detach()
        assert torch.equal(ours[:known], theirs[:known]), key
        assert (ours[known:] - theirs[known:]).abs().max() < 1e-3 * theirs[:known].std(), key
        assert torch.equal(ours[known], ours[known + 1])
    if name == "spare":
        assert found["embed"].shape[0] == SPARE


@pytest.mark.parametrize("name", BASES)
def test_peft_and_transformers_compute_what_was_trained(name, bases, prentice, rows, tmp_path):
    base, run = bases[name], tmp_path / "run"
    result = prentice.run(*words(base, rows, run, *ADAPTER, "export.merged=f32"))
    assert ("in spare rows of the embedding" if name == "spare" else "the embedding grows from 1536 to 1538 rows") in result.stderr
    assert "adapter.modules_to_save: embed_tokens, lm_head, where the new tokens' rows train" in result.stderr
    tokenizer = AutoTokenizer.from_pretrained(run / "adapter")
    model = text_model(base)
    tied = model.config.get_text_config().tie_word_embeddings
    if name != "spare":
        model.resize_token_embeddings(len(tokenizer))
    model = PeftModel.from_pretrained(model, run / "adapter").eval()
    merged = text_model(run / "merged")
    expected = SPARE if name == "spare" else 1538
    assert rows_of(merged) == expected == merged.config.get_text_config().vocab_size
    config = json.loads((run / "merged/config.json").read_text())
    assert config["vocab_size"] == expected and config.get("tie_word_embeddings", False) == tied
    assert ("lm_head.weight" in load_file(run / "merged/model.safetensors")) == (not tied)
    for text in TEXTS:
        ids = tokenizer.encode(text)
        theirs, ours = logits_of(model, ids), logits_of(merged, ids)
        assert (ours - theirs).norm() < 1e-5 * theirs.norm()
    loss = loss_by_transformers(model, tokenizer)
    assert loss < loss_by_transformers(text_model_with_rows(base, expected), tokenizer) - 0.05, "nothing was learnt"
    for number, address in enumerate((run, f"{run}@10", f"{base}+{run / 'adapter'}", run / "merged")):
        assert abs(loss_by_program(prentice, address, rows, tmp_path / f"eval{number}") - loss) < 2e-5 * loss, address
    prentice.run("export", f"model.path={base}+{run / 'adapter'}", "export.merged=f32", f"run.out={tmp_path / 'export'}")
    for file in (run / "merged").iterdir():
        assert without_origin(file) == without_origin(tmp_path / "export/merged" / file.name), file.name
    for file in (run / "adapter").iterdir():
        assert file.read_bytes() == (tmp_path / "export/adapter" / file.name).read_bytes(), file.name


def text_model_with_rows(folder, count):
    model = text_model(folder)
    model.resize_token_embeddings(count)
    return model


@pytest.mark.parametrize("name", ["llama", "llama_tied_llama3_rope", "phi"])
def test_all_weights_train_with_new_tokens(name, bases, prentice, rows, tmp_path):
    prentice.run(*words(bases[name], rows, tmp_path / "run", "adapter.kind=full", "optim.lr=0.002"))
    tokenizer, model = AutoTokenizer.from_pretrained(tmp_path / "run/merged"), text_model(tmp_path / "run/merged")
    assert rows_of(model) == len(tokenizer) == 1538
    loss = loss_by_transformers(model, tokenizer)
    assert loss < loss_by_transformers(text_model_with_rows(bases[name], 1538), tokenizer) - 0.5
    assert abs(loss_by_program(prentice, tmp_path / "run", rows, tmp_path / "eval") - loss) < 2e-5 * loss


def test_pretraining_from_random_weights_with_new_tokens(bases, prentice, rows, tmp_path):
    prentice.run(*words(bases["llama"], rows, tmp_path / "run", "model.init=random", kind="pretrain"))
    assert rows_of(text_model(tmp_path / "run/merged")) == len(AutoTokenizer.from_pretrained(tmp_path / "run/merged")) == 1538
    loss_by_program(prentice, tmp_path / "run", rows, tmp_path / "eval")


def test_training_goes_on_from_an_adapter_with_new_tokens(bases, prentice, rows, tmp_path):
    base = bases["llama_tied_llama3_rope"]
    prentice.run(*words(base, rows, tmp_path / "run", *ADAPTER))
    go_on = [f"adapter.init={tmp_path / 'run/adapter'}", "optim.lr=0.005"]
    prentice.run(*words(base, rows, tmp_path / "same", *go_on))
    prentice.run(*[word for word in words(base, rows, tmp_path / "more", *go_on) if "add_tokens" not in word])
    same, more = (without_origin(tmp_path / name / "adapter/adapter_model.safetensors") for name in ("same", "more"))
    assert same == more
    first = loss_by_program(prentice, tmp_path / "run", rows, tmp_path / "first")
    assert loss_by_program(prentice, tmp_path / "more", rows, tmp_path / "second") < first - 0.05
    refused = prentice.run(*words(base, rows, tmp_path / "other", *go_on, tokens=["<|other|>"]), code=2)
    assert "model.add_tokens: <|other|> is not in the vocabulary of adapter.init" in refused.stderr


def test_an_adapter_of_peft_without_the_heads_new_rows_is_refused(bases, prentice, rows, tmp_path):
    prentice.run(*words(bases["llama"], rows, tmp_path / "run", *ADAPTER, steps=1))
    path = tmp_path / "run/adapter/adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"modules_to_save": ["embed_tokens"]}))
    refused = prentice.run("eval", f"model.path={tmp_path / 'run'}", f"data.eval={rows}", f"run.out={tmp_path / 'eval'}", code=4)
    assert "its vocabulary has 1538 rows, the base's 1536, and the new ones of lm_head are not in modules_to_save" in refused.stderr


def test_llama_cpp_knows_the_new_tokens(bases, prentice, rows, node_modules, tmp_path):
    run = tmp_path / "run"
    prentice.run(*words(bases["llama_tied_llama3_rope"], rows, run, *ADAPTER, "export.merged=f32", "export.gguf=[F32]"))
    tokenizer, model = AutoTokenizer.from_pretrained(run / "merged"), text_model(run / "merged")
    sequences = [tokenizer.encode(text) for text in TEXTS[:3]]
    job = {"path": str(run / "gguf/run-F32.gguf"), "contextSize": 256, "vocabulary": 1538, "special": TEXTS[:3], "sequences": sequences}
    answer = tmp_path / "answer.json"
    subprocess.run(["node", Path(__file__).with_name("llama_oracle.mjs"), answer], input=json.dumps([job]), text=True, check=True,
                   capture_output=True, env={**os.environ, "PRENTICE_NODE_MODULES": str(node_modules)})
    said = json.loads(answer.read_text())[0]
    assert said["special"] == sequences
    for ids, theirs in zip(sequences, said["log_probs"]):
        ours = logits_of(model, ids)[-1].double().log_softmax(-1)
        assert (ours - torch.tensor(theirs, dtype=torch.float64)).abs().max() < 1e-4
    refused = prentice.run(*words(bases["llama"], rows, tmp_path / "no", *ADAPTER, "export.gguf_adapter=F32"), code=2)
    assert "a GGUF adapter cannot carry embedding and head, which model.add_tokens trains whole" in refused.stderr
