#!/usr/bin/env bash
# The quality gate: two minutes of held-out espeak-ng voices on the sample portrait, scored against phoneme truth.
# Usage: quality.sh [PORTRAIT...]   (default: the repository's own; TALKIE_BIN names another program)
set -euo pipefail
cd "$(dirname "$0")/.."
talkie=${TALKIE_BIN:-target/release/talkie}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tools/visnet/heldout.py "$work" >/dev/null
[ $# -gt 0 ] || set -- assets/portrait.png
for portrait in "$@"; do
  # the portrait at rest is the first picture; --crop face is the form in which faces are usually shown
  "$talkie" generate --image "$portrait" --audio "$work/speech.wav" --out "$work/take.mp4" \
    --crop face --seed 1 --overwrite --quiet
  echo "quality of $(basename "$portrait")"
  "$talkie" score "$work/take.mp4" --truth "$work/phonemes.json" --portrait "$portrait" --gate held-out
done
