#!/usr/bin/env bash
# Builds the half of talkie that needs no nets, and makes out/demo.mp4 with it from the sample portrait and the sample speech.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --profile demo --no-default-features --locked --package app
mkdir -p out
started=$(date +%s.%N)
target/demo/talkie generate --image assets/portrait.png --audio assets/speech.wav --out out/demo.mp4 --overwrite
elapsed=$(echo "$started $(date +%s.%N)" | awk '{printf "%.1f", $2 - $1}')
printf '\nout/demo.mp4 is ready: %s/out/demo.mp4 (made in %s s)\n' "$PWD" "$elapsed"
