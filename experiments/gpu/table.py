"""The goals, and the table of what was found."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
GIB = 1 << 30
# What a plan counts for the device's context: no tensor's, and no part of the goals.
CONTEXT_BYTES = int(re.search(r"kGpuContextBytes = int64_t\{(\d+)\} << 20", (ROOT / "src/artifact/machine.h").read_text())[1]) << 20
RECIPES = 12  # at least so many, for the plan


def rate(name):
    return lambda r: r[name]["tokens_per_second"]


def ratio(name, other):
    return lambda r: r[name]["tokens_per_second"] / r[other]["tokens_per_second"]


def device_gib(name):
    return lambda r: r[name]["driver_bytes"] / GIB


def planned_gib(name):
    return lambda r: (r[name]["plan_bytes"] - CONTEXT_BYTES) / GIB


def plan_errors(by_name, key):
    """By name of a recipe, in percent; `driver`: the whole device's peak, `allocator`: its tensors' alone."""
    found = {}
    for name, run in by_name.items():
        if "plan_bytes" in run and not run.get("twin"):
            planned, taken = run["plan_bytes"], run.get("device_bytes")
            if key == "allocator":
                planned, taken = planned - CONTEXT_BYTES, run.get("allocator_bytes")
            if taken:
                found[name] = 100 * (planned / taken - 1)
    return found


def worst(key):
    return lambda r: max(abs(error) for error in plan_errors(r, key).values())


# (what, unit, goal, figure of the results by name, what the plan says of it; True when a larger one is better)
GOALS = [
    ("8B LoRA, rows of 4,096", "tokens/s", 15000, rate("lora-8b"), None, True),
    ("8B, NF4 base", "tokens/s", 10000, rate("qlora-8b"), None, True),
    ("8B, NF4 base beside bf16", "ratio", 0.93, ratio("qlora-8b", "lora-8b"), None, True),
    ("0.6B LoRA, rows of 2,048", "tokens/s", 54000, rate("lora-0.6b"), None, True),
    ("0.6B beside TRL + PEFT", "ratio", 1, ratio("lora-0.6b", "peer-lora-0.6b"), None, True),
    ("8B LoRA beside TRL + PEFT", "ratio", 1, ratio("lora-8b", "peer-lora-8b"), None, True),
    ("8B, NF4 base beside TRL + PEFT + bitsandbytes", "ratio", 1, ratio("qlora-8b", "peer-qlora-8b"), None, True),
    ("8B QLoRA at 2,048, driver less context", "GiB", 6, device_gib("memory-qlora-8b"), planned_gib("memory-qlora-8b"), False),
    ("14B QLoRA at 2,048, driver less context", "GiB", 8.5, device_gib("memory-qlora-14b"), planned_gib("memory-qlora-14b"), False),
    ("8B QLoRA, one row of 79,872, driver less context", "GiB", 24, device_gib("context-qlora-8b"), planned_gib("context-qlora-8b"), False),
    ("plan against the driver's peak, worst", "%", 3, worst("driver"), None, False),
    ("plan against the allocator's peak, both without context, worst", "%", 3, worst("allocator"), None, False),
    ("slowest kernel beside a copy", "share", 0.8,
     lambda r: min(line["share"] for line in r["speed"]["speeds"] if "share" in line), None, True),
]


def figure_or_dash(figure, by_name):
    try:
        return figure(by_name) if figure else None
    except (KeyError, ValueError, ZeroDivisionError):  # a step without figures
        return None


def goal_rows(by_name):
    for what, unit, goal, figure, planned, more in GOALS:
        found, plan = figure_or_dash(figure, by_name), figure_or_dash(planned, by_name)
        wanted = f"{'≥' if more else '≤'} {goal} {unit}"
        said = f"{plan:.4g}" if plan is not None else ""
        if found is None:
            yield f"| {what} | {wanted} | – | {said} | no figure |"
            continue
        verdict = "met" if (found >= goal if more else found <= goal) else "**missed**"
        if figure_or_dash(figure, by_name) is not None and what.startswith("plan"):
            count = len(plan_errors(by_name, "driver" if "driver" in what else "allocator"))
            what += f" of {count} recipes"
            verdict = verdict if count >= RECIPES else f"only {count} of {RECIPES} recipes"
        yield f"| {what} | {wanted} | {found:.4g} | {said} | {verdict} |"


def share_of_product(by_name, run):
    """The part of the measured product peak that a run's share of the data sheet's comes to; the plan knows the latter."""
    for line in by_name.get("speed", {}).get("speeds", []):
        if "flops" in line and "share_of_data_sheet" in run:
            return f"{100 * run['share_of_data_sheet'] * 989e12 / line['flops']:.1f} %"
    return ""


def size(run, key):
    return f"{run[key] / GIB:.3f}" if key in run else ""


def error(errors, run):
    return f"{errors[run['name']]:+.2f} %" if run["name"] in errors else ""


def table(results, facts):
    by_name = {found["name"]: found for found in results}
    where = "a tiny model on the CPU: these figures say nothing" if facts["dry"] else ", ".join(facts["gpu"])
    lines = [f"{facts['date']}, {where}, {facts['version']}", "", "| goal | wanted | found | the plan says | |", "|---|---|---|---|---|",
             *goal_rows(by_name), ""]
    lines += ["| run | tokens/s (range) | of the data sheet's peak | of the product's (H100, H200) | switches |", "|---|---|---|---|---|"]
    timed = [run for run in results if "tokens_per_second" in run]
    for run in timed:
        spread = f"{run['tokens_per_second']:.0f} ({run['lowest']:.0f} to {run['highest']:.0f})"
        sheet = f"{100 * run['share_of_data_sheet']:.1f} %" if "share_of_data_sheet" in run else ""
        lines.append(f"| {run['name']} | {spread} | {sheet} | {share_of_product(by_name, run)} | {' '.join(run.get('switches', []))} |")
    driver, allocator = plan_errors(by_name, "driver"), plan_errors(by_name, "allocator")
    lines += ["", "GiB; the plan's error against the driver's peak with the context, and against the allocator's, both without.", "",
              "| run | plan | driver | driver less context | allocator | plan's error | without context |", "|---|---|---|---|---|---|---|"]
    for run in timed:
        sizes = [size(run, key) for key in ("plan_bytes", "device_bytes", "driver_bytes", "allocator_bytes")]
        lines.append(f"| {run['name']} | {' | '.join(sizes)} | {error(driver, run)} | {error(allocator, run)} |")
    lines += ["", "| kernel | rate | beside a copy |", "|---|---|---|"]
    for line in by_name.get("speed", {}).get("speeds", []):
        told = f"{line['flops'] / 1e12:.4g} TFLOP/s" if "flops" in line else f"{line['bytes_per_second'] / 1e9:.4g} GB/s"
        lines.append(f"| {line['speed']} | {told} | {line.get('share', '')} |")
    lines.append("")
    lines += [f"- failed: {found['name']}: {found['failed']}" for found in results if "failed" in found]
    lines += [f"- left out: {found['name']}: {found['left_out']}" for found in results if "left_out" in found]
    lines += [f"- tests: {found['name']}: {found['tests']} passed" for found in results if "tests" in found]
    return "\n".join(lines) + "\n"
