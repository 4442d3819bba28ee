"""The benchmarks of one GPU: run.py OUT --program build/prentice [--tests build] [--python PYTHON] [--budget SECONDS] [--dry].
Writes OUT/results.json, OUT/table.md, OUT/machine.json and a log of each step. --dry: the same steps with a tiny model
on the CPU, to try this program where there is no GPU. Exit 1 where a step failed; left out for want of time is no failure."""

import argparse
import json
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

from steps import PEERS, RUNS, table
from watch import Watch, device_query

ROOT = Path(__file__).resolve().parent.parent.parent
STEPS = 12


class Check:
    def __init__(self, options, facts):
        self.options, self.facts, self.results, self.begin = options, facts, [], time.monotonic()
        self.scratch = Path(tempfile.mkdtemp())
        self.context = 0  # bytes that the driver reports of a run with next to nothing on the device

    def left(self):
        return self.options.budget - (time.monotonic() - self.begin)

    def execute(self, name, command, limit, env=None):
        """(exit status or None, output, seconds, peak bytes) within the limit and what is left of the budget."""
        begin = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
        with Watch(process.pid, self.options.dry) as watch:
            try:
                output, _ = process.communicate(timeout=max(1, min(limit, self.left())))
                status = process.returncode
            except subprocess.TimeoutExpired:
                process.kill()
                output, status = process.communicate()[0], None
        (self.options.out / f"{name}.log").write_text(output)
        return status, output, time.monotonic() - begin, watch.peak

    def step(self, name, limit, body):
        """body() gives the figures of the step, or a word on why there are none."""
        if self.left() < min(limit, 10):
            found = {"left_out": "the time was spent"}
        else:
            found = body()
        found = {"name": name, **({"failed": found} if isinstance(found, str) else found)}
        self.results.append(found)
        print(json.dumps(found), flush=True)
        self.write()

    def write(self):
        (self.options.out / "results.json").write_text(json.dumps(self.results, indent=1) + "\n")
        (self.options.out / "table.md").write_text(table(self.results, self.facts))

    def tests(self):
        command = ["ctest", "--test-dir", str(self.options.tests), "-L", "gpu", "--no-tests=error", "--output-on-failure"]
        status, output, seconds, _ = self.execute("tests", command, 120)
        if status != 0:
            return "a test failed: tests.log"
        skipped = len(re.findall(r"\*\*\*Skipped", output))
        if skipped and not self.options.dry:
            return f"{skipped} GPU tests did not run: tests.log"
        return {"tests": int(re.search(r"out of (\d+)", output)[1]), "skipped": skipped, "seconds": seconds}

    def speed(self):
        env = {"PATH": "/usr/bin:/bin", **({"PRENTICE_SPEED_DEVICE": "cpu"} if self.options.dry else {})}
        command = [str(self.options.tests / "test_kernels"), "--gtest_filter=GpuSpeed*"]
        status, output, seconds, _ = self.execute("speed", command, 90, env)
        if status != 0:
            return "no figures: speed.log"
        lines = [json.loads(line) for line in output.splitlines() if line.startswith('{"speed"')]
        return {"speeds": lines, "seconds": seconds} if lines else "no figures: speed.log"

    def sanitizer(self):
        command = ["compute-sanitizer", "--error-exitcode", "9", str(self.options.tests / "test_kernels"),
                   "--gtest_filter=GpuKernels*"]
        status, output, seconds, _ = self.execute("sanitizer", command, 90)
        if status is None:
            return {"left_out": "it took longer than its limit"}
        found = re.search(r"ERROR SUMMARY: (\d+)", output)
        return {"sanitizer_errors": int(found[1]), "seconds": seconds} if status == 0 and found else "errors: sanitizer.log"

    def words(self, run):
        dry = self.options.dry
        length, micro = (64, 128) if dry else (run.length, run.micro_tokens)
        return ["sft", f"model.path={'quickstart-300k' if dry else run.shape}", "model.init=random",
                "model.tokenizer=data/quickstart/tokenizer", "data.train=data/office.txt", "data.format=text",
                f"data.max_length={length}", "data.eval_split=0", f"train.batch_tokens={micro}", f"train.micro_tokens={micro}",
                f"train.steps={run.steps or STEPS}", "run.log_every=2", f"run.device={'cpu' if dry else 'cuda'}",
                f"run.precision={'f32' if dry else 'bf16'}", "export.verify=false", f"run.out={self.scratch / run.name}", "--fresh",
                "--quiet", *(() if dry else run.words), *(run.dry_words if dry else ())]

    def train(self, run):
        status, output, seconds, peak = self.execute(run.name, [str(self.options.program), *self.words(run)], run.limit)
        if status != 0:
            return f"{'ran out of time' if status is None else output.strip().splitlines()[-1:]}: {run.name}.log"
        folder = self.scratch / run.name
        logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        logged = [line for line in logged if "tokens_per_second" in line]
        counted = logged[2:] or logged  # the first ones warm up, and a graph is recorded in them
        rates = [line["tokens_per_second"] for line in counted]
        found = {"shape": run.shape, "tokens_per_second": statistics.median(rates), "lowest": min(rates), "highest": max(rates),
                 "counted": len(rates), "seconds": seconds, "driver_bytes": max(0, peak - self.context)}
        if "mfu" in counted[-1]:
            found["share_of_data_sheet"] = statistics.median(line["mfu"] for line in counted)
        if "memory" in counted[-1]:
            found["allocator_bytes"] = counted[-1]["memory"]
        told = re.search(r"peak memory</td><td>([\d.]+) (\w)B</td><td>([\d.]+) (\w)B", (folder / "report.html").read_text())
        if told:
            unit = {"k": 1e3, "M": 1e6, "G": 1e9}
            found["plan_bytes"], found["peak_bytes"] = float(told[1]) * unit[told[2]], float(told[3]) * unit[told[4]]
        shutil.rmtree(folder)
        return found

    def measure_context(self):
        run = next(run for run in RUNS if run.name == "context")
        found = self.train(run)
        if isinstance(found, dict):
            found["context_bytes"] = found.pop("driver_bytes")
            self.context = 0 if self.options.dry else found["context_bytes"]
        return found

    def peer(self, peer):
        dry = self.options.dry
        shape, length, micro = ("quickstart-300k", 64, 128) if dry else (peer.shape, peer.length, peer.micro_tokens)
        report = self.scratch / "peer.json"
        command = [self.options.python, str(ROOT / "experiments/gpu/peer.py"), shape, str(length), str(micro), str(STEPS),
                   "nf4" if peer.nf4 and not dry else "plain", "cpu" if dry else "cuda", str(report)]
        status, output, seconds, peak = self.execute(peer.name, command, peer.limit)
        if status == 3:
            return {"left_out": "python has no TRL, PEFT or bitsandbytes"}
        if status != 0:
            return f"{'ran out of time' if status is None else output.strip().splitlines()[-1:]}: {peer.name}.log"
        times = json.loads(report.read_text())["step_seconds"][2:]
        rates = [micro / step for step in times]
        return {"shape": shape, "tokens_per_second": statistics.median(rates), "lowest": min(rates), "highest": max(rates),
                "counted": len(rates), "seconds": seconds, "driver_bytes": max(0, peak - self.context)}


