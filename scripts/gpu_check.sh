#!/usr/bin/env bash
# scripts/gpu_check.sh [--dry] OUT [arguments of experiments/gpu/run.py]: every GPU test and the benchmarks of
# experiments/gpu on one GPU. It ends within 8 minutes of its start (PRENTICE_GPU_SECONDS) whatever happens, and lists
# what was left out. Takes the programs of build/, building what is missing (the time counts; a rerun continues), or a
# bundle of `scripts/package.sh --gpu` named by PRENTICE_BUNDLE. --dry tries it all on the CPU with a tiny model.
# Writes OUT/machine.json, OUT/results.json, OUT/table.md and a log of each step.
set -euo pipefail
whole=${PRENTICE_GPU_SECONDS:-480}
arguments=()
dry=
if [[ ${1:-} == --dry ]]; then
  arguments+=(--dry)
  dry=1
  shift
fi
out=$(mkdir -p "${1:?usage: scripts/gpu_check.sh [--dry] OUT}" && cd "$1" && pwd)
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=${PRENTICE_BUILD:-build}
folder=$build
without=
libraries=
left() { echo $((whole - SECONDS - $1)); }  # seconds, but for the last $1

# The set-up's Python where it is there: the peers run in it.
find_python() {
  python=python3
  [[ -f build/toolchain.env ]] && source build/toolchain.env
  [[ -x ${PRENTICE_VENV:-}/bin/python ]] && python=$PRENTICE_VENV/bin/python
  return 0
}

export programs="prentice $(ls tests/*/gpu_*_test.cpp | sed 's|tests/\(.*\)/.*|test_\1|' | sort -u | tr '\n' ' ')"
export targets=${dry:+$programs}
targets=${targets:-gpu_bundle}

# Only the device that is here is compiled for.
export device=${CUDA_VISIBLE_DEVICES:-0}
device=${device%%,*}
build_programs() {
  local architecture
  architecture=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader -i "${device:-0}" 2> /dev/null || true)
  [[ -f build/toolchain.env ]] || scripts/setup.sh
  scripts/build.sh --tests ${architecture:+"-DTORCH_CUDA_ARCH_LIST=$architecture"} $targets
}

is_built() {  # a dry check is content with the program
  local file
  [[ -n $dry ]] && { [[ -f $build/prentice ]]; return; }
  for file in $programs libprentice_cuda.so; do [[ -f $build/$file ]] || return 1; done
}

if [[ -z $dry ]] && ! timeout -k 2 10 nvidia-smi -L > /dev/null 2>&1; then
  without="no NVIDIA GPU answers (nvidia-smi); --dry tries the steps on the CPU"
elif [[ -n ${PRENTICE_BUNDLE:-} ]]; then
  bundle=$(mktemp -d)
  trap 'rm -rf "$bundle"' EXIT
  if timeout -k 2 "$(left 30)" tar -xzf "$PRENTICE_BUNDLE" -C "$bundle" &&
    [[ -x $(echo "$bundle"/*/bin/prentice) ]]; then
    folder=$(echo "$bundle"/*/bin)
    # A bundle for GPUs has no LibTorch of its own: that of the machine's Python serves.
    find_python
    torch=$("$python" -c 'import importlib.util as u; print(*u.find_spec("torch").submodule_search_locations)' \
      2> /dev/null || true)
    libraries=$(dirname "$folder")/lib${torch:+:$torch/lib}
  else
    without="the bundle could not be unpacked, or has no bin/prentice"
  fi
elif ! is_built; then
  if [[ -n ${PRENTICE_BUILD:-} ]]; then
    without="$build lacks what is checked"
  else
    export -f build_programs
    timeout -k 8 "$(left 30)" bash -euc build_programs > "$out/build.log" 2>&1 ||
      without="what is checked was not built in time, or not at all (build.log); a rerun continues"
  fi
fi

find_python
status=0
timeout -k 3 "$(left 4)" "$python" experiments/gpu/run.py "$out" --program "$folder/prentice" --python "$python" \
  --budget "$(left 14)" ${libraries:+--libraries "$libraries"} ${without:+--without "$without"} \
  "${arguments[@]}" "$@" || status=$?
exit $status
