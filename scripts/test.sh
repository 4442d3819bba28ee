#!/usr/bin/env bash
# scripts/test.sh [-L LABEL] [--full] [--sanitize address,undefined] [ctest arguments...]
# Sets up, builds the CUDA profile with all tests and runs them. Labels: check, unit, recipe, oracle, fault, gpu.
# --full runs the stated counts (hours) instead of the reduced ones. Needs no GPU: tests that do are skipped by name.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/console.sh

folder=build
sanitize=()
arguments=()
while (($#)); do
  case $1 in
    --full) export PRENTICE_FULL=1 ;;
    --sanitize)
      [[ -n ${2:-} ]] || die 2 "--sanitize wants a list" "--sanitize address,undefined"
      sanitize=(--sanitize "$2")
      folder=build-${2//,/-}
      # LibTorch keeps its registries to the end of the process, and its own libraries are not instrumented.
      export ASAN_OPTIONS=detect_leaks=0:detect_odr_violation=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
      shift
      ;;
    -h | --help) sed -n '2,4s/^# //p' "$0"; exit 0 ;;
    *) arguments+=("$1") ;;
  esac
  shift
done

scripts/setup.sh --profile test
scripts/build.sh --tests "${sanitize[@]}"
source build/toolchain.env
# Several programs run side by side: threads that spin while they wait take the processor from the others.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
export PRENTICE_TEST_DATA=${PRENTICE_TEST_DATA:-$PWD/../shared/data}
exec ctest --test-dir "$folder" --output-on-failure --no-tests=error -j "$(nproc)" "${arguments[@]}"
