#!/usr/bin/env bash
# Time from an edit in each room of the light half to its tests' verdict, after a warm build.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo nextest run --workspace --no-run 2>/dev/null
printf '| edited room | its own tests, s | everything built again, s |\n| --- | --- | --- |\n'
for room in contract media store jobs face speech engine-puppet score app; do
  file=crates/$room/src/$([ "$room" = app ] && echo main || echo lib).rs
  touch "$file"
  begun=$(date +%s.%N)
  cargo nextest run -p "$room" --no-tests pass >/dev/null 2>&1
  own=$(date +%s.%N)
  touch "$file"
  again=$(date +%s.%N)
  cargo build --workspace --all-targets --quiet
  built=$(date +%s.%N)
  echo "$room $begun $own $again $built" | awk '{printf "| %s | %.1f | %.1f |\n", $1, $3 - $2, $5 - $4}'
done
