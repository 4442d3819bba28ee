"""Files whose counts are the attack: many small things, each of which costs more in memory than on disk."""

import struct

from gguf_draft import (ARRAY, F32, I32, STRING, U32, Array, Draft, Entry, Info, Raw, text, u32, u64)
from hostile_gguf import Case


def entries(*pairs):
    return [Entry(key, type_, value) for key, type_, value in pairs]


def many_tensors():
    return Draft(entries(("general.architecture", STRING, b"llama")),
                 [Info(f"t{i}", [0], 0, b"") for i in range(1 << 16)]).pack()


def many_keys():
    return Draft([Entry(f"k{i}", U32, i) for i in range(1 << 16)], []).pack()


def long_keys():
    return Draft([Entry(f"{i:03}".encode() + b"\xff" * 65000, U32, i) for i in range(600)], []).pack()


def long_texts():
    return Draft([Entry(f"k{i}", STRING, b"\xff" * 2000) for i in range(30000)], []).pack()


def empty_tokens(good):
    """Each is 8 bytes."""
    good.set("tokenizer.ggml.tokens", ARRAY, Raw(u32(STRING) + u64(4 << 20) + bytes(32 << 20)))
    return good.pack()


def many_tokens(good, type_):
    """None of which a merge is made of."""
    tokens = [b"%05x" % i for i in range(1 << 18)]
    good.set("tokenizer.ggml.tokens", ARRAY, Array(STRING, tokens))
    good.set("tokenizer.ggml.token_type", ARRAY, Array(I32, [type_] * len(tokens)))
    good.set("tokenizer.ggml.scores", ARRAY, Array(F32, [0.0] * len(tokens)))
    good.set("tokenizer.ggml.merges", ARRAY, Array(STRING, [b"a b"] * len(tokens)))
    return good.pack()


def long_template(good):
    good.set("tokenizer.chat_template", STRING, b"x" * (100 << 20))
    return good.pack()


def many_heads():
    """A norm for each of two million heads of no width."""
    heads = 1 << 21
    keys = entries(("general.architecture", STRING, b"stablelm"), *(
        (f"stablelm.{key}", U32, value) for key, value in (
            ("context_length", 64), ("embedding_length", 64), ("block_count", 1), ("feed_forward_length", 64),
            ("attention.head_count", heads), ("attention.head_count_kv", heads), ("attention.key_length", 2),
            ("attention.value_length", 2), ("rope.dimension_count", 2))),
        ("stablelm.attention.layer_norm_epsilon", F32, 1e-5))
    norms = [Info(f"blk.0.attn_{which}_norm.weight", [0, heads], 0, b"") for which in "qk"]
    return Draft(keys, [Info("token_embd.weight", [64, 2], 0, bytes(512)), Info("blk.0.attn_norm.weight", [64], 0, bytes(256)),
                        *norms]).pack()


def many_factors(good):
    """A rotation of eight million features."""
    count = 1 << 22
    for key in ("attention.key_length", "attention.value_length", "rope.dimension_count"):
        good.set(f"llama.{key}", U32, 2 * count)
    good.tensors.append(Info("rope_freqs.weight", [count], 0, struct.pack("<f", 2.0) * count))
    return good.pack()


def sizes(pieces, words):
    """`pieces` and `words` make a good draft each."""
    return [Case("65,536 tensors", many_tensors, "model"), Case("65,536 keys", many_keys, "model"),
            Case("600 keys of 65,003 bytes", long_keys, "model"), Case("30,000 texts of 2,000 bytes", long_texts, "model"),
            Case("4 M empty tokens", lambda: empty_tokens(words()), "model"),
            Case("4 M empty pieces", lambda: empty_tokens(pieces()), "model"),
            Case("2^18 tokens", lambda: many_tokens(words(), 1), "model"),
            Case("2^18 added tokens", lambda: many_tokens(words(), 3), "model"),
            Case("2^18 pieces", lambda: many_tokens(pieces(), 1), "model"),
            Case("2^18 added pieces", lambda: many_tokens(pieces(), 4), "model"),
            Case("a template of 100 MB", lambda: long_template(words())),
            Case("2 M heads", many_heads, "model"), Case("4 M factors", lambda: many_factors(words()), "model")]


def legacy(entries_, count=None):
    """An importance matrix of llama.cpp's older form: [(name, calls, [values])]."""
    body = b"".join(struct.pack("<i", len(name)) + name + struct.pack("<ii", calls, len(values))
                    + struct.pack(f"<{len(values)}f", *values) for name, calls, values in entries_)
    return struct.pack("<i", len(entries_) if count is None else count) + body


def importance(good):
    """Importance matrices that are none; `good` makes a good one's draft."""
    one = (b"blk.0.ffn_down.weight", 2, [1.0, 2.0])
    dat = {"empty": b"", "no entries": legacy([]), "negative": legacy([one], -1), "more than there are": legacy([one], 1 << 30),
           "twice": legacy([one, one]), "NaN": legacy([(b"a", 1, [float("nan")])]), "negative calls": legacy([(b"a", -1, [1.0])]),
           "no values": legacy([(b"a", 1, [])]), "cut": legacy([one])[:-3], "a long name": struct.pack("<ii", 1, 1 << 30) + bytes(64),
           "many values": struct.pack("<ii", 1, 1) + b"a" + struct.pack("<ii", 1, (1 << 31) - 1) + bytes(64),
           "no UTF-8": legacy([(b"\xff\0\x1b[2J", 1, [1.0])])}
    cases = [Case(f"importance.dat: {name}", lambda content=content: content, "model") for name, content in dat.items()]
    cases.append(Case("importance.dat: a million entries", lambda: legacy([(b"%06d" % i, 1, [1.0]) for i in range(1000000)]), "model"))

    def add(name, spoil):
        def make():
            draft = good()
            spoil(draft)
            return draft.pack()
        cases.append(Case(f"importance.gguf: {name}", make, "model"))
    sums = next(t for t in good().tensors if t.name.endswith(".in_sum2")).name
    for key, type_, value in (("imatrix.chunk_count", STRING, b"1"), ("imatrix.chunk_size", U32, None),
                              ("imatrix.datasets", ARRAY, Array(U32, [1])), ("general.type", STRING, b"model")):
        add(f"{key} {value}", (lambda d, k=key: d.without(k)) if value is None else (lambda d, k=key, t=type_, v=value: d.set(k, t, v)))
    for value in (float("nan"), float("inf"), -1.0):
        add(f"a sum of {value}", lambda d, v=value: setattr(d.tensor(sums), "data", struct.pack("<f", v) + d.tensor(sums).data[4:]))
    add("sums of another type", lambda d: setattr(d.tensor(sums), "type", 26))
    add("no counts", lambda d: d.tensors.remove(d.tensor(sums.replace(".in_sum2", ".counts"))))
    add("no sums", lambda d: d.tensors.clear())
    return cases
