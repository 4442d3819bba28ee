#!/usr/bin/env bash
# scripts/format.sh [--check]: puts every C++ and CUDA source into the form of .clang-format, or only says which are not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mapfile -d '' files < <(find src tests -name '*.cpp' -print0 -o -name '*.h' -print0 -o -name '*.cu' -print0)
if [[ ${1:-} == --check ]]; then
  { clang-format --dry-run "${files[@]}" 2>&1 | grep -oE '^[^:]+:[0-9]+:[0-9]+' || true; } | awk -F: '
    !seen[$1]++ { print $1 ":" $2 ": not as clang-format writes it; run scripts/format.sh" } END { exit NR > 0 }'
else
  clang-format -i "${files[@]}"
fi
