# What set-up looks for and how it installs each part. Sourced by scripts/setup.sh; nothing runs by itself.

cache=${PRENTICE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/prentice}
requirements=scripts/requirements
rust_wanted=1.85  # the newest `rust-version` among the locked crates
rust_pinned=1.95.0

memory_gb() { awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo; }

# True when version $1 is at least $2.
at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

# A CUDA 13 compiler of the machine's own; another major version cannot serve a CUDA 13 LibTorch.
find_own_cuda() {
  local nvcc
  for nvcc in "${CUDACXX:-}" "${CUDA_HOME:+$CUDA_HOME/bin/nvcc}" "$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc; do
    if [[ -x $nvcc ]] && "$nvcc" --version | grep -q 'release 13\.'; then
      echo "$nvcc"
      return
    fi
  done
}

# The folder of a LibTorch under one of the colon-separated prefixes.
find_own_torch() {
  local -a prefixes
  local prefix inner
  IFS=: read -ra prefixes <<<"$1"
  for prefix in "${prefixes[@]}"; do
    for inner in "$prefix" "$prefix/torch" "$prefix/../../.."; do
      if [[ -f $inner/include/ATen/core/Tensor.h ]]; then
        realpath "$inner"
        return
      fi
    done
  done
}

# Headers are probed with the compiler, so that copies outside Debian's packages count as well.
has_header() {  # HEADER PREFIXES
  local -a prefixes flags=()
  local prefix
  IFS=: read -ra prefixes <<<"$2"
  for prefix in "${prefixes[@]}"; do flags+=(-I "$prefix/include"); done
  echo "#include <$1>" | g++ -std=c++20 -fsyntax-only -x c++ "${flags[@]}" - 2>/dev/null
}

# missing_packages PROFILE PREFIXES: names of Debian packages, space separated.
missing_packages() {
  local missing=() pair
  command -v g++ >/dev/null || missing+=(g++)
  "${PRENTICE_PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
  command -v ccache >/dev/null || missing+=(ccache)
  for pair in nlohmann/json.hpp=nlohmann-json3-dev yaml-cpp/yaml.h=libyaml-cpp-dev fmt/format.h=libfmt-dev \
    openssl/evp.h=libssl-dev curl/curl.h=libcurl4-openssl-dev; do
    has_header "${pair%=*}" "$2" || missing+=("${pair#*=}")
  done
  has_header hdf5/serial/hdf5.h "$2" || has_header hdf5.h "$2" || missing+=(libhdf5-dev)
  # `prentice download` trusts them, and the test profile makes one with the openssl they bring.
  if command -v apt-get >/dev/null && [[ ! -e /etc/ssl/certs/ca-certificates.crt ]]; then missing+=(ca-certificates); fi
  if [[ $1 == test ]]; then
    has_header gtest/gtest.h "$2" || missing+=(libgtest-dev)
    command -v clang-format >/dev/null || missing+=(clang-format)
  fi
  echo "${missing[*]}"
}

# Prints the command that makes us root ("env" when we are).
root_command() {
  if [[ $(id -u) == 0 ]]; then
    echo env
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    echo "sudo -n"
  else
    return 1
  fi
}

install_packages() {  # ROOT "PACKAGES"
  command -v apt-get >/dev/null || { echo "no apt-get here; install by hand: $2"; return 1; }
  $1 apt-get update
  # shellcheck disable=SC2086
  $1 env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $2
}

# How Rust is to be had: `system` when the machine's own cargo is new enough, `pinned` when rustup holds our toolchain,
# else what must install it: `rustup` or `apt`.
rust_source() {
  local cargo rustup
  cargo=$(command -v cargo || echo "$HOME/.cargo/bin/cargo")
  rustup=$(command -v rustup || echo "$HOME/.cargo/bin/rustup")
  if [[ -x $cargo ]] && at_least "$("$cargo" --version 2>/dev/null | awk '{ print $2 }')" $rust_wanted; then
    echo system
  elif [[ ! -x $rustup ]]; then
    echo apt
  elif "$rustup" run $rust_pinned cargo --version >/dev/null 2>&1; then
    echo pinned
  else
    echo rustup
  fi
}

# The venv's name carries what LibTorch and the compiler are pinned to, so that another version gets another folder.
venv_folder() {  # OWN_TORCH
  local key
  key=$({ cat $requirements/{build,cpu,cuda,nvcc}.txt; "${PRENTICE_PYTHON:-python3}" -V; echo "${1:+own}"; } 2>/dev/null |
    sha256sum | cut -c 1-8)
  echo "$cache/venv-$key"
}

# A part is done when its marker, keyed by its requirement file, is there: written last, so a torn set-up is repeated.
part_marker() { echo "$1/.complete-$2-$(sha256sum <"$requirements/$(part_file "$2").txt" | cut -c 1-8)"; }
part_file() { [[ $1 == venv ]] && echo build || echo "$1"; }

missing_venv_parts() {  # VENV PROFILE OWN_TORCH OWN_CUDA
  local parts=(venv) part
  [[ -z $3 ]] && parts+=(cpu)
  if [[ $2 != cpu ]]; then
    [[ -z $3 ]] && parts+=(cuda)
    [[ -z $4 ]] && parts+=(nvcc)
  fi
  if [[ $2 == test ]]; then
    parts+=(oracle)
    has_node || parts+=(node)
  fi
  for part in "${parts[@]}"; do
    [[ -f $(part_marker "$1" "$part") ]] || echo "$part"
  done
}

