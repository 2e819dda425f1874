#!/usr/bin/env bash
# Installs what a target needs and this machine lacks, and says so. Usage: setup.sh run|test|deny|quality|visnet
set -euo pipefail

say() { printf 'setup: %s\n' "$*" >&2; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else say "cannot install without root or sudo; please run: $*"; exit 1
  fi
}

updated=
packages() {  # packages PROGRAM-OR-FILE PACKAGE...: installs the packages unless it is there
  local program=$1; shift
  case $program in
    /*) [ -e "$program" ] && return ;;
    *) command -v "$program" >/dev/null && return ;;
  esac
  if ! command -v apt-get >/dev/null; then
    say "$program is missing and this is not Debian or Ubuntu; please install: $*"; exit 1
  fi
  say "$program is missing: installing $*"
  if [ -z "$updated" ]; then as_root apt-get update -qq; updated=1; fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

rust() {
  command -v cargo >/dev/null && return
  say "Rust is missing; install it from https://rustup.rs and run this again"; exit 1
}

cargo_tool() {  # cargo_tool SUBCOMMAND CRATE
  cargo "$1" --version >/dev/null 2>&1 && return
  say "cargo $1 is missing: installing $2 (some minutes)"
  cargo install --locked --quiet "$2"
}

rust
packages cc gcc libc6-dev
packages ffmpeg ffmpeg
packages python3 python3
case "${1:?run, test, deny, quality or visnet}" in
  run) ;;
  test) packages espeak-ng espeak-ng; cargo_tool nextest cargo-nextest; cargo_tool deny cargo-deny ;;
  deny) cargo_tool deny cargo-deny ;;
  quality) packages espeak-ng espeak-ng ;;
  visnet)
    packages espeak-ng espeak-ng
    packages /usr/share/dict/words wamerican
    python3 -c 'import ensurepip' 2>/dev/null || packages /nonexistent python3-venv
    ;;
  *) say "unknown set-up $1"; exit 2 ;;
esac
