#!/usr/bin/env bash
# scripts/quickstart.sh: from a fresh checkout to a fine-tuned, exported model. Sets up, builds, runs
# recipes/quickstart.yaml. Ctrl-C is safe; a rerun continues. Arguments go to the run (pretrain:optim.lr=2e-3 ...).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/console.sh
source scripts/toolchain.sh

gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1 || true)
say "Prentice quickstart: $(nproc) cores, $(memory_gb) GB, ${gpu:-no GPU}. No telemetry; Ctrl-C is safe, a rerun continues."
say "[1/3] set up   log: build/setup.log"
scripts/setup.sh
scripts/build.sh --label "[2/3] build   " prentice
say "[3/3] run      build/prentice run recipes/quickstart.yaml"
exec build/prentice run recipes/quickstart.yaml "$@"
