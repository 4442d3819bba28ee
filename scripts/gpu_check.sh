#!/usr/bin/env bash
# scripts/gpu_check.sh [--dry] OUT [arguments of experiments/gpu/run.py]: every GPU test and the benchmarks of experiments/gpu
# on one GPU, in under 8 minutes. Takes build/prentice with its tests, or a bundle of scripts/package.sh named by
# PRENTICE_BUNDLE (then without the tests and the kernels' figures). --dry tries it all on the CPU with a tiny model.
# Writes OUT/machine.json, OUT/results.json, OUT/table.md, a log of each step, and a profile when nsys is there.
set -euo pipefail
arguments=()
if [[ ${1:-} == --dry ]]; then
  arguments+=(--dry)
  shift
fi
out=$(mkdir -p "${1:?usage: scripts/gpu_check.sh [--dry] OUT}" && cd "$1" && pwd)
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=${PRENTICE_BUILD:-build}
if [[ -n ${PRENTICE_BUNDLE:-} ]]; then
  bundle=$(mktemp -d)
  trap 'rm -rf "$bundle"' EXIT
  tar -xzf "$PRENTICE_BUNDLE" -C "$bundle"
  program=$(echo "$bundle"/*/bin/prentice)
else
  program=$build/prentice
  [[ -x $build/test_kernels ]] && arguments+=(--tests "$build")
fi
[[ -x $program ]] || { echo "error: $program is missing" >&2; exit 2; }

# The peers run in the Python of the set-up's test profile, where it is there.
python=python3
if [[ -f build/toolchain.env ]]; then
  source build/toolchain.env
  [[ -x ${PRENTICE_VENV:-}/bin/python ]] && python=$PRENTICE_VENV/bin/python
fi
status=0
"$python" experiments/gpu/run.py "$out" --program "$program" --python "$python" "${arguments[@]}" "$@" || status=$?
if [[ ${arguments[0]:-} != --dry ]] && command -v nsys > /dev/null; then
  runs=$(mktemp -d)
  timeout 60 nsys profile -o "$runs/profile" --force-overwrite true -t cuda "$program" sft model.path=llama-3.2-1b model.init=random \
    model.tokenizer=data/quickstart/tokenizer data.train=data/office.txt data.format=text data.max_length=2048 \
    data.eval_split=0 train.batch_tokens=8192 train.micro_tokens=8192 train.steps=4 run.device=cuda run.out="$runs/run" \
    --quiet > /dev/null 2>&1 || true
  nsys stats -r cuda_gpu_kern_sum "$runs/profile.nsys-rep" > "$out/profile.txt" 2> /dev/null || true
  rm -rf "$runs"
fi
exit $status
