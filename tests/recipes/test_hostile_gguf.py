"""GGUF files made to do harm: the real program refuses them, or reads them, within seconds and bounded memory; it never
crashes. Each file is looked into and opened as a model, in forks of one start of the program; a few go through the program itself."""

import resource
import subprocess
import time
from pathlib import Path

import gguf
import gguf_draft
import numpy as np
import pytest
from conftest import Prentice, full
from forks import MEGABYTE, Forks
from hostile_gguf import Spoiler, everything, spoiled_merges, spoiled_scores, spoiled_templates
from hostile_sizes import importance, sizes
from tiny_models import make_model, save_folder

ALLOWED = 64  # megabytes above the size of the file
SECONDS = 6  # of the processor
FLIPS = 400 if full() else 60
# The last two are the words of Rust's runtime on an allocation that the meter of templates refuses; it lets nobody change them.
TOLD = ("error: ", "hint: ", "memory allocation of ", "stack backtrace:")
SHARE = 5  # one file in so many, where not all are asked for
GENERATE = ["generate.prompt=a b", "generate.max_new_tokens=1", "run.device=cpu", "run.threads=1", "run.precision=f32"]


@pytest.fixture(scope="module")
def folder(binary, tmp_path_factory):
    """words.gguf, made by the program; pieces.gguf, made by the package gguf; importance.gguf, made by the program."""
    made = tmp_path_factory.mktemp("hostile")
    save_folder(make_model("llama"), made / "model")
    prentice = Prentice(binary, made)
    prentice.run("export", "model.path=model", "export.gguf=[Q8_0]", "export.name=words", "run.out=out", "run.device=cpu")
    (made / "out/gguf/words-Q8_0.gguf").rename(made / "words.gguf")
    (made / "text.txt").write_text("The office is on the third floor. " * 80)
    prentice.run("imatrix", "model.path=model", "data.train=text.txt", "run.out=collected", "run.device=cpu")
    next((made / "collected").glob("*.gguf")).rename(made / "importance.gguf")
    write_pieces(made / "pieces.gguf")
    (made / "export.yaml").write_text("recipe: export\nmodel:\n  path: model\nexport:\n  gguf: [Q4_0]\n")
    (made / "sft.yaml").write_text("recipe: sft\ntrain:\n  steps: 1\n  batch: 1\ndata:\n  train: rows.jsonl\n  chat: off\n")
    (made / "rows.jsonl").write_text('{"prompt": "a", "completion": " b"}\n' * 4)
    return made


def write_pieces(path):
    """A SentencePiece Llama of one layer and random weights."""
    width, feed_forward, heads = 32, 48, 2
    letters = ["\u2581", *"abcdefghijklmnopqrstuvwxyz", "\u2581a", "ab", "th", "the", "\u2581the"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), *letters]
    kinds = [2, 3, 3, *[6] * 256, *[1] * len(letters)]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(feed_forward)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_rope_dimension_count(width // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(i) for i in range(len(tokens))])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    draw = np.random.default_rng(17)
    shapes = {"token_embd": (len(tokens), width), "output": (len(tokens), width), "output_norm": (width,)}
    layer = {"attn_q": (width, width), "attn_k": (width, width), "attn_v": (width, width), "attn_output": (width, width),
             "ffn_gate": (feed_forward, width), "ffn_up": (feed_forward, width), "ffn_down": (width, feed_forward),
             "attn_norm": (width,), "ffn_norm": (width,)}
    for name, shape in {**shapes, **{f"blk.0.{name}": shape for name, shape in layer.items()}}.items():
        writer.add_tensor(f"{name}.weight", draw.standard_normal(shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def draft(folder, name):
    return gguf_draft.parse((folder / f"{name}.gguf").read_bytes())


def faults(run, codes):
    """Why a run is not as it must be."""
    found = [] if run.code in codes else [f"exit {run.code}, expected one of {codes}"]
    lines = run.err.splitlines()
    if run.code in (2, 3, 4, 6) and not any(line.startswith("error: ") for line in lines):
        found.append("no error is told")
    if any(line and not line.startswith(TOLD) for line in lines) and run.code == 4:
        found.append("more is said than errors and a hint")
    if run.seconds > SECONDS:
        found.append(f"{run.seconds:.1f} s")
    return found


def check(folder, cases, verbs):
    """Runs every case through `verbs`, {(what it reads): words}, and tells all that are wrong together."""
    wrong = []
    with Forks(folder) as forks:
        for number, case in enumerate(cases):
            path = folder / f"case{'.dat' if '.dat' in case.name else '.gguf'}"
            content = case.make()
            path.write_bytes(content)
            for reads, words in verbs.items():
                if case.refused_by == "file" or (case.refused_by == "model" and reads == "model"):
                    codes = (4,)
                else:
                    codes = (0, 4, 6) if reads == "model" else (0, 4)  # 6: weights that are no numbers
                run = forks.run(*[word.replace("CASE", str(path)) for word in words],
                                megabytes=ALLOWED + -(-len(content) // MEGABYTE))
                wrong += [f"{number} {case.name}: {words[0]}: {fault}\n{run}" for fault in faults(run, codes)]
    assert not wrong, f"{len(wrong)} of {len(cases)} files:\n" + "\n".join(wrong[:40])


LOOK = {"file": ["inspect", "CASE"], "model": ["generate", "model.path=CASE", *GENERATE]}


def words_of(folder):
    spoiler = Spoiler("words", draft(folder, "words"))
    spoiled_merges(spoiler)
    return everything(spoiler, FLIPS)


def pieces_of(folder):
    spoiler = Spoiler("pieces", draft(folder, "pieces"))
    spoiled_scores(spoiler)
    spoiled_templates(spoiler)
    return everything(spoiler, FLIPS)


@pytest.mark.parametrize("name", ["words", "pieces", "importance"])
def test_the_good_files_are_taken_apart_whole_and_pass(name, folder):
    content = (folder / f"{name}.gguf").read_bytes()
    assert draft(folder, name).pack() == content
    if name != "importance":
        with Forks(folder) as forks:
            for words in LOOK.values():
                run = forks.run(*[word.replace("CASE", str(folder / f"{name}.gguf")) for word in words],
                                megabytes=ALLOWED + -(-len(content) // MEGABYTE))
                assert run.code == 0 and run.seconds < SECONDS, run


@pytest.mark.parametrize("make", [words_of, pieces_of])
def test_every_spoiled_file_is_refused_or_read(make, folder):
    cases = make(folder)
    assert len(cases) > 300
    check(folder, cases if full() else cases[::SHARE], LOOK)


def test_counts_cost_no_more_memory_than_the_file(folder):
    check(folder, sizes(lambda: draft(folder, "pieces"), lambda: draft(folder, "words")),
          {**LOOK, "file as JSON": ["inspect", "CASE", "--json"]})


def test_importance_matrices_that_are_none_are_refused(folder):
    check(folder, importance(lambda: draft(folder, "importance")),
          {"model": ["validate", "export.yaml", "export.imatrix=CASE"]})