def machine(options):
    doctor = subprocess.run([str(options.program), "doctor"], capture_output=True, text=True).stdout
    facts = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "host": platform.processor() or platform.machine(),
             "gpu": device_query("name,driver_version,memory.total,clocks.max.sm,power.limit"), "doctor": doctor.splitlines(),
             "version": subprocess.run([str(options.program), "--version"], capture_output=True, text=True).stdout.strip(),
             "dry": options.dry}
    (options.out / "machine.json").write_text(json.dumps(facts, indent=1) + "\n")
    return facts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--tests", type=Path, help="the build folder with the test programs")
    parser.add_argument("--python", default=sys.executable, help="of the peers")
    parser.add_argument("--budget", type=float, default=460, help="seconds of all steps together")
    parser.add_argument("--only", nargs="*", help="names of steps")
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    facts = machine(options)
    if not facts["gpu"] and not options.dry:
        sys.exit("error: no NVIDIA GPU answers (nvidia-smi); --dry tries the steps on the CPU")
    check = Check(options, facts)
    steps = []
    if options.tests:
        steps += [("speed", 90, check.speed), ("tests", 120, check.tests)]
    steps.append(("context", 40, check.measure_context))
    steps += [(run.name, run.limit, lambda run=run: check.train(run)) for run in RUNS if run.name != "context"]
    steps[-2:-2] = [(peer.name, peer.limit, lambda peer=peer: check.peer(peer)) for peer in PEERS]
    if options.tests and shutil.which("compute-sanitizer"):
        steps.append(("sanitizer", 90, check.sanitizer))
    try:
        for name, limit, body in steps:
            if not options.only or name in options.only:
                check.step(name, limit, body)
    finally:
        shutil.rmtree(check.scratch, ignore_errors=True)
    print((options.out / "table.md").read_text())
    sys.exit(any("failed" in found for found in check.results))


if __name__ == "__main__":
    main()
