"""`recipe: verify` of a merged folder: its tokenizer is the model's as data, not only on some texts, and nothing beside it changes what
transformers loads."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
from test_verify_faults import Shop
from tiny_models import SHAPE, make_model, save_folder, start_adapter
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


@pytest.fixture(scope="module")
def shop(binary, tmp_path_factory):
    shop = Shop(binary, tmp_path_factory.mktemp("tokenizers"))
    save_folder(make_model("llama"), shop.root / "llama")
    start_adapter(make_model("llama"), shop.root / "adapter")
    return shop


def with_tokenizer(shop, shared_data, name):
    """A model of the vocabulary's size beside a tokenizer of the shared data, or the model there."""
    folder = shop.root / name
    if not folder.exists() and (shared_data / "models" / name).is_dir():
        shutil.copytree(shared_data / "models" / name, folder)
    elif not folder.exists():
        size = {"gpt2_hf_json": 50257, "smollm_hf_json": 49280, "qwen2_bpe": 151936}[name]
        config = LlamaConfig(**{**SHAPE, "vocab_size": size, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
                                "tie_word_embeddings": True, "eos_token_id": None, "pad_token_id": None})
        make_model((LlamaForCausalLM, config)).save_pretrained(folder)
        for file in (shared_data / "tokenizers" / name).iterdir():
            shutil.copy(file, folder)
    return folder


def edited(change):
    def plant(folder):
        said = json.loads((folder / "tokenizer.json").read_text())
        change(said)
        (folder / "tokenizer.json").write_text(json.dumps(said, ensure_ascii=False))
    return plant


def swapped_ids(a, b):
    def change(said):
        vocabulary = said["model"]["vocab"]
        pieces = {number: piece for piece, number in vocabulary.items()}
        vocabulary[pieces[a]], vocabulary[pieces[b]] = b, a
    return edited(change)


def swapped_merges(said):
    merges = said["model"]["merges"]
    merges[-1], merges[-2] = merges[-2], merges[-1]


def add_adapter(folder):
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(folder.parent / "of" / name, folder)