describe_part() {
  case $1 in
    venv) echo "a Python venv with CMake and Ninja (60 MB)" ;;
    cpu) echo "torch 2.11.0 without its CUDA libraries (1.3 GB)" ;;
    cuda) echo "the CUDA 13.0 libraries of torch 2.11.0 (3.3 GB)" ;;
    nvcc) echo "the CUDA 13.0 compiler (0.6 GB)" ;;
    oracle) echo "references for the tests: transformers, PEFT, TRL, bitsandbytes ... (0.8 GB)" ;;
    node) echo "Node.js 24 for the tests (200 MB)" ;;
  esac
}

usual_seconds() {
  case $1 in venv) echo 15 ;; cpu) echo 40 ;; cuda) echo 60 ;; oracle) echo 60 ;; *) echo 20 ;; esac
}

install_part() {  # VENV PART
  local python=$1/bin/python file
  file=$requirements/$(part_file "$2").txt
  case $2 in
    venv)
      rm -rf "$1"
      "${PRENTICE_PYTHON:-python3}" -m venv "$1"
      "$python" -m pip install -r "$file"
      ;;
    cpu) "$python" -m pip install --no-deps -r "$file" ;;
    # `pip check` is not asked: the cpu part leaves torch's requirements open until the cuda part fills them.
    *) "$python" -m pip install -r "$file" -c $requirements/cuda.txt ;;
  esac
  link_cuda_libraries "$1"
  touch "$(part_marker "$1" "$2")"
}

# The wheels hold libX.so.13 only; a linker and FindCUDAToolkit ask for libX.so and lib64.
link_cuda_libraries() {
  local root library
  for root in "$1"/lib/python3*/site-packages/nvidia/cu13; do
    [[ -d $root/lib ]] || continue
    ln -sfn lib "$root/lib64"
    for library in cudart cublas cublasLt nvrtc cufft curand cusolver cusparse nvJitLink cupti; do
      (cd "$root/lib" && for file in "lib$library".so.[0-9]*; do [[ -e $file ]] && ln -sf "$file" "lib$library.so"; done) || true
    done
  done
}

# 0.2.1 holds the fix of CVE-2026-1260 and builds without fetching anything.
build_sentencepiece() {  # VENV DESTINATION
  local work
  work=$(mktemp -d "$cache/sentencepiece.XXXXXX")
  "$1/bin/python" -m pip download --no-binary :all: --no-deps --dest "$work" sentencepiece==0.2.1
  tar -xzf "$work"/sentencepiece-0.2.1.tar.gz -C "$work"
  local source=$work/sentencepiece-0.2.1 tree
  tree=$source
  [[ -f $source/sentencepiece/CMakeLists.txt ]] && tree=$source/sentencepiece
  PATH=$1/bin:$PATH cmake -S "$tree" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DSPM_ENABLE_SHARED=OFF \
    -DSPM_ENABLE_TCMALLOC=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON
  PATH=$1/bin:$PATH ninja -C "$work/build" sentencepiece-static
  mkdir -p "$work/out/include" "$work/out/lib"
  cp "$tree/src/sentencepiece_processor.h" "$work/out/include/"
  cp "$work/build/src/libsentencepiece.a" "$work/out/lib/"
  rm -rf "$2"
  mv "$work/out" "$2"
  rm -rf "$work"
}

has_node() { command -v npm >/dev/null && at_least "$(node --version 2>/dev/null | tr -d v || echo 0)" 20; }

oracle_modules() { echo "$cache/node-$(sha256sum <tests/oracle/package-lock.json | cut -c 1-8)"; }

missing_node_oracle() { [[ -f $(oracle_modules)/.complete ]] || echo node-llama-cpp; }

install_node_oracle() {  # VENV
  local folder
  folder=$(oracle_modules)
  rm -rf "$folder"
  mkdir -p "$folder"
  cp tests/oracle/package.json tests/oracle/package-lock.json "$folder/"
  has_node || PATH=$1/bin:$PATH
  # Not `npm ci`: it refuses a lock file without the optional packages of other platforms, which nobody needs here.
  (cd "$folder" && npm install --no-save --ignore-scripts --omit=optional --no-audit --no-fund)
  touch "$folder/.complete"
}

# The file that build.sh and the tests source.
write_toolchain() {  # PROFILE VENV SENTENCEPIECE PREFIX OWN_TORCH OWN_CUDA RUST
  local site root path=$2/bin args=("-DPRENTICE_SENTENCEPIECE=$3" "-DPRENTICE_VENV=$2")
  command -v cargo >/dev/null || path+=:$HOME/.cargo/bin
  [[ -n $4 ]] && args+=("-DCMAKE_PREFIX_PATH=${4//:/;}")
  [[ $1 == test ]] && args+=(-DPRENTICE_TEST_PROFILE=ON)
  if [[ $1 != cpu ]]; then
    args+=(-DPRENTICE_CUDA=ON)
    if [[ -n $6 ]]; then
      args+=("-DCMAKE_CUDA_COMPILER=$6")
    else
      site=$(echo "$2"/lib/python3*/site-packages)
      root=$site/nvidia/cu13
      args+=("-DCMAKE_CUDA_COMPILER=$root/bin/nvcc" "-DCUDAToolkit_ROOT=$root" "-DCUDA_TOOLKIT_ROOT_DIR=$root")
    fi
  fi
  echo "# Written by scripts/setup.sh."
  printf 'PRENTICE_PROFILE=%q\nPRENTICE_VENV=%q\n' "$1" "$2"
  [[ $7 == rustup || $7 == pinned ]] && printf 'export RUSTUP_TOOLCHAIN=%q\n' $rust_pinned
  [[ -f tests/oracle/package-lock.json ]] && printf 'export PRENTICE_NODE_MODULES=%q\n' "$(oracle_modules)/node_modules"
  printf 'export PATH=%q:$PATH\n' "$path"
  printf 'CMAKE_ARGS=('
  printf ' %q' "${args[@]}"
  printf ' )\n'
}
