#!/usr/bin/env bash
# Installs what a target needs and this machine lacks, and says so. Usage: setup.sh run|test|clients|deny|quality|visnet
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

cargo_install() {  # cargo install, sooner built than as fast as the tool could be: it runs for seconds
  CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    cargo install --locked --quiet "$@"
}

cargo_tool() {  # cargo_tool SUBCOMMAND CRATE
  cargo "$1" --version >/dev/null 2>&1 && return
  say "cargo $1 is missing: installing $2 (some minutes)"
  cargo_install "$2"
}

venv_can_be_made() {
  python3 -c 'import ensurepip' 2>/dev/null || packages /nonexistent python3-venv
}

client_packages() {  # the Python packages of tests/requirements.txt, in target/venv
  cmp -s tests/requirements.txt target/venv/requirements.txt && return
  say "the test clients' Python packages are missing or old: installing those of tests/requirements.txt into target/venv"
  venv_can_be_made
  python3 -m venv --clear target/venv
  target/venv/bin/pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
  cp tests/requirements.txt target/venv/
}

fal_sdk() {  # the fal SDK of tests/fal_python/requirements.txt, in target/fal_sdk
  cmp -s tests/fal_python/requirements.txt target/fal_sdk/requirements.txt && return
  say "the fal SDK is missing or old: installing it into target/fal_sdk (200 MB)"
  venv_can_be_made
  python3 -m venv --clear target/fal_sdk
  target/fal_sdk/bin/pip install --quiet --disable-pip-version-check --requirement tests/fal_python/requirements.txt
  cp tests/fal_python/requirements.txt target/fal_sdk/
}

fal_js() {  # fal's JavaScript client and the Node that it needs, in target/fal_js
  cmp -s tests/fal_js/package-lock.json target/fal_js/installed.json && return
  packages npm npm
  say "fal's JavaScript client is missing or old: installing it and Node 24 into target/fal_js (200 MB)"
  rm -rf target/fal_js
  mkdir -p target/fal_js
  cp tests/fal_js/package.json tests/fal_js/package-lock.json target/fal_js/
  npm ci --prefix target/fal_js --loglevel error --no-audit --no-fund >/dev/null
  target/fal_js/node_modules/.bin/node --version >/dev/null
  cp tests/fal_js/package-lock.json target/fal_js/installed.json
}

s3_server() {  # s3s-fs, an S3 server that checks signatures, in target/tools
  target/tools/bin/s3s-fs --version 2>/dev/null | grep -q ' 0\.14\.1$' && return
  say "s3s-fs is missing: installing it into target/tools (some minutes)"
  cargo_install --root target/tools --features binary --version 0.14.1 s3s-fs
}

clients() {
  packages espeak-ng espeak-ng
  packages curl curl
  packages chromium chromium
  packages wrk wrk
  packages faketime faketime
  packages openssl openssl
  packages /usr/lib/postgresql postgresql
  client_packages
  fal_sdk
  fal_js
  s3_server
}

cd "$(dirname "$0")/.."
rust
packages cc gcc libc6-dev
packages c++ g++
packages cmake cmake
packages make make
packages nasm nasm
packages ffmpeg ffmpeg
packages python3 python3
case "${1:?run, test, clients, full, deny, quality or visnet}" in
  run) ;;
  test) clients; cargo_tool nextest cargo-nextest; cargo_tool deny cargo-deny ;;
  clients) clients ;;
  full) packages curl curl; packages /usr/bin/time time ;;
  deny) cargo_tool deny cargo-deny ;;
  quality) packages espeak-ng espeak-ng ;;
  visnet)
    packages espeak-ng espeak-ng
    packages /usr/share/dict/words wamerican
    venv_can_be_made
    ;;
  *) say "unknown set-up $1"; exit 2 ;;
esac