FAULTS = {
    "two ids swapped": (swapped_ids(654, 441), 'ids of tokens: id 441 is "se", and the model\'s is "\u0120read"'),
    "two rare ids swapped": (swapped_ids(1400, 1401), "ids of tokens: id 1400 is "),
    "two merges swapped": (edited(swapped_merges), "tokenizer.json: merge 1274 is "),
    "a merge less": (edited(lambda said: said["model"]["merges"].pop()), "tokenizer.json: 1275 merges, the model has 1276"),
    "dropout": (edited(lambda said: said["model"].update(dropout=0.1)), "tokenizer.json: dropout is 0.1, and the model's is null"),
    "another decoder": (edited(lambda said: said.update(decoder={"type": "WordPiece", "prefix": "##", "cleanup": True})), "decoded texts: ids "),
    "no decoder": (edited(lambda said: said.update(decoder=None)), "decoded texts: ids "),
    "a token that is not special": (edited(lambda said: said["added_tokens"][0].update(special=False)),
                                    'tokenizer.json: token 0 ("<|end|>") is not special, and the model\'s is so'),
    "an ending of words": (edited(lambda said: said["model"].update(end_of_word_suffix="</w>")), 'tokenizer.json: end_of_word_suffix is "</w>"'),
    "a piece that is looked for first": (edited(lambda said: said["added_tokens"].append({
        "id": 441, "content": "\u0120read", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False})),
        "texts of tokens: "),
    "an adapter that was left there": (add_adapter, "no adapter beside it: adapter_config.json"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_few_texts_show_is_found_and_named(fault, shop, tmp_path):
    plant, reason = FAULTS[fault]
    shutil.copytree(shop.root / "adapter", tmp_path / "of")
    shutil.copytree(shop.root / "llama", tmp_path / "planted")
    plant(tmp_path / "planted")
    said, _ = shop.verify("llama", tmp_path / "planted", 9, "verify.tokens=64")
    assert f"error: verify: {reason}" in said.stderr, said.stderr
    assert (tmp_path / "planted.rejected").is_dir()


def swapped_scores(said):
    said["model"]["merges"][0], said["model"]["merges"][100] = said["model"]["merges"][100], said["model"]["merges"][0]


@pytest.mark.parametrize("change, reason", [
    (swapped_scores, "tokenizer.json: merge 0 is "), (lambda said: said.update(decoder=None), "decoded texts: ids "),
    (lambda said: said["model"].update(dropout=0.5), "tokenizer.json: dropout is 0.5")], ids=["merges", "decoder", "dropout"])
def test_a_vocabulary_of_sentencepiece_is_compared_so_too(change, reason, shop, shared_data, tmp_path):
    shutil.copytree(with_tokenizer(shop, shared_data, "stories260K-hf"), tmp_path / "planted")
    edited(change)(tmp_path / "planted")
    said, _ = shop.verify("stories260K-hf", tmp_path / "planted", 9, "verify.tokens=64")
    assert f"error: verify: {reason}" in said.stderr, said.stderr


def other_words(said):
    """What says the same: another order, the older spelling of merges, and what is meant where nothing is said."""
    model = said["model"]
    model["merges"] = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    model["vocab"] = dict(sorted(model["vocab"].items()))
    model.update(dropout=0.0, continuing_subword_prefix="", end_of_word_suffix=None)
    model.pop("ignore_merges")
    said.update(version="1.0", padding=None, truncation={"direction": "Right", "max_length": 64, "strategy": "LongestFirst", "stride": 0})
    for name in sorted(said):
        said[name] = said.pop(name)


@pytest.mark.parametrize("name", ["llama", "stories260K-hf"])
def test_other_words_for_the_same_pass(name, shop, shared_data, tmp_path):
    shutil.copytree(with_tokenizer(shop, shared_data, name), tmp_path / "model")
    shutil.copytree(tmp_path / "model", tmp_path / "copy")
    edited(other_words)(tmp_path / "copy")
    _, report = shop.verify(tmp_path / "model", tmp_path / "copy", 0, "verify.tokens=64")
    assert {"name": "tokenizer.json", "passed": True, "value": 0, "limit": 0, "detail": "says the same"} in report["checks"]


@pytest.mark.parametrize("name, loader", [
    ("llama", AutoTokenizer), ("llama", PreTrainedTokenizerFast), ("gpt2_hf_json", AutoTokenizer), ("smollm_hf_json", PreTrainedTokenizerFast),
    ("qwen2_bpe", AutoTokenizer), ("stories260K-hf", PreTrainedTokenizerFast)])
def test_what_transformers_saves_again_passes(name, loader, shop, shared_data, tmp_path):
    shutil.copytree(with_tokenizer(shop, shared_data, name), tmp_path / "model")
    shutil.copytree(tmp_path / "model", tmp_path / "again")
    loader.from_pretrained(tmp_path / "model").save_pretrained(tmp_path / "again")
    shop.verify(tmp_path / "model", tmp_path / "again", 0, "verify.tokens=64")


@pytest.mark.parametrize("missing", ["model", "again"])
def test_a_vocabulary_that_was_converted_passes_and_one_of_other_ids_does_not(missing, shop, shared_data, tmp_path):
    """One side has tokenizer.model alone."""
    for name in ("model", "again"):
        shutil.copytree(with_tokenizer(shop, shared_data, "stories260K-hf"), tmp_path / name)
    (tmp_path / missing / "tokenizer.json").unlink()
    shop.verify(tmp_path / "model", tmp_path / "again", 0, "verify.tokens=64")
    if missing == "model":
        swapped_ids(440, 441)(tmp_path / "again")
        assert "ids of tokens: id 440 is " in shop.verify(tmp_path / "model", tmp_path / "again", 9, "verify.tokens=64")[0].stderr
