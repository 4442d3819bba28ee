"""The tests and benchmarks of one GPU: run.py OUT --program build/prentice [--libraries DIR:DIR] [--python PYTHON]
[--budget SECONDS] [--only STEP ...] [--dry]. Writes OUT/results.json, OUT/table.md, OUT/machine.json and a log of each step.
The test programs are those beside the program. --dry: the same steps with a tiny model on the CPU, to try this program
where there is no GPU. Exit 1 where a step failed; left out for want of time is no failure."""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

from launch import launch
from ledger import Ledger
from steps import CONTEXT, PEERS, PLANS, RUNS, TWINS
from table import table
from watch import device_query

ROOT = Path(__file__).resolve().parent.parent.parent
PEER_STEPS = 12


def gpu_test_programs():
    return sorted({f"test_{path.parent.name}" for path in ROOT.glob("tests/*/gpu_*_test.cpp")})


def environment(libraries="", **more):
    """What the caller set stays; devices are numbered as nvidia-smi numbers them, and threads that wait give their core away."""
    paths = [path for path in (libraries, os.environ.get("LD_LIBRARY_PATH", "")) if path]
    return {"OMP_WAIT_POLICY": "passive", "CUDA_DEVICE_ORDER": "PCI_BUS_ID", **os.environ,
            **({"LD_LIBRARY_PATH": ":".join(paths)} if paths else {}), **more}


