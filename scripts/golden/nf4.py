"""Writes tests/golden/quant/nf4.safetensors: matrices and what bitsandbytes makes of them on the CPU. The scales of scales
come from its exact path (that of float64 tensors): the one for float32 takes a place near the nearest."""
import pathlib

import bitsandbytes.functional as F
import torch
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).parents[2] / "tests" / "golden" / "quant"
OUT.mkdir(parents=True, exist_ok=True)
torch.set_num_threads(1)
torch.manual_seed(20)


def formula(rows, columns):
    k = torch.arange(rows * columns)
    return (((37 * k) % 101 - 50) / 64 * (1 + (k // 64) % 7)).reshape(rows, columns)


spread = 10 ** torch.empty(12, 64).uniform_(-44, -36)
CASES = {  # name -> values, block
    "random": (torch.randn(33, 50) * 0.02, 64),
    "random_bf16": ((torch.randn(40, 64) * 0.02).bfloat16(), 64),
    "random_f16": ((torch.randn(17, 70) * 0.02).half(), 64),
    "formula": (torch.tensor([((37 * k) % 101 - 50) / 64 for k in range(128)]).reshape(2, 64), 64),
    "more_scales_than_256": (formula(60, 320).bfloat16(), 64),
    "blocks_of_256": (torch.randn(20, 77), 256),
    "constant": (torch.full((8, 64), 0.02), 64),
    "constant_and_a_rest": (torch.full((3, 50), -0.37), 64),
    "zero": (torch.zeros(5, 64), 64),
    "zero_and_a_rest": (torch.zeros(3, 33), 64),
    "zero_blocks": (torch.cat([torch.zeros(2, 64), torch.randn(3, 64), torch.zeros(1, 64)]), 64),
    "tiny": (spread * torch.randn(12, 64).sign(), 64),
    "tiny_rest": (torch.full((1, 65), 1e-40), 64),
    "huge": (torch.randn(4, 64).clamp(-3, 3) * 1e38, 64),
    "constant_of_infinite_mean": (torch.full((8, 64), 3e38), 64),
    "outlier": (torch.cat([torch.randn(4, 63) * 1e-3, torch.full((4, 1), 50.0)], 1), 64),
    "one": (torch.tensor([[-0.25]]), 64),
    "odd": (torch.randn(7, 9), 64),
    "a_block_of_one": (torch.randn(13, 5), 64),
}

tensors = {"map": F.create_dynamic_map()}
for name, (values, block) in CASES.items():
    codes, state = F.quantize_4bit(values, blocksize=block, quant_type="nf4", compress_statistics=False)
    _, nested = F.quantize_4bit(values, blocksize=block, quant_type="nf4", compress_statistics=True)
    offset = state.absmax.mean()
    assert torch.equal(offset, nested.offset)
    places, scales = torch.ops.bitsandbytes.quantize_blockwise((state.absmax - offset).double(), nested.state2.code, 256)
    assert torch.equal(scales, nested.state2.absmax)
    nested.absmax = places
    tensors |= {f"{name}.values": values, f"{name}.block": torch.tensor([block]), f"{name}.codes": codes,
                f"{name}.absmax": state.absmax, f"{name}.places": places, f"{name}.nested_absmax": scales,
                f"{name}.offset": offset.reshape(1),
                f"{name}.state": nested.as_dict(packed=True)["quant_state.bitsandbytes__nf4"], f"{name}.decoded": F.dequantize_4bit(codes, state),
                f"{name}.nested_decoded": F.dequantize_4bit(codes, nested)}
save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, OUT / "nf4.safetensors")
