#!/usr/bin/env bash
# scripts/package.sh [OUT.tar.gz]: one archive with the binary and everything it loads, tried once from another folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/console.sh
[[ -x build/prentice ]] || die 2 "build/prentice is missing" "run scripts/setup.sh and scripts/build.sh first"
source build/toolchain.env
version=$(sed -n 's/^project(prentice VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
name=prentice-$version-$(uname -m)
out=${1:-build/$name.tar.gz}
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
phase "collect" 20 build/package.log cmake --install build --component prentice --strip --prefix "$stage/$name"
mv "$stage/$name" "$stage/moved"
env -i "$stage/moved/bin/prentice" --version >/dev/null || die 1 "the moved program does not start"
mv "$stage/moved" "$stage/$name"
phase "compress" 60 build/package.log tar -C "$stage" -czf "$out" "$name"
say "$out: $(du -h "$out" | cut -f 1)"
