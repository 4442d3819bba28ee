#!/usr/bin/env bash
# scripts/gpu_check.sh OUT: every GPU test and a LoRA step of a 1B and an 8B shape (random weights, real packed text) on
# one GPU, in under 8 minutes. Takes build/prentice, or a bundle of scripts/package.sh named by PRENTICE_BUNDLE.
# Writes OUT/machine.txt, OUT/table.md, OUT/results.jsonl, and a profile when nsys is there.
set -euo pipefail
out=$(mkdir -p "${1:?usage: scripts/gpu_check.sh OUT}" && cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."

program=build/prentice
if [[ -n ${PRENTICE_BUNDLE:-} ]]; then
  bundle=$(mktemp -d)
  tar -xzf "$PRENTICE_BUNDLE" -C "$bundle"
  program=$(echo "$bundle"/*/bin/prentice)
fi
[[ -x $program ]] || { echo "error: $program is missing" >&2; exit 2; }
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT

{ date -u +%FT%TZ; nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit --format=csv
  nproc; "$program" doctor; } > "$out/machine.txt" 2>&1 || true
grep -q NVIDIA "$out/machine.txt" || { echo "error: no NVIDIA GPU answers" >&2; cat "$out/machine.txt" >&2; exit 2; }
if [[ -z ${PRENTICE_BUNDLE:-} ]]; then
  ctest --test-dir build -L gpu --no-tests=error --output-on-failure | tee "$out/tests.txt"
  ! grep -q "Skipped" "$out/tests.txt" || { echo "error: a GPU test did not run" >&2; exit 1; }
fi

# step NAME SHAPE MICRO_TOKENS LENGTH [section.key=value ...]: 12 steps of LoRA; the line of the last interval is the result.
step() {
  local name=$1 shape=$2 micro=$3 length=$4; shift 4
  timeout 150 "$program" sft model.path="$shape" model.init=random model.tokenizer=data/quickstart/tokenizer \
    data.train=data/office.txt data.format=text data.max_length="$length" data.eval_split=0 train.batch_tokens="$micro" \
    train.micro_tokens="$micro" train.steps=12 run.log_every=4 run.device=cuda export.peft=true run.out="$runs/$name" \
    --quiet "$@" > "$runs/$name.out" 2>&1 || { echo "$name failed: $(tail -1 "$runs/$name.out")" | tee -a "$out/failures.txt"; return 0; }
  grep tokens_per_second "$runs/$name/metrics.jsonl" | tail -1 | sed "s/^{/{\"name\": \"$name\", \"shape\": \"$shape\", \"micro_tokens\": $micro, \"length\": $length, /" >> "$out/results.jsonl"
}

: > "$out/results.jsonl"
step lora-1b llama-3.2-1b 8192 2048
step lora-1b-recompute llama-3.2-1b 8192 2048 train.recompute=block
step lora-1b-not-deterministic llama-3.2-1b 8192 2048 run.deterministic=false
step lora-8b llama-3.1-8b 8192 4096
step lora-8b-recompute llama-3.1-8b 8192 4096 train.recompute=block
step full-0.5b qwen2.5-0.5b 8192 2048 adapter.kind=full

{ echo "| run | shape | tokens a forward | row | tokens/s | MFU | memory |"; echo "|---|---|---|---|---|---|---|"
  python3 - "$out/results.jsonl" <<'PY'
import json, sys
for line in open(sys.argv[1]):
    r = json.loads(line)
    mfu = f"{100 * r['mfu']:.1f} %" if "mfu" in r else ""
    print(f"| {r['name']} | {r['shape']} | {r['micro_tokens']} | {r['length']} | {r['tokens_per_second']:.0f} | {mfu} | {r.get('memory', 0) / 2**30:.1f} GiB |")
PY
} > "$out/table.md"
if command -v nsys > /dev/null; then
  nsys profile -o "$runs/profile" --force-overwrite true -t cuda "$program" sft model.path=llama-3.2-1b model.init=random \
    model.tokenizer=data/quickstart/tokenizer data.train=data/office.txt data.format=text data.max_length=2048 \
    data.eval_split=0 train.batch_tokens=8192 train.micro_tokens=8192 train.steps=4 run.device=cuda run.out="$runs/profile-run" \
    --quiet > /dev/null 2>&1 || true
  nsys stats -r cuda_gpu_kern_sum "$runs/profile.nsys-rep" > "$out/profile.txt" 2> /dev/null || true
fi
cat "$out/table.md"
[[ ! -e $out/failures.txt ]]
