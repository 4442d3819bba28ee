"""The corpora that fuzzing begins with: small good files of every kind a target reads.

`python tests/fuzz/seeds.py FOLDER` writes FOLDER/TARGET/NAME; needs no package."""

import json
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from gguf_draft import ARRAY, BOOL, F32, I32, STRING, U16, U32, U64, F64, Array, Draft, Entry, Info  # noqa: E402
from hostile_sizes import legacy  # noqa: E402

SLACK = bytes(4096)  # so that a part more or less does not make the file too short


def entries(prefix, **values):
    """Of the value's kind; a pair names another."""
    made = []
    for name, value in values.items():
        if isinstance(value, tuple):
            type_, value = value
        else:
            type_ = {bool: BOOL, int: U32, float: F32, bytes: STRING, Array: ARRAY}[type(value)]
        made.append(Entry(f"{prefix}.{name.replace('__', '.')}", type_, value))
    return made


def words():
    """Byte-level BPE."""
    tokens = [b"<|end|>", b"a", b"b", b"ab", "\u0120".encode(), "\u0120ab".encode(), b"<tool>", b"t"]
    return entries("tokenizer.ggml", model=b"gpt2", pre=b"gpt-2", tokens=Array(STRING, tokens),
                   token_type=Array(I32, [3, 1, 1, 1, 1, 1, 4, 1]), merges=Array(STRING, [b"a b", "\u0120 ab".encode()]),
                   eos_token_id=0, bos_token_id=0, padding_token_id=0, add_bos_token=True, add_eos_token=False)


def pieces(bytes_too):
    """SentencePiece, with and without a token for each byte."""
    of_bytes = [f"<0x{i:02X}>".encode() for i in range(256)] if bytes_too else []
    tokens = [b"<unk>", b"<s>", b"</s>", *of_bytes, "\u2581".encode(), b"a", "\u2581a".encode(), b"<tool>", b"b"]
    types = [2, 3, 3, *[6] * len(of_bytes), 1, 1, 1, 4, 1]
    return entries("tokenizer.ggml", model=b"llama", tokens=Array(STRING, tokens), token_type=Array(I32, types),
                   scores=Array(F32, [-float(i) for i in range(len(tokens))]), unknown_token_id=0, bos_token_id=1,
                   eos_token_id=2, add_space_prefix=True, add_bos_token=True)


def models():
    """One block each: Llama with q and k in rotated rows, and Gemma 2 with norms that are stored with their offset."""
    def tensor(name, columns, rows=None):
        dims = [columns] if rows is None else [columns, rows]
        return Info(name, dims, 0, struct.pack("<f", 0.5) * (columns * (rows or 1)))
    block = [tensor("blk.0.attn_norm.weight", 8), tensor("blk.0.attn_q.weight", 8, 8), tensor("blk.0.attn_k.weight", 8, 4),
             tensor("blk.0.attn_v.weight", 8, 4), tensor("blk.0.attn_output.weight", 8, 8), tensor("blk.0.ffn_norm.weight", 8),
             tensor("blk.0.ffn_gate.weight", 8, 12), tensor("blk.0.ffn_up.weight", 8, 12), tensor("blk.0.ffn_down.weight", 12, 8),
             tensor("token_embd.weight", 8, 8), tensor("output_norm.weight", 8)]
    shape = {"context_length": 64, "embedding_length": 8, "block_count": 1, "feed_forward_length": 12,
             "attention__head_count": 2, "attention__head_count_kv": 1, "attention__layer_norm_rms_epsilon": 1e-5}
    llama = entries("llama", **shape, rope__dimension_count=4, rope__freq_base=10000.0)
    yield "llama", Draft(entries("general", architecture=b"llama") + llama + words(), block + [tensor("output.weight", 8, 8)]).pack()
    gemma = entries("gemma2", **shape, attention__key_length=4, attention__value_length=4, attention__sliding_window=8,
                    attn_logit_softcapping=50.0, final_logit_softcapping=30.0)
    yield "gemma2", Draft(entries("general", architecture=b"gemma2") + gemma + words(),
                          block + [tensor("blk.0.post_attention_norm.weight", 8), tensor("blk.0.post_ffw_norm.weight", 8)]).pack()


def tensors(names):
    return [Info(name, dims, type_, bytes(size)) for name, dims, type_, size in names]


def containers():
    every = (entries("every", u8=(0, 1), i8=(1, -1), u16=(U16, 7), i16=(3, -7), u32=7, i32=(I32, -7), f32=0.5, boolean=True,
                     text="gr\u00f6\u00dfe".encode(), u64=(U64, 1 << 40), i64=(11, -5), f64=(F64, 0.1),
                     texts=Array(STRING, [b"a", b"", b"bc"]), numbers=Array(I32, [1, -2]), reals=Array(F32, [0.5]),
                     flags=Array(BOOL, [True, False]), none=Array(STRING, []), doubles=Array(F64, [1.0]))
             + [Entry("general.alignment", U32, 32)])
    yield "every", Draft(every, tensors([("a", [3, 2], 0, 24), ("q8", [32, 2], 8, 68), ("half", [4], 1, 8),
                                         ("k", [256], 12, 144)])).pack() + SLACK
    yield "empty", Draft([], []).pack()
    yield "second", Draft(every[:3], tensors([("scalar", [], 0, 4)]), version=2).pack()


def matrices():
    named = [("blk.0.ffn_down.weight", 4), ("output.weight", 2)]
    yield "gguf", Draft(entries("general", type=b"imatrix") + entries("imatrix", datasets=Array(STRING, [b"text.txt"]), chunk_count=3,
                                                                      chunk_size=64)
                        + entries("prentice.imatrix", rows=Array(STRING, [b"0123456789abcdef"])),
                        tensors([(name + ending, [size], 0, 4 * size) for name, columns in named
                                 for ending, size in ((".in_sum2", columns), (".counts", 1))])).pack() + SLACK
    one = legacy([(b"blk.0.ffn_down.weight", 2, [1.0, 2.0]), (b"output.weight", 0, [0.5])])
    yield "dat", one
    yield "dat_with_end", one + struct.pack("<ii", 3, 8) + b"text.txt"


def safetensors():
    def file(header, data):
        content = json.dumps(header).encode()
        return struct.pack("<Q", len(content)) + content + data
    yield "two", file({"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
                       "b": {"dtype": "BF16", "shape": [3], "data_offsets": [16, 22]}}, bytes(22))
    yield "none", file({}, b"")


def jsons():
    yield "every", b'{"a": [1, -2, 0.5, 1e30, 18446744073709551615, 1e300], "b": {"c": null, "d": true}, "e": "\\u00fc\\n\xc3\xbc"}'
    yield "list", b'[[], {}, "", 0, -0.0, "\\ud83d\\ude00"]'


def corpora():
    described = [("words", words()), ("pieces", pieces(False)), ("bytes", pieces(True))]
    return {"gguf": [*containers(), *[file for file in matrices() if file[0] == "gguf"]], "importance": list(matrices()),
            "vocabulary": [(name, Draft(made, []).pack()) for name, made in described],
            "model": list(models()), "safetensors": list(safetensors()), "json": list(jsons())}


def write(folder):
    for target, files in corpora().items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for name, content in files:
            (folder / target / name).write_bytes(content)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
