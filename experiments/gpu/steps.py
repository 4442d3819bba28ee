"""What run.py measures, in the order in which it matters: what comes when the time is spent is left out."""

from dataclasses import dataclass

NF4 = ("model.quantize=nf4",)
# Of all switches the smallest plan (README.md); the rank and what trains stay.
SMALLEST = (*NF4, "train.recompute=block", "train.offload=true", "optim.name=adamw8bit")


@dataclass
class Run:
    name: str
    shape: str
    length: int
    micro_tokens: int
    limit: float  # seconds
    words: tuple = ()
    steps: int = 12
    twin: bool = False  # of another run, with the same plan: counts no second time


@dataclass
class Peer:
    name: str
    shape: str
    length: int
    micro_tokens: int
    limit: float
    nf4: bool = False


CONTEXT = Run("context", "quickstart-300k", 64, 128, 30, steps=4)
RUNS = [
    Run("lora-8b", "llama-3.1-8b", 4096, 8192, 75),
    Run("qlora-8b", "llama-3.1-8b", 4096, 8192, 90, NF4),
    Run("lora-0.6b", "qwen3-0.6b", 2048, 16384, 40),
    Run("memory-qlora-8b", "llama-3.1-8b", 2048, 2048, 75, SMALLEST, steps=3),
    Run("memory-qlora-14b", "phi-4", 2048, 2048, 100, SMALLEST, steps=3),
    Run("context-qlora-8b", "llama-3.1-8b", 79872, 79872, 120, SMALLEST, steps=1),
]
# Short runs of small shapes, for the plan against what was taken: with those above, 14 recipes.
PLANS = [
    Run("plan-lora-135m", "smollm2-135m", 2048, 16384, 20, steps=2),
    Run("plan-lora-1b", "llama-3.2-1b", 4096, 8192, 30, steps=2),
    Run("plan-full-0.6b", "qwen3-0.6b", 2048, 4096, 30, ("adapter.kind=full",), steps=2),
    Run("plan-full-8bit-0.5b", "qwen2.5-0.5b", 2048, 4096, 30,
        ("adapter.kind=full", "optim.name=adamw8bit", "train.recompute=block"), steps=2),
    Run("plan-dora-0.6b", "qwen3-0.6b", 2048, 4096, 30, ("adapter.kind=dora", "train.recompute=block"), steps=2),
    Run("plan-lora-windows-1b", "gemma-3-1b", 2048, 4096, 30, ("train.recompute=selective",), steps=2),
    Run("plan-qlora-1b", "llama-3.2-1b", 2048, 4096, 30, (*NF4, "train.recompute=selective"), steps=2),
    Run("plan-offload-360m", "smollm2-360m", 2048, 16384, 30, ("train.recompute=block", "train.offload=true"), steps=2),
]
PEERS = [
    Peer("peer-lora-0.6b", "qwen3-0.6b", 2048, 16384, 60),
    Peer("peer-lora-8b", "llama-3.1-8b", 4096, 8192, 90),
    Peer("peer-qlora-8b", "llama-3.1-8b", 4096, 8192, 120, nf4=True),
]
TWINS = [
    Run("lora-8b-not-deterministic", "llama-3.1-8b", 4096, 8192, 75, ("run.deterministic=false",), twin=True),
    Run("lora-0.6b-no-graph", "qwen3-0.6b", 2048, 16384, 40, ("train.graph=false",), twin=True),
]
