"""What run.py measures, the goals, and the table of what was found."""

from dataclasses import dataclass

GIB = 1 << 30
NF4 = ("model.quantize=nf4",)


@dataclass
class Run:
    name: str
    shape: str
    length: int
    micro_tokens: int
    limit: float  # seconds
    words: tuple = ()
    dry_words: tuple = ()
    steps: int = 0


@dataclass
class Peer:
    name: str
    shape: str
    length: int
    micro_tokens: int
    limit: float
    nf4: bool = False


# The first ones matter most: what comes when the time is spent is left out.
RUNS = [
    Run("context", "quickstart-300k", 64, 128, 40, steps=4),
    Run("lora-8b", "llama-3.1-8b", 4096, 8192, 75),
    Run("qlora-8b", "llama-3.1-8b", 4096, 8192, 90, NF4, NF4),
    Run("lora-0.6b", "qwen3-0.6b", 2048, 16384, 40),
    Run("lora-0.6b-no-graph", "qwen3-0.6b", 2048, 16384, 40, ("train.graph=false",)),
    Run("memory-qlora-8b", "llama-3.1-8b", 2048, 2048, 75, (*NF4, "train.recompute=block"), (*NF4, "train.recompute=block"), 6),
    Run("memory-qlora-14b", "phi-4", 2048, 2048, 100, (*NF4, "train.recompute=block"), steps=6),
    Run("lora-8b-not-deterministic", "llama-3.1-8b", 4096, 8192, 75, ("run.deterministic=false",)),
    Run("context-qlora-8b", "llama-3.1-8b", 79872, 79872, 120, (*NF4, "train.recompute=block"), steps=2),
]
PEERS = [
    Peer("peer-lora-0.6b", "qwen3-0.6b", 2048, 16384, 60),
    Peer("peer-lora-8b", "llama-3.1-8b", 4096, 8192, 90),
    Peer("peer-qlora-8b", "llama-3.1-8b", 4096, 8192, 120, nf4=True),
]

# (what, unit, goal, figure of the results by name; None where one is missing, True when a larger one is better)
GOALS = [
    ("8B LoRA, rows of 4,096", "tokens/s", 15000, lambda r: r["lora-8b"]["tokens_per_second"], True),
    ("8B, NF4 base", "tokens/s", 10000, lambda r: r["qlora-8b"]["tokens_per_second"], True),
    ("8B, NF4 base beside bf16", "ratio", 0.93,
     lambda r: r["qlora-8b"]["tokens_per_second"] / r["lora-8b"]["tokens_per_second"], True),
    ("0.6B LoRA, rows of 2,048", "tokens/s", 54000, lambda r: r["lora-0.6b"]["tokens_per_second"], True),
    ("0.6B beside TRL + PEFT", "ratio", 1,
     lambda r: r["lora-0.6b"]["tokens_per_second"] / r["peer-lora-0.6b"]["tokens_per_second"], True),
    ("8B LoRA beside TRL + PEFT", "ratio", 1,
     lambda r: r["lora-8b"]["tokens_per_second"] / r["peer-lora-8b"]["tokens_per_second"], True),
    ("8B, NF4 base beside TRL + PEFT + bitsandbytes", "ratio", 1,
     lambda r: r["qlora-8b"]["tokens_per_second"] / r["peer-qlora-8b"]["tokens_per_second"], True),
    ("8B QLoRA at 2,048, driver", "GiB", 6, lambda r: r["memory-qlora-8b"]["driver_bytes"] / GIB, False),
    ("14B QLoRA at 2,048, driver", "GiB", 8.5, lambda r: r["memory-qlora-14b"]["driver_bytes"] / GIB, False),
    ("8B QLoRA, one row of 79,872, driver", "GiB", 24, lambda r: r["context-qlora-8b"]["driver_bytes"] / GIB, False),
    ("plan against peak, worst of the runs", "%", 3,
     lambda r: max(100 * abs(run["plan_bytes"] / run["peak_bytes"] - 1) for run in r.values() if "plan_bytes" in run), False),
    ("slowest kernel beside a copy", "share", 0.8,
     lambda r: min(line["share"] for line in r["speed"]["speeds"] if "share" in line), True),
]


def goal_rows(by_name):
    for what, unit, goal, figure, more in GOALS:
        try:
            found = figure(by_name)
        except (KeyError, ValueError, ZeroDivisionError):  # a step without figures
            yield f"| {what} | {'≥' if more else '≤'} {goal} {unit} | – | no figure |"
            continue
        met = found >= goal if more else found <= goal
        yield f"| {what} | {'≥' if more else '≤'} {goal} {unit} | {found:.4g} | {'met' if met else '**missed**'} |"


def share_of_product(by_name, run):
    """The part of the measured product peak that a run's share of the data sheet's comes to; the plan knows the latter."""
    for line in by_name.get("speed", {}).get("speeds", []):
        if "flops" in line and "share_of_data_sheet" in run:
            return f"{100 * run['share_of_data_sheet'] * 989e12 / line['flops']:.1f} %"
    return ""


def table(results, facts):
    by_name = {found["name"]: found for found in results}
    where = "a tiny model on the CPU: these figures say nothing" if facts["dry"] else ", ".join(facts["gpu"])
    lines = [f"{facts['date']}, {where}, {facts['version']}", "", "| goal | wanted | found | |", "|---|---|---|---|", *goal_rows(by_name), ""]
    lines += ["| run | tokens/s (range) | of the data sheet's peak | of the product's (H100, H200) | driver | allocator | plan / peak |",
              "|---|---|---|---|---|---|---|"]
    size = lambda run, key: f"{run[key] / GIB:.2f} GiB" if key in run else ""  # noqa: E731
    for run in results:
        if "tokens_per_second" not in run:
            continue
        rate = f"{run['tokens_per_second']:.0f} ({run['lowest']:.0f} to {run['highest']:.0f})"
        sheet = f"{100 * run['share_of_data_sheet']:.1f} %" if "share_of_data_sheet" in run else ""
        plan = f"{run['plan_bytes'] / run['peak_bytes']:.3f}" if "plan_bytes" in run else ""
        lines.append(f"| {run['name']} | {rate} | {sheet} | {share_of_product(by_name, run)} | {size(run, 'driver_bytes')} | "
                     f"{size(run, 'allocator_bytes')} | {plan} |")
    lines += ["", "| kernel | rate | beside a copy |", "|---|---|---|"]
    for line in by_name.get("speed", {}).get("speeds", []):
        rate = f"{line['flops'] / 1e12:.4g} TFLOP/s" if "flops" in line else f"{line['bytes_per_second'] / 1e9:.4g} GB/s"
        lines.append(f"| {line['speed']} | {rate} | {line.get('share', '')} |")
    lines.append("")
    lines += [f"- failed: {found['name']}: {found['failed']}" for found in results if "failed" in found]
    lines += [f"- left out: {found['name']}: {found['left_out']}" for found in results if "left_out" in found]
    return "\n".join(lines) + "\n"
