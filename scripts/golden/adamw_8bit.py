"""Writes tests/golden/train/adamw_8bit.json: twenty steps of bitsandbytes' AdamW8bit on the CPU, hashes of its states and
weights after each.

Three things are asked of it differently: its quantization takes the exact path (that of float64 tensors; the one for
float32 takes a place near the nearest), torch computes without fused multiply-adds (ATEN_CPU_CAPABILITY=default), and
its square root is rounded to the nearest (torch's own is an ulp off in places), so that every operation has one result. The maps are those of processors with fused multiply-adds, which every user has.
"""
import hashlib
import json
import os
import pathlib
import subprocess
import sys

MAPS = "import bitsandbytes.functional as F; print([F.create_dynamic_map(signed=s).tolist() for s in (True, False)])"
SIGNED, UNSIGNED = json.loads(subprocess.run([sys.executable, "-c", MAPS], capture_output=True, text=True, check=True).stdout)
os.environ["ATEN_CPU_CAPABILITY"] = "default"

import bitsandbytes
import torch
from bitsandbytes.backends.cpu import ops

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/train/adamw_8bit.json"
SHAPES = {"layer.lora_A.weight": (16, 300), "layer.lora_B.weight": (257, 16), "layer.bias": (5000,),
          "layer.norm.weight": (7,), "small.lora_A.weight": (15, 273)}
STEPS = 20


def quantize_exactly(values, code, absmax, out, blocksize):
    places, scales = torch.ops.bitsandbytes.quantize_blockwise(values.double(), code, blocksize)
    out.copy_(places)
    absmax.copy_(scales)


def numbers(count, step):
    """Between -1 and 1 with magnitudes from 2^-11 on, every twelfth block of 256 zero but at step 0; exact in f32."""
    k = torch.arange(count)
    mixed = ((k + 1) * 2654435761 + (step + 1) * 2246822519) % 2**32
    mixed = ((mixed ^ (mixed >> 15)) * 2246822519) % 2**32
    mixed = mixed ^ (mixed >> 13)
    values = ((mixed >> 8) - 2**23).float() / 2**23
    exponent = mixed % 12
    values = values * torch.pow(2.0, -exponent.float())
    return values if step == 0 else torch.where(k // 256 % 12 == 5, 0.0, values)


def sha256(*tensors):
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()


def run(lr, decay, ratio, betas, eps):
    params = {name: numbers(torch.Size(shape).numel(), 0).reshape(shape).requires_grad_(True) for name, shape in SHAPES.items()}
    groups = [
        {"params": [tensor], "lr": lr * (ratio if "lora_B" in name or tensor.dim() == 1 else 1), "weight_decay": decay if tensor.dim() >= 2 else 0.0}
        for name, tensor in params.items()
    ]
    optimizer = bitsandbytes.optim.AdamW8bit(groups, lr=lr, betas=betas, eps=eps)
    rates = [group["lr"] for group in optimizer.param_groups]
    steps = []
    for step in range(STEPS):
        for name, tensor in params.items():
            tensor.grad = (numbers(tensor.numel(), step + 1) * 0.25).reshape(tensor.shape)
        for group, rate in zip(optimizer.param_groups, rates):
            group["lr"] = rate * (0.5 + step / STEPS)
        optimizer.step()
        hashes = {}
        for name, tensor in params.items():
            state = optimizer.state[tensor]
            if state["state1"].dtype == torch.uint8:
                hashes[name] = [sha256(state[key]) for key in ("state1", "absmax1", "state2", "absmax2")] + [sha256(tensor.detach())]
        steps.append(hashes)
    whole = {name: tensor.detach().flatten()[::7].tolist() for name, tensor in params.items() if name not in steps[0]}
    return {"lr": lr, "weight_decay": decay, "lr_ratio": ratio, "betas": betas, "eps": eps, "steps": steps, "every_seventh_of_f32": whole}


if __name__ == "__main__":
    torch.set_num_threads(1)
    assert torch.backends.cpu.get_cpu_capability() == "DEFAULT"
    ops._quant_blockwise_fp32_direct = quantize_exactly
    bitsandbytes.functional.create_dynamic_map = lambda signed: torch.tensor(SIGNED if signed else UNSIGNED)
    root = torch.Tensor.sqrt
    torch.Tensor.sqrt = lambda values: root(values.double()).float()
    cases = [run(1e-2, 0.0, 1.0, (0.9, 0.999), 1e-8), run(3e-3, 0.1, 16.0, (0.9, 0.95), 1e-6)]
    OUT.write_text(json.dumps({"shapes": {name: list(shape) for name, shape in SHAPES.items()}, "cases": cases}) + "\n")
