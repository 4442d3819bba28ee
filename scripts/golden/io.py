"""Writes tests/golden/io: small files made by the reference Python packages safetensors and gguf."""
import pathlib

import gguf
import numpy as np
import torch
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).parents[2] / "tests" / "golden" / "io"
OUT.mkdir(parents=True, exist_ok=True)

ramp = torch.arange(6, dtype=torch.float32).reshape(2, 3) / 4 - 0.5
save_file(
    {
        "f32": ramp,
        "bf16": ramp.to(torch.bfloat16),
        "f16": ramp.to(torch.float16),
        "i64": torch.tensor([-1, 2**40]),
        "bool": torch.tensor([True, False, True]),
        "empty": torch.zeros(0, 4),
        "scalar": torch.tensor(7, dtype=torch.uint8),
    },
    OUT / "mixed.safetensors",
    metadata={"format": "pt", "note": "größe \"x\""},
)

writer = gguf.GGUFWriter(OUT / "mixed.gguf", "llama")
writer.add_uint32("test.u32", 7)
writer.add_int32("test.i32", -7)
writer.add_uint64("test.u64", 2**40)
writer.add_float32("test.f32", 0.1)
writer.add_float64("test.f64", 0.1)
writer.add_bool("test.bool", True)
writer.add_string("test.string", "größe")
writer.add_array("test.strings", ["a", "", "über"])
writer.add_array("test.integers", [1, -2, 3])
writer.add_array("test.floats", [0.5, -1.5])
writer.add_tensor("f32", ramp.numpy())
writer.add_tensor("f16", ramp.numpy().astype(np.float16))
blocks = (np.arange(64, dtype=np.float32).reshape(2, 32) - 31.5) / 8
writer.add_tensor("q8", gguf.quants.quantize(blocks, gguf.GGMLQuantizationType.Q8_0),
                  raw_dtype=gguf.GGMLQuantizationType.Q8_0)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