class Check:
    def __init__(self, options, ledger):
        self.options, self.ledger, self.dry = options, ledger, options.dry
        self.scratch = Path(tempfile.mkdtemp())
        (self.scratch / "sft.yaml").write_text("recipe: sft\n")
        self.context = 0  # bytes that the driver reports of a run with next to nothing on the device

    def execute(self, name, command, limit, env=None):
        """(output, seconds, peak bytes), or what to write down instead."""
        left = self.ledger.left()
        status, output, seconds, peak = launch(command, min(limit, left), self.options.out / f"{name}.log", ROOT,
                                               env or environment(self.options.libraries), self.dry)
        if status is None:
            spent = {"left_out": f"the time was spent {seconds:.0f} s into it"}
            return f"longer than its {limit:.0f} s: {name}.log" if limit < left else spent
        if status == 3 and name.startswith("peer"):
            return {"left_out": f"a package is missing: {(output.strip().splitlines() or [''])[-1]}"}
        if status != 0:
            return f"{(output.strip().splitlines() or [f'exit {status}'])[-1]}: {name}.log"
        return output, seconds, peak

    def beside(self, name):
        path = self.options.program.parent / name
        return path if path.is_file() else None

    def tests(self, name):
        if not self.beside(name):
            return {"left_out": f"{name} is not beside the program"}
        # The kernels' figures are a step of their own.
        ran = self.execute(name, [self.beside(name), "--gtest_filter=Gpu*-GpuSpeed*", "--gtest_color=no"], 90)
        if not isinstance(ran, tuple):
            return ran
        counts = {word: re.search(rf"\[  {word} +\] (\d+) test", ran[0]) for word in ("PASSED", "SKIPPED")}
        passed, skipped = (int(found[1]) if found else 0 for found in counts.values())
        if (skipped or not passed) and not self.dry:
            return f"{passed} tests passed, {skipped} did not run: {name}.log"
        return {"tests": passed, "skipped": skipped, "seconds": ran[1]}

    def speed(self):
        if not self.beside("test_kernels"):
            return {"left_out": "test_kernels is not beside the program"}
        env = environment(self.options.libraries, **({"PRENTICE_SPEED_DEVICE": "cpu"} if self.dry else {}))
        ran = self.execute("speed", [self.beside("test_kernels"), "--gtest_filter=GpuSpeed*"], 60, env)
        if not isinstance(ran, tuple):
            return ran
        lines = [json.loads(line) for line in ran[0].splitlines() if line.startswith('{"speed"')]
        return {"speeds": lines, "seconds": ran[1]} if lines else "no figures: speed.log"

    def sanitizer(self):
        if not shutil.which("compute-sanitizer") or not self.beside("test_kernels"):
            return {"left_out": "no compute-sanitizer, or no test_kernels"}
        command = ["compute-sanitizer", "--error-exitcode", "9", self.beside("test_kernels"), "--gtest_filter=GpuKernels*"]
        ran = self.execute("sanitizer", command, 90)
        if not isinstance(ran, tuple):
            return ran
        found = re.search(r"ERROR SUMMARY: (\d+)", ran[0])
        return {"sanitizer_errors": int(found[1]), "seconds": ran[1]} if found else "no summary: sanitizer.log"

    def profile(self):
        """Which kernels a step of a 1B shape spends its time in."""
        if not shutil.which("nsys"):
            return {"left_out": "no nsys"}
        run = next(run for run in PLANS if run.name == "plan-lora-1b")
        report = self.scratch / "profile"
        command = ["nsys", "profile", "-o", report, "-t", "cuda", self.options.program, "sft", *self.words(run), *self.output(run)]
        ran = self.execute("profile", command, 45)
        if isinstance(ran, tuple):
            ran = self.execute("profile", ["nsys", "stats", "-r", "cuda_gpu_kern_sum", f"{report}.nsys-rep"], 20)
        return {"seconds": ran[1]} if isinstance(ran, tuple) else ran

    def words(self, run):
        length, micro = (64, 128) if self.dry else (run.length, run.micro_tokens)
        machine = ["run.device=cpu", "run.precision=f32"] if self.dry else \
            ["run.device=cuda", "run.precision=bf16", f"run.threads={min(32, os.cpu_count())}"]  # random weights are drawn on the host
        return [f"model.path={'quickstart-300k' if self.dry else run.shape}", "model.init=random",
                "model.tokenizer=data/quickstart/tokenizer", "data.train=data/office.txt", "data.format=text",
                f"data.max_length={length}", "data.eval_split=0", f"train.batch_tokens={micro}", f"train.micro_tokens={micro}",
                f"train.steps={run.steps}", "run.log_every=2", "export.verify=false", *machine, *run.words]

    def output(self, run):
        return [f"run.out={self.scratch / run.name}", "--fresh", "--quiet"]

    def plan(self, run):
        """The plan of the same words on the same device, to the byte; {} where there is none."""
        command = [self.options.program, "plan", self.scratch / "sft.yaml", *self.words(run), self.output(run)[0], "--json"]
        ran = self.execute(f"{run.name}.plan", command, 30)
        try:
            return {"plan_bytes": json.loads(ran[0][ran[0].index("{"):])["memory"]["peak"]}
        except (KeyError, ValueError, TypeError, AttributeError):
            return {"plan_failed": ran if isinstance(ran, str) else f"{run.name}.plan.log"}

    def train(self, run):
        planned = {} if run is CONTEXT else self.plan(run)
        ran = self.execute(run.name, [self.options.program, "sft", *self.words(run), *self.output(run)], run.limit)
        folder = self.scratch / run.name
        if not isinstance(ran, tuple):
            shutil.rmtree(folder, ignore_errors=True)
            return ran if isinstance(ran, str) else {**ran, **planned}
        logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        logged = [line for line in logged if "tokens_per_second" in line]
        counted = logged[2:] or logged  # the first ones warm up, and a graph is recorded in them
        rates = [line["tokens_per_second"] for line in counted]
        found = {"shape": run.shape, "switches": list(run.words), "tokens_per_second": statistics.median(rates), "lowest": min(rates),
                 "highest": max(rates), "counted": len(rates), "seconds": ran[1], **planned,
                 "device_bytes": ran[2], "driver_bytes": max(0, ran[2] - self.context), "twin": run.twin}
        if "mfu" in counted[-1]:
            found["share_of_data_sheet"] = statistics.median(line["mfu"] for line in counted)
        found["allocator_bytes"] = max(line.get("memory", 0) for line in logged)
        shutil.rmtree(folder)
        return found

    def measure_context(self):
        found = self.train(CONTEXT)
        if isinstance(found, dict) and "driver_bytes" in found:
            found["context_bytes"] = max(0, found.pop("driver_bytes") - found["allocator_bytes"])
            self.context = 0 if self.dry else found["context_bytes"]
        return found

    def peer(self, peer):
        shape, length, micro = ("quickstart-300k", 64, 128) if self.dry else (peer.shape, peer.length, peer.micro_tokens)
        report = self.scratch / "peer.json"
        command = [self.options.python, ROOT / "experiments/gpu/peer.py", shape, length, micro, PEER_STEPS,
                   "nf4" if peer.nf4 else "plain", "cpu" if self.dry else "cuda", report]
        ran = self.execute(peer.name, command, peer.limit, environment())
        if not isinstance(ran, tuple):
            return ran
        rates = [micro / step for step in json.loads(report.read_text())["step_seconds"][2:]]
        return {"shape": shape, "tokens_per_second": statistics.median(rates), "lowest": min(rates), "highest": max(rates),
                "counted": len(rates), "seconds": ran[1], "device_bytes": ran[2], "driver_bytes": max(0, ran[2] - self.context)}

    def steps(self):
        """(name, body), what matters most first."""
        trained = lambda runs: [(run.name, lambda run=run: self.train(run)) for run in runs]  # noqa: E731
        return [("speed", self.speed), *((name, lambda name=name: self.tests(name)) for name in gpu_test_programs()),
                ("context", self.measure_context), *trained(RUNS), *trained(PLANS),
                *((peer.name, lambda peer=peer: self.peer(peer)) for peer in PEERS), *trained(TWINS),
                ("sanitizer", self.sanitizer), ("profile", self.profile)]


