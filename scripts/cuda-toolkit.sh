#!/usr/bin/env bash
# The CUDA 13.0 toolkit in target/cuda, from the wheels that NVIDIA publishes for pip. No root, no driver, no card needed.
# Usage: cuda-toolkit.sh build|libraries
#   build      what nvcc needs to compile (0.3 GB)
#   libraries  what a program that computes on a card loads at run time: cuBLAS, cuRAND, NVRTC, cuDNN (2 GB)
# 13.0 it is because newer ones emit PTX that a driver of the 580 series need not read.
set -euo pipefail

say() { printf 'cuda-toolkit: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

compiler=(
  'nvidia-cuda-nvcc==13.0.*' 'nvidia-cuda-crt==13.0.*' 'nvidia-nvvm==13.0.*' 'nvidia-cuda-cccl==13.0.*'
  'nvidia-cuda-runtime==13.0.*'
)
libraries=(
  'nvidia-cublas==13.0.*' 'nvidia-curand==10.4.0.*' 'nvidia-cuda-nvrtc==13.0.*' 'nvidia-cudnn-cu13==9.*'
)

python() {  # the virtual environment that holds the wheels
  [ "$(uname -sm)" = "Linux x86_64" ] || die "NVIDIA's wheels are used for Linux on x86_64 only, and this is $(uname -sm); install CUDA 13.0 and set NVCC, CUDA_HOME and LIBRARY_PATH"
  command -v python3 >/dev/null || die "python3 is missing; scripts/setup.sh run installs it"
  [ -x target/cuda/venv/bin/pip ] && return
  python3 -c 'import ensurepip' 2>/dev/null || die "python3 has no ensurepip; install python3-venv"
  python3 -m venv target/cuda/venv
}

wheels() {  # wheels NAME REQUIREMENT...: installs them once; the list is the stamp
  local stamp=target/cuda/$1.installed; shift
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$*" ] && return
  rm -f "$stamp"
  say "installing $*"
  target/cuda/venv/bin/pip install --quiet --disable-pip-version-check --no-deps "$@" ||
    die "pip could not install the wheels above; is there a package index that has them (pip config list)?"
  echo "$*" >"$stamp"
}

packages() { echo target/cuda/venv/lib/python3.*/site-packages/nvidia; }

compile_root() {  # the folders as nvcc and cudaforge look for them
  local home=$PWD/target/cuda/home toolkit
  toolkit=$PWD/$(packages)/cu13
  [ -x "$toolkit/bin/nvcc" ] || die "the wheels hold no nvcc in $toolkit/bin; remove target/cuda and run this again"
  rm -rf "$home"
  mkdir -p "$home/lib64"
  ln -s "$toolkit"/{bin,include,nvvm} "$home/"
  ln -s lib64 "$home/lib"
  ln -s "$toolkit"/lib/*.a "$home/lib64/"
  # the runtime goes into the program, so that it needs no library of CUDA to start
  echo "INPUT($toolkit/lib/libcudart_static.a -ldl -lpthread -lrt)" >"$home/lib64/libcudart.so"
  "$home/bin/nvcc" --version | grep -q 'release 13\.0' || die "nvcc does not run, or is not of CUDA 13.0: $home/bin/nvcc --version"
}

library_folder() {  # every library under the names that it is asked for by
  local folder=$PWD/target/cuda/lib file name
  rm -rf "$folder"
  mkdir -p "$folder"
  for file in "$PWD"/$(packages)/{cu13,cudnn}/lib/lib*.so*; do
    [ -e "$file" ] || continue
    name=$(basename "$file")
    ln -sf "$file" "$folder/$name"
    ln -sf "$name" "$folder/${name%%.so*}.so"
  done
  for name in libcublas libcublasLt libcurand libnvrtc libcudnn; do
    python3 -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "$folder/$name.so" ||
      die "$folder/$name.so cannot be loaded; remove target/cuda and run this again"
  done
}

cd "$(dirname "$0")/.."
mkdir -p target/cuda
case "${1:?build or libraries}" in
  build) python; wheels compiler "${compiler[@]}"; compile_root ;;
  libraries) python; wheels libraries "${libraries[@]}"; library_folder ;;
  *) die "unknown part $1: build or libraries" ;;
esac
