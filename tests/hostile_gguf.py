"""Good GGUF files spoiled in every place: [Case] for tests/recipes/test_hostile_gguf.py, the same on every machine.

A case says who must refuse it: the container's reader ("file"), whoever wants a model of it ("model"), or nobody ("")."""

import copy
import random
import struct
from dataclasses import dataclass
from typing import Callable

from gguf_draft import (ARRAY, BOOL, F32, F64, FORMS, I32, I64, STRING, U32, U64, Array, Entry, Info, Raw, text, u32, u64)

COUNTS = [0, 1, (1 << 16) + 1, (1 << 17) + 1, 1 << 30, (1 << 31) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
NUMBERS = [0, 1, 3, 65537, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 60, (1 << 64) - 1]
REALS = [0.0, -1.0, float("nan"), float("inf"), float("-inf"), 1e-300, 1e300]


@dataclass
class Case:
    name: str
    make: Callable  # () -> bytes
    refused_by: str = ""


class Spoiler:
    """Cases of one good file, of which it is told what an architecture's keys begin with."""

    def __init__(self, label, good):
        self.label, self.good = label, good
        self.architecture = good.entry("general.architecture").value.decode()
        self.cases = []

    def add(self, name, spoil, refused_by=""):
        def make():
            draft = copy.deepcopy(self.good)
            made = spoil(draft)
            return made if isinstance(made, bytes) else draft.pack()
        self.cases.append(Case(f"{self.label}: {name}", make, refused_by))

    def set(self, key, type_, value, refused_by="", name=None):
        self.add(f"{key} = {name or f'{value!r:.40}'}", lambda draft: draft.set(key, type_, value), refused_by)

    def header(self):
        for version in (0, 1, 4, 0x03000000, 0xffffffff):
            self.add(f"version {version}", lambda draft, v=version: setattr(draft, "version", v), "file")
        self.add("magic", lambda draft: b"GGUG" + draft.pack()[4:])
        for which, what, held in ((0, "tensors", len(self.good.tensors)), (1, "keys", len(self.good.entries))):
            for count in {*COUNTS, held - 1, held + 1} - {held}:
                self.add(f"{count} {what}", lambda draft, w=which, c=count: draft.counts.__setitem__(w, c),
                         "model" if count < held else "file")

    def truncations(self):
        """At every border of the structure, and inside what lies between; the last data's padding may be missing."""
        at, borders = 0, []
        for what, part in self.good.parts():
            borders += [(at, f"before {what}")] + ([(at + len(part) // 2, f"inside {what}")] if len(part) > 1 else [])
            at += len(part)
        whole = self.good.pack()
        for size, where in borders[: 60] + borders[60::3]:
            self.add(f"ends {where}", lambda _, n=size: whole[:n], "" if size < 4 else "file")

    def keys(self):
        for i, entry in enumerate(self.good.entries):
            def key(draft, content, n=i):
                draft.entries[n].key = content
            if i % 4 == 0:
                self.add(f"{entry.key}: no name", lambda d, f=key: f(d, b""), "file")
                self.add(f"{entry.key}: no UTF-8", lambda d, f=key: f(d, b"\xff\xfe\0"))
                self.add(f"{entry.key}: twice", lambda d, n=i: d.entries.append(d.entries[n]), "file")
            for type_ in (13, 99, 0xffffffff):
                self.add(f"{entry.key}: type {type_}", lambda d, n=i, t=type_: set_entry(d, n, t, Raw(bytes(8))), "file")
            for name, type_, value in (("text", STRING, b"x"), ("bool", BOOL, True), ("list", ARRAY, Array(U32, [1, 2])),
                                       ("none", ARRAY, Array(STRING, [])), ("f32", F32, 1.5)):
                if type_ != entry.type:
                    self.add(f"{entry.key}: a {name}", lambda d, n=i, t=type_, v=value: set_entry(d, n, t, v))
        self.add("a name of 70,000 bytes", lambda d: d.entries.append(Entry(b"k" * 70000, U32, 1)), "file")
        for size in COUNTS[4:]:
            self.add(f"a name of {size} bytes", lambda d, s=size: d.pack()[:24] + u64(s) + bytes(64), "file")
            self.set("x", STRING, Raw(u64(size)), "file", f"a text of {size} bytes")
            for element in (0, U32, STRING, BOOL, F64):
                self.set("x", ARRAY, Raw(u32(element) + u64(size)), "file", f"{size} of {element}")
        self.set("x", ARRAY, Raw(u32(ARRAY) + u64(1) + u32(U32) + u64(1) + u32(1)), "file", "a list of lists")
        self.set("x", ARRAY, Raw(u32(14) + u64(1) + u64(1)), "file", "a list of an unknown type")
        self.set("x", BOOL, Raw(b"\2"), "file", "a bool that is 2")
        for alignment in (0, 1 << 21, 48, 0xffffffff):
            self.set("general.alignment", U32, alignment, "file")
        self.set("general.alignment", U64, 32, "file", "of another type")

    def tensors(self):
        for n in {0, 1, len(self.good.tensors) // 2, len(self.good.tensors) - 1}:
            name = self.good.tensors[n].name

            def change(what, field, value, refused_by="file", n=n, name=name):
                self.add(f"{name}: {what}", lambda d: setattr(d.tensors[n], field, value), refused_by)
            for wrong in (b"", b"n" * 64, self.good.tensors[n - 1].name):
                change(f"called {str(wrong)[:20]}", "name", wrong)
            change("no UTF-8", "name", b"\xff\x1b[2J\n", "model")
            for rank in (5, 0xffffffff):
                change(f"rank {rank}", "rank", rank)
            for type_ in (4, 5, 31, 36, 40, 0xffffffff):
                change(f"type {type_}", "type", type_)
            for type_ in (0, 1, 9, 10, 16, 24, 28, 39):
                change(f"as type {type_}", "type", type_, "")
            for offset in (1, 8, 1 << 40, 1 << 63, (1 << 64) - 32):
                change(f"offset {offset}", "offset", offset)
            for size in (0, 1, 31, 1 << 31, 1 << 32, 1 << 47, 1 << 62, (1 << 64) - 1):
                for at in range(len(self.good.tensors[n].dims)):
                    dims = [size if i == at else dim for i, dim in enumerate(self.good.tensors[n].dims)]
                    change(f"dims {dims}", "dims", dims, "")
            change("four products that wrap", "dims", [1 << 32, 1 << 32, 1 << 32, 32])
            change("no data", "data", b"", "file")
            change("of no dimension", "dims", [], "")
        self.add("no tensors", lambda d: d.tensors.clear(), "model")
        self.add("a tensor too many", lambda d: d.tensors.append(Info("blk.0.more.weight", [4], 0, bytes(16))), "model")

    def numbers(self):
        """Sizes and ids that no model has."""
        for entry in self.good.entries:
            if entry.type not in FORMS or entry.type == BOOL:
                continue
            for value in NUMBERS if entry.type not in (F32, F64) else []:
                self.set(entry.key, U64, value)
            for value in REALS if entry.type in (F32, F64) else []:
                self.set(entry.key, F64, value)
            self.set(entry.key, I64, -(1 << 63))
            self.add(f"{entry.key}: missing", lambda d, k=entry.key: d.without(k))
        for name, type_, value in (
                ("attention.key_length", U64, 1 << 40), ("attention.value_length", U32, 3), ("rope.dimension_count", U32, 1 << 30),
                ("expert_count", U32, 8), ("rope.freq_base", F32, float("nan")), ("rope.scaling.type", STRING, b"yarn"),
                ("rope.scaling.type", STRING, b"\xff"), ("attention.sliding_window", U64, 1 << 63),
                ("attention.causal", BOOL, False), ("attention.clamp_kqv", F32, 1e30)):
            self.set(f"{self.architecture}.{name}", type_, value)
        for architecture in (b"", b"mamba", b"gemma3", b"stablelm", b"\xff\0", b"x" * 100000):
            self.set("general.architecture", STRING, architecture)
        for type_ in (b"adapter", b"imatrix", b"mmproj", b""):
            self.set("general.type", STRING, type_, "model")
        self.set("split.count", U32, 4, "model")
        for count, value in ((8, float("nan")), (8, 0.0), (8, -1.0), (8, 1e-38), (0, 0), (7, 1.0), (1 << 16, 1.0)):
            self.add(f"{count} rope_freqs of {value}", lambda d, c=count, v=value: d.tensors.append(
                Info("rope_freqs.weight", [c], 0, struct.pack(f"<{c}f", *[v] * c))))

    def random_bytes(self, count):
        """Flips anywhere in what is not data, and parts in each other's place."""
        whole, generator = self.good.pack(), random.Random(17)
        size = len(whole) - sum(len(part) for what, part in self.good.parts() if what.endswith(": data"))
        for i in range(count):
            changed = bytearray(whole)
            for _ in range(generator.choice((1, 1, 2, 8, 64))):
                changed[generator.randrange(size)] = generator.choice((0, 1, 0x7f, 0x80, 0xff, generator.randrange(256)))
            begin, end = sorted((generator.randrange(size), generator.randrange(size)))
            if i % 4 == 3:
                changed[begin: begin + 16] = changed[end: end + 16]
            if i % 8 == 7:
                del changed[begin: begin + generator.randrange(1, 64)]
            self.add(f"random {i}", lambda _, content=bytes(changed): content)


def set_entry(draft, number, type_, value):
    draft.entries[number].type, draft.entries[number].value = type_, value


def spoiled_texts(spoiler):
    """The tokenizer's lists and ids."""
    key = "tokenizer.ggml."
    tokens = spoiler.good.entry(key + "tokens").value.items
    types = spoiler.good.entry(key + "token_type").value.items

    def tokens_as(name, items, refused_by="model"):
        spoiler.set(key + "tokens", ARRAY, Array(STRING, items), refused_by, name)
    tokens_as("one twice", [*tokens[:-1], tokens[-2]])
    tokens_as("no UTF-8", [*tokens[:-1], b"\xc3\x28"])
    tokens_as("one too few", tokens[:-1])
    tokens_as("one too many", [*tokens, b"more"])
    tokens_as("none", [])
    tokens_as("all empty", [b""] * len(tokens), "")
    tokens_as("a NUL", [*tokens[:-1], b"a\0b"], "")
    tokens_as("a token of 1 MB", [*tokens[:-1], b"y" * (1 << 20)], "")
    spoiler.set(key + "tokens", ARRAY, Array(U32, list(range(len(tokens)))), "model", "numbers")
    for name, items in (("all control", [3] * len(types)), ("all unknown", [2] * len(types)), ("all bytes", [6] * len(types)),
                        ("all unused", [5] * len(types)), ("all the user's", [4] * len(types)), ("all undefined", [0] * len(types))):
        spoiler.set(key + "token_type", ARRAY, Array(I32, items), "", name)
    for name, items in (("7", [7] * len(types)), ("-1", [-1] * len(types)), ("none", []), ("one", [1])):
        spoiler.set(key + "token_type", ARRAY, Array(I32, items), "model", name)
    spoiler.set(key + "token_type", ARRAY, Array(F32, [1.0] * len(types)), "model", "reals")
    for name in ("bos", "eos", "padding", "unknown", "eot"):
        for value in (len(tokens) - 1, len(tokens), 1 << 31, (1 << 64) - 1):
            spoiler.set(f"{key}{name}_token_id", U64, value)
        spoiler.set(f"{key}{name}_token_id", STRING, b"0", "" if name == "eot" else "model")
    for name in ("add_bos_token", "add_eos_token", "add_space_prefix"):
        spoiler.set(key + name, U32, 1, "model")
        spoiler.set(key + name, BOOL, True)
    for model in (b"t5", b"bert", b"", b"rwkv", b"\xff"):
        spoiler.set(key + "model", STRING, model, "model")
    for model in (b"llama", b"gpt2"):
        spoiler.set(key + "model", STRING, model)


def spoiled_merges(spoiler):
    key = "tokenizer.ggml.merges"
    merges = spoiler.good.entry(key).value.items
    for name, items, refused_by in (
            ("one piece", [b"ab"], "model"), ("none", [], ""), ("an empty one", [b""], "model"), ("a space", [b" "], "model"),
            ("of unknown pieces", [b"qqq www"], "model"), ("no UTF-8", [b"\xff \xfe"], "model"), ("twice", merges + merges, ""),
            ("three pieces", [b"a b c"], "model"), ("backwards", merges[::-1], "")):
        spoiler.set(key, ARRAY, Array(STRING, items), refused_by, name)
    spoiler.set(key, ARRAY, Array(I32, [1, 2]), "model", "numbers")
    for pre in (b"", b"unknown", b"\xff", b"default", b"qwen2", b"llama-bpe", b"x" * 100000):
        spoiler.set("tokenizer.ggml.pre", STRING, pre, "" if pre.isalnum() or b"-" in pre else "model")


def spoiled_scores(spoiler):
    key = "tokenizer.ggml.scores"
    count = len(spoiler.good.entry(key).value.items)
    for value in (float("nan"), float("inf"), float("-inf"), 0.0, 1e38):
        spoiler.set(key, ARRAY, Array(F32, [value] * count), "", f"all {value}")
    spoiler.set(key, ARRAY, Array(F32, [0.0] * (count - 1)), "model", "one too few")
    spoiler.set(key, ARRAY, Array(I32, [0] * count), "model", "integers")
    spoiler.add("scores missing", lambda d: d.without(key), "model")
    tokens = spoiler.good.entry("tokenizer.ggml.tokens").value.items
    for name, items in (("bytes spelled wrongly", [t.replace(b"<0x", b"<0y") for t in tokens]),
                        ("bytes out of order", [*tokens[:3], *tokens[3:259][::-1], *tokens[259:]]),
                        ("bytes of three digits", [t.replace(b"<0x0", b"<0x00") for t in tokens]),
                        ("the unknown one is a space", [b"\xe2\x96\x81\xe2\x96\x81", *tokens[1:]])):
        spoiler.set("tokenizer.ggml.tokens", ARRAY, Array(STRING, items), "", name)


TEMPLATES = {
    "no end": b"{% for m in messages %}",
    "no filter": b"{{ messages | nothing }}",
    "brackets": b"{{ " + b"(" * 100000 + b"1" + b")" * 100000 + b" }}",
    "lists": b"{{ " + b"[" * 100000 + b"]" * 100000 + b" }}",
    "ifs": b"{% if 1 %}" * 50000 + b"{% endif %}" * 50000,
    "fors": b"{% for a in range(99999) %}" * 200 + b"{% endfor %}" * 200,
    "signs": b"{{ " + b"-" * 100000 + b"1 }}",
    "nots": b"{{ " + b"not " * 100000 + b"1 }}",
    "attributes": b"{{ a" + b".b" * 100000 + b" }}",
    "sums": b"{{ 1" + b"+1" * 100000 + b" }}",
    "a long loop": b"{% for a in range(100000000) %}x{% endfor %}",
    "loops in loops": b"{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "doubling": b"{% set n = namespace(s='x' * 1000) %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    "a long text": b"{{ 'x' * 10000000000 }}",
    "a list that grows": b"{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = n.l + n.l %}{% endfor %}{{ n.l }}",
    "many numbers": b"{{ range(10000000000) | list }}",
    "calls itself": b"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "calls itself twice": b"{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "includes": b"{% include '/etc/passwd' %}",
    "extends itself": b"{% extends 'template' %}",
    "wide": b"{{ '%99999999999d' % 1 }}{{ 'a'.center(9999999999) }}",
    "attributes of the host": b"{{ ''.__class__.__mro__ }}",
    "raises": b"{{ raise_exception('no') }}",
    "divides by zero": b"{{ 1 // 0 }}{{ 1 % 0 }}",
    "a power": b"{{ 9 ** 9 ** 9 }}",
    "no UTF-8": b"\xff\xfe{{ 1 }}",
    "NUL": b"\0{{ '\0' }}",
    "2 MB": b"x" * (2 << 20),
    "strings": b"{{ '" + b"\\'" * 100000,
    "indent": b"{{ 'a\nb' | tojson(indent=100000000) }}{{ messages | tojson(indent=100000000) }}",
}


def spoiled_templates(spoiler):
    for name, template in TEMPLATES.items():
        spoiler.set("tokenizer.chat_template", STRING, template, name=f"template, {name}")


def everything(spoiler, flips):
    spoiler.header()
    spoiler.truncations()
    spoiler.keys()
    spoiler.tensors()
    spoiler.numbers()
    spoiled_texts(spoiler)
    spoiler.random_bytes(flips)
    return spoiler.cases
