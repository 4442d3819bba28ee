#!/usr/bin/env bash
# scripts/check.sh: the rules of the house (sizes, folders, includes, words, format) that a script can hold.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
status=0
python3 scripts/check.py || status=1
scripts/format.sh --check || status=1
exit $status
