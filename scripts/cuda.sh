#!/usr/bin/env bash
# talkie-worker-cuda, which computes on NVIDIA cards. Building it needs no card and no driver. Usage: cuda.sh build|check|test
#   build  target/release/talkie-worker-cuda, and the libraries that it loads on a machine with a card, in target/cuda/lib
#   check  lints and tests of what is built with CUDA, as far as they go without a card
#   test   on a machine with a card: the operations against the CPU's, then every golden case
# CUDA_COMPUTE_CAP (80: Ampere and whatever is newer) is the oldest card that candle's own kernels are for.
set -euo pipefail

say() { printf 'cuda: %s\n' "$*" >&2; }

environment() {  # as cudaforge, cudarc and the linker look for the toolkit
  local home=$PWD/target/cuda/home
  export NVCC=$home/bin/nvcc CUDA_HOME=$home CUDA_PATH=$home CUDA_ROOT=$home PATH=$home/bin:$PATH
  export LIBRARY_PATH=$home/lib64${LIBRARY_PATH:+:$LIBRARY_PATH}
  export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-80}
}

# candle asks cudarc to link against the driver, and a program that does cannot start where there is none. A copy of cudarc, made of
# cargo's own, takes "linking" for "loading" and the other way round; the lock file stays as it is.
loading_cudarc() {
  local copy=target/cuda/cudarc manifest
  cargo fetch --locked --quiet
  manifest=$(cargo metadata --locked --offline --format-version 1 --features app/cuda |
    python3 -c 'import json, sys; print(*(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "cudarc"))')
  [ -f "$manifest" ] || { say "cargo has no cudarc: is the feature \`cuda\` of layers gone?"; exit 1; }
  cmp -s "$manifest" "$copy/Cargo.toml" && return
  rm -rf "$copy"
  cp -r "$(dirname "$manifest")" "$copy"
  find "$copy/build.rs" "$copy/src" -name '*.rs' -exec \
    sed -i 's/"dynamic-linking"/"@"/g; s/"dynamic-loading"/"dynamic-linking"/g; s/"@"/"dynamic-loading"/g' {} +
}

with_cuda() {  # with_cuda TASK ARGUMENT...: cargo, with that copy
  local task=$1; shift
  printf 'paths = ["%s"]\n' "$PWD/target/cuda/cudarc" >target/cuda/cargo.toml
  cargo "$task" --config target/cuda/cargo.toml "$@"  # behind the task, or clippy would not pass it on
}

# always these together: with fewer, cargo would unify other features and compile candle's kernels anew (10 minutes)
rooms=(--package app --package layers --package cuda-kernels --features app/cuda)

build() {
  with_cuda rustc --release --locked --package app --features cuda --bin talkie-worker-cuda -- \
    -C "link-arg=-Wl,-rpath,\$ORIGIN/../cuda/lib:\$ORIGIN/cuda"
}

says() {  # says WORDS VARIABLE=VALUE...: that the program refuses a card with these words, without a panic
  local words=$1 said code=0; shift
  said=$(env "$@" "$program" verify --device cuda 2>&1) || code=$?
  case $code:$said in
    1:*"$words"*) say "with ${*:-no driver} it says: $said" ;;
    *) say "with ${*:-no driver} it should say \`$words\`, and said (exit code $code): $said"; exit 1 ;;
  esac
}

driverless() {  # what a machine without a card must be told, and that nothing of CUDA is needed to say it
  local program=target/release/talkie-worker-cuda fake=target/cuda/fake
  if readelf -d "$program" | grep -E 'NEEDED.*lib(cu|nv)'; then
    say "$program needs the libraries above to start"; exit 1
  fi
  "$program" verify --only loaders >/dev/null || { say "$program cannot verify the weight files on the CPU"; exit 1; }
  rm -rf "$fake" && mkdir -p "$fake"
  cc -shared -fPIC -Wl,-soname,libcuda.so.1 scripts/fake_driver.c -o "$fake/libcuda.so.1"
  ln -s libcuda.so.1 "$fake/libcuda.so"
  local driver=(LD_LIBRARY_PATH="$PWD/$fake" FAKE_VERSION=13000)
  says 'supports CUDA 12.4, the limit is 13.0' "${driver[@]}" FAKE_VERSION=12040
  says 'sees no card' "${driver[@]}" FAKE_INIT=100
  says 'sees no card' "${driver[@]}" FAKE_COUNT=0
  says 'the tin is shut' "${driver[@]}" FAKE_INIT=999
  says 'Tin 0 has compute capability 7.0, the limit is 8.0' "${driver[@]}" FAKE_COUNT=1 FAKE_MAJOR=7
  cp "$program" "$fake/"  # where it finds no library beside it
  program=$fake/talkie-worker-cuda
  if ! ldconfig -p | grep -q libcublas; then
    says 'libcublas of CUDA 13 cannot be loaded' "${driver[@]}" FAKE_COUNT=1 FAKE_MAJOR=9
  fi
  [ -e /dev/nvidia0 ] || says 'no NVIDIA driver is installed'
}

cd "$(dirname "$0")/.."
scripts/cuda-toolkit.sh build
environment
loading_cudarc
case "${1:?build, check or test}" in
  build)
    build
    scripts/cuda-toolkit.sh libraries
    ;;
  check)
    with_cuda clippy --release --locked "${rooms[@]}" --all-targets -- --deny warnings
    build
    driverless
    with_cuda test --release --locked "${rooms[@]}" --lib --test emulated --test ptx
    ;;
  test)
    scripts/cuda-toolkit.sh libraries
    LD_LIBRARY_PATH=$PWD/target/cuda/lib:${LD_LIBRARY_PATH:-} \
      with_cuda test --release --locked "${rooms[@]}" --lib -- --include-ignored card::
    build
    target/release/talkie-worker-cuda verify --device cuda --allow-missing
    target/release/talkie-worker-cuda kernels
    ;;
  *) say "unknown task $1: build, check or test"; exit 2 ;;
esac
