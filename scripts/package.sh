#!/usr/bin/env bash
# scripts/package.sh [--gpu [-DTORCH_CUDA_ARCH_LIST=9.0]] [OUT.tar.gz]: one archive with the binary and everything it
# loads, tried once from another folder. --gpu: what scripts/gpu_check.sh takes as PRENTICE_BUNDLE to a machine that has
# LibTorch: the program, the CUDA plug-in and the tests that need a device, built first, without LibTorch.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/console.sh
component=prentice
definitions=()
while [[ ${1:-} == -* ]]; do
  case $1 in
    --gpu) component=gpu ;;
    -D*) definitions+=("$1") ;;
    *) die 2 "scripts/package.sh: unknown flag $1" ;;
  esac
  shift
done
[[ $component == gpu ]] && scripts/build.sh --tests "${definitions[@]}" gpu_bundle
[[ -x build/prentice ]] || die 2 "build/prentice is missing" "run scripts/setup.sh and scripts/build.sh first"
source build/toolchain.env
version=$(sed -n 's/^project(prentice VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
name=prentice-$version-$(uname -m)$([[ $component == gpu ]] && echo -gpu || true)
out=${1:-build/$name.tar.gz}
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
phase "collect" 20 build/package.log cmake --install build --component "$component" --strip --prefix "$stage/$name"
mv "$stage/$name" "$stage/moved"
libraries=()
if [[ $component == gpu ]]; then
  torch=$(python -c 'import importlib.util as u; print(*u.find_spec("torch").submodule_search_locations)')
  libraries=("LD_LIBRARY_PATH=$stage/moved/lib:$torch/lib")
fi
env -i "${libraries[@]}" "$stage/moved/bin/prentice" --version >/dev/null || die 1 "the moved program does not start"
mv "$stage/moved" "$stage/$name"
phase "compress" 60 build/package.log tar -C "$stage" -czf "$out" "$name"
say "$out: $(du -h "$out" | cut -f 1)"
