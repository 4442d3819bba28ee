#!/usr/bin/env bash
# scripts/fuzz.sh [--minutes N] [--seed S] [--corpus FOLDER] TARGET...
# Fuzzes readers of strangers' files for N minutes each (default 1), with address and undefined-behaviour sanitizers:
# gguf vocabulary model importance safetensors json. A file that fails is kept in FOLDER/found (default build-fuzz/corpus);
# `PRENTICE_FUZZ_TARGET=TARGET build-fuzz/prentice_fuzz FILE` reads it again. Needs libFuzzer: PRENTICE_LIBFUZZER=/path/to/libFuzzer.a,
# or Debian's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/console.sh

minutes=1
seed=17
corpus=$PWD/build-fuzz/corpus
chosen=()
known="gguf vocabulary model importance safetensors json"
while (($#)); do
  case $1 in
    --minutes) minutes=$2; shift ;;
    --seed) seed=$2; shift ;;
    --corpus) corpus=$(realpath -m "$2"); shift ;;
    -h | --help) sed -n '2,6s/^# //p' "$0"; exit 0 ;;
    *)
      [[ " $known " == *" $1 "* ]] || die 2 "scripts/fuzz.sh: unknown target $1" "one of: $known"
      chosen+=("$1")
      ;;
  esac
  shift
done
((${#chosen[@]})) || die 2 "scripts/fuzz.sh: no target" "one or more of: $known"

archive=${PRENTICE_LIBFUZZER:-$(compgen -G '/usr/lib/llvm-*/lib/libFuzzer.a' | sort -V | tail -1 || true)}
[[ -f $archive ]] || die 2 "libFuzzer was not found" \
  "apt-get install --no-install-recommends libfuzzer-14-dev, or PRENTICE_LIBFUZZER=/path/to/libFuzzer.a"
[[ -f build/toolchain.env ]] || scripts/setup.sh
source build/toolchain.env

configure_and_build() {
  cmake -S . -B build-fuzz -G Ninja "${CMAKE_ARGS[@]}" -DPRENTICE_CUDA=OFF -DPRENTICE_TESTS=OFF -DPRENTICE_FUZZ="$archive" \
    -DPRENTICE_SANITIZE=address,undefined -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O1 -g1"
  ninja -C build-fuzz prentice_fuzz
}
mkdir -p build-fuzz
phase "build of the targets" 900 "$PWD/build-fuzz/build.log" configure_and_build

# LibTorch keeps its registries to the end of the process, and its own libraries are not instrumented.
export ASAN_OPTIONS=detect_leaks=0:detect_odr_violation=0:allocator_may_return_null=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 OMP_NUM_THREADS=1
mkdir -p "$corpus"
python3 tests/fuzz/seeds.py "$corpus/seeds"
status=0
for target in "${chosen[@]}"; do
  mkdir -p "$corpus/$target" "$corpus/found/$target"
  say "fuzzing $target for $minutes min; log $corpus/$target.log"
  PRENTICE_FUZZ_TARGET=$target nice -n 10 build-fuzz/prentice_fuzz -max_total_time=$((minutes * 60)) -seed="$seed" \
    -max_len=20000 -timeout=10 -rss_limit_mb=4096 -use_value_profile=1 -print_final_stats=1 \
    -artifact_prefix="$corpus/found/$target/" "$corpus/$target" "$corpus/seeds/$target" >"$corpus/$target.log" 2>&1 || status=1
  grep -E 'places reached|number_of_executed|^SUMMARY|Test unit written|held .* bytes of memory' "$corpus/$target.log" || true
done
exit $status
