#!/usr/bin/env bash
# scripts/build.sh [--tests] [--sanitize address,undefined] [--label TEXT] [-DNAME=VALUE...] [target...]
# Configures and builds into build/ (build-SANITIZERS/ with --sanitize) with what scripts/setup.sh found.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/console.sh
[[ -f build/toolchain.env ]] || die 2 "build/toolchain.env is missing" "run scripts/setup.sh first"
source build/toolchain.env

folder=build
label="build"
targets=()
tests=
while (($#)); do
  case $1 in
    --tests) tests=1 ;;
    --label) label=$2; shift ;;
    --sanitize)
      folder=build-${2//,/-}
      CMAKE_ARGS+=("-DPRENTICE_SANITIZE=$2" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPRENTICE_CUDA=OFF)  # nvcc knows none
      shift
      ;;
    -D*) CMAKE_ARGS+=("$1") ;;
    -h | --help) sed -n '2,3s/^# //p' "$0"; exit 0 ;;
    -*) die 2 "scripts/build.sh: unknown flag $1" ;;
    *) targets+=("$1") ;;
  esac
  shift
done
# Tests stay in a folder that has them: leaving them out again would only make the next test run configure twice.
[[ -n $tests ]] && CMAKE_ARGS+=(-DPRENTICE_TESTS=ON)
[[ -z $tests && ! -f $folder/CMakeCache.txt ]] && CMAKE_ARGS+=(-DPRENTICE_TESTS=OFF)

# One compile job needs about 1.2 GB at its peak.
jobs=$(awk -v cores="$(nproc)" '/^MemAvailable/ { fit = int($2 / 1258291); print fit < 1 ? 1 : fit < cores ? fit : cores }' /proc/meminfo)
export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$PWD} CCACHE_NOHASHDIR=1

configure_and_build() {
  cmake -S . -B "$folder" -G Ninja "${CMAKE_ARGS[@]}"
  ninja -C "$folder" -j "$jobs" "${targets[@]}"
}
phase "$label" 600 "$PWD/build/build.log" configure_and_build
