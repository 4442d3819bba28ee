#!/usr/bin/env python3
"""Hashes of the blocks that ggml makes of the samples in tests/quant/sample_tensors.h: tests/golden/quant/blocks.json.

Run: PRENTICE_NODE_MODULES=... PYTHON scripts/golden/blocks.py   (the npm packages that tests/oracle pins)

The samples are made here a second time, from the same integers; {type: [sha256 of all bytes, the same with importance]}.
"""
import ctypes
import hashlib
import json
import os
import pathlib

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
TYPES = {"Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14}
BYTES = {"Q4_0": 18, "Q4_1": 20, "Q5_0": 22, "Q5_1": 24, "Q8_0": 34, "Q2_K": 84, "Q3_K": 110, "Q4_K": 144, "Q5_K": 176, "Q6_K": 210}
SHAPES = [(1, 256), (17, 256), (3, 768), (5, 416)]


class Numbers:
    def __init__(self, seed):
        self.state = seed
        self.next()

    def next(self):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return self.state >> 33 & 0xFFFFFFFF

    def normal(self):
        return (sum(self.next() >> 15 for _ in range(12)) - 6 * 65535) * 2.0**-20


RULES = [
    lambda n, i: n.normal(),
    lambda n, i: n.normal() ** 3 * 64,
    lambda n, i: 0.3,
    lambda n, i: -0.7,
    lambda n, i: 0.0,
    lambda n, i: 0.0 if n.next() % 2 else -0.0,
    lambda n, i: -0.0,
    lambda n, i: n.normal() + (50 if i % 509 == 100 else 0),
    lambda n, i: n.normal() - (50 if i % 509 == 7 else 0),
    lambda n, i: -0.25 if i % 256 == 77 else 0.0,
    lambda n, i: n.normal() * 2.0**-130,
    lambda n, i: n.normal() * 2.0**-60,
    lambda n, i: n.normal() * 2.0**-20,
    lambda n, i: n.normal() * 2.0**16,
    lambda n, i: abs(n.normal()),
    lambda n, i: -1 - abs(n.normal()),
    lambda n, i: -1 - (n.next() % 4) * 2.0**-23,
    lambda n, i: (i % 997 - 498) * 2.0**-10,
    lambda n, i: 0.125 if n.next() % 2 else -0.5,
    lambda n, i: 0.0 if n.next() % 16 else n.normal(),
    lambda n, i: n.normal() * 2.0 ** -(i // 16 * 7 % 23),
]


def samples():
    seed = 1
    for rule in RULES:
        for rows, columns in SHAPES:
            numbers = Numbers(seed)
            seed += 1
            values = np.array([rule(numbers, i) for i in range(rows * columns)], np.float32)
            importance = []
            for i in range(columns):
                x = numbers.normal()
                importance.append(0.0 if i % 37 == 5 else x * x * (1024 if i % 61 == 0 else 1))
            yield rows, columns, values, np.array(importance, np.float32)


def main():
    modules = pathlib.Path(os.environ.get("PRENTICE_NODE_MODULES", ROOT / "node_modules"))
    ggml = ctypes.CDLL(modules / "@node-llama-cpp/linux-x64/bins/linux-x64/libggml-base.so")
    encode = ggml.ggml_quantize_chunk
    encode.restype = ctypes.c_size_t
    encode.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    hashes = {name: [hashlib.sha256(), hashlib.sha256()] for name in TYPES}
    for rows, columns, values, importance in samples():
        for name, number in TYPES.items():
            elements = 256 if name.endswith("K") else 32
            if columns % elements:
                continue
            for weighted in (False, True):
                out = np.zeros(values.size // elements * BYTES[name], np.uint8)
                weights = importance.ctypes.data if weighted else None
                encode(number, values.ctypes.data, out.ctypes.data, 0, rows, columns, weights)
                hashes[name][weighted].update(out.tobytes())
    path = ROOT / "tests/golden/quant/blocks.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({name: [h.hexdigest() for h in both] for name, both in hashes.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