def machine(options):
    def said(*words):
        try:
            return subprocess.run([str(options.program), *words], capture_output=True, text=True, timeout=20,
                                  env=environment(options.libraries)).stdout.strip()
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)

    return {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "host": platform.processor() or platform.machine(),
            "gpu": device_query("name,driver_version,memory.total,clocks.max.sm,power.limit"), "version": said("--version"),
            "doctor": said("doctor").splitlines(), "dry": options.dry}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--libraries", default="", help="folders of shared libraries that the program needs")
    parser.add_argument("--python", default=sys.executable, help="of the peers")
    parser.add_argument("--budget", type=float, default=460, help="seconds of all steps together")
    parser.add_argument("--only", nargs="*", help="names of steps")
    parser.add_argument("--without", help="nothing is run; every step is left out for this reason")
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    options.out, options.program = options.out.resolve(), options.program.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the running step on the way out

    facts = {"date": "", "version": "", "gpu": [], "dry": options.dry}

    def keep(results):
        (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        (options.out / "table.md").write_text(table(results, facts))

    check = Check(options, None)
    try:
        steps = [step for step in check.steps() if not options.only or step[0] in options.only]
        check.ledger = ledger = Ledger([name for name, _ in steps], options.budget, keep)
        if not options.without:
            facts.update(machine(options))
            (options.out / "machine.json").write_text(json.dumps(facts, indent=1) + "\n")
            if not facts["gpu"] and not options.dry:
                options.without = "no NVIDIA GPU answers (nvidia-smi); --dry tries the steps on the CPU"
        for name, body in steps:
            ledger.leave_out(name, options.without) if options.without else ledger.step(name, body)
    finally:
        shutil.rmtree(check.scratch, ignore_errors=True)
    print((options.out / "table.md").read_text())
    if options.without:
        sys.exit(f"error: {options.without}")
    sys.exit(any("failed" in found for found in ledger.results))


if __name__ == "__main__":
    main()
