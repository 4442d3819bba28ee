#!/usr/bin/env bash
# scripts/setup.sh [--profile cpu|cuda|test] [-DCMAKE_PREFIX_PATH=/path/to/libtorch]
# Installs what the build needs and writes build/toolchain.env for scripts/build.sh. Says what first; a rerun does
# only what is missing. cpu: LibTorch alone. cuda: with its CUDA libraries and a compiler. test: cuda and the
# references that the tests compare with. The default is cpu without a GPU and a CUDA compiler, else cuda.
# The toolchain lives outside the checkout, in PRENTICE_CACHE (default ~/.cache/prentice).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/console.sh
source scripts/toolchain.sh

profile=auto
prefix=${CMAKE_PREFIX_PATH:-}
while (($#)); do
  case $1 in
    --profile) profile=${2:-}; shift ;;
    --profile=*) profile=${1#*=} ;;
    -DCMAKE_PREFIX_PATH=*) prefix=${1#*=} ;;
    -h | --help) sed -n '2,6s/^# //p' "$0"; exit 0 ;;
    *) die 2 "scripts/setup.sh: unknown argument $1" "--profile cpu|cuda|test, -DCMAKE_PREFIX_PATH=DIR" ;;
  esac
  shift
done
prefix=${prefix//;/:}
log=$PWD/build/setup.log
mkdir -p build "$cache"

own_cuda=$(find_own_cuda)
if [[ $profile == auto ]]; then
  profile=cpu
  if [[ -n $own_cuda ]] || nvidia-smi -L >/dev/null 2>&1; then profile=cuda; fi
fi
[[ $profile =~ ^(cpu|cuda|test)$ ]] || die 2 "unknown profile $profile" "cpu, cuda or test"
own_torch=$(find_own_torch "$prefix")

# One set-up at a time in this cache.
exec 9>"$cache/.lock"
if ! flock -n 9; then
  say "another set-up is at work in $cache; waiting for it"
  flock 9
fi

# 1. What is missing.
packages=$(missing_packages "$profile" "$prefix")
venv=$(venv_folder "$own_torch")
venv_parts=$(missing_venv_parts "$venv" "$profile" "$own_torch" "$own_cuda")
sentencepiece=$cache/sentencepiece-0.2.1
rust=$(rust_source)
node_parts=
if [[ $profile == test ]]; then node_parts=$(missing_node_oracle); fi

# 2. Say it.
say "Prentice set-up: profile $profile, $(nproc) cores, $(memory_gb) GB; toolchain in $cache"
plan=()
[[ -n $packages ]] && plan+=("Debian packages: $packages")
[[ $rust == apt ]] && plan+=("Rust $rust_wanted or newer: Debian packages rustc-web, cargo-web (the system's is older or absent)")
[[ $rust == rustup ]] && plan+=("Rust $rust_pinned through rustup (the system's is older than the crates need)")
for part in $venv_parts; do plan+=("$(describe_part "$part")"); done
[[ -f $sentencepiece/lib/libsentencepiece.a ]] || plan+=("SentencePiece 0.2.1, built from its source package (1 min)")
[[ -n $node_parts ]] && plan+=("llama.cpp for the tests: npm packages of tests/oracle/package-lock.json (85 MB)")
if ((${#plan[@]} == 0)); then
  say "will install   nothing, all is there"
else
  say "will install   ${plan[0]}"
  for line in "${plan[@]:1}"; do say "               $line"; done
  say "log            build/setup.log"
fi

# 3. Do it.
if [[ -n $packages || $rust == apt ]]; then
  root=$(root_command) || die 2 "these Debian packages are missing and this user cannot install them: $packages" \
    "as root: apt-get install $packages"
  [[ $rust == apt ]] && packages+=" rustc-web cargo-web"
  phase "  Debian packages" 60 "$log" install_packages "$root" "$packages"
  # The venv is named after the version of Python, which may have come just now.
  venv=$(venv_folder "$own_torch")
  venv_parts=$(missing_venv_parts "$venv" "$profile" "$own_torch" "$own_cuda")
fi
[[ $rust == rustup ]] && phase "  Rust $rust_pinned" 40 "$log" rustup toolchain install "$rust_pinned" --profile minimal
for part in $venv_parts; do
  phase "  Python packages: $part" "$(usual_seconds "$part")" "$log" install_part "$venv" "$part"
done
if [[ ! -f $sentencepiece/lib/libsentencepiece.a ]]; then
  phase "  SentencePiece 0.2.1" 90 "$log" build_sentencepiece "$venv" "$sentencepiece"
fi
if [[ -n $node_parts ]]; then
  phase "  llama.cpp oracle" 20 "$log" install_node_oracle "$venv"
fi

write_toolchain "$profile" "$venv" "$sentencepiece" "$prefix" "$own_torch" "$own_cuda" "$rust" >build/toolchain.env.new
mv build/toolchain.env.new build/toolchain.env
