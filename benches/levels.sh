#!/usr/bin/env bash
# What puppet's drawing costs with each instruction set, on the sample portrait in full motion, one thread. Markdown on standard output.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --release --locked --package engine-puppet --example sheet
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '| picture | instructions | ms CPU a frame |\n| --- | --- | --- |\n'
for size in 512x640 1024x1280; do
  ffmpeg -nostdin -v error -y -i assets/portrait.png -vf "scale=${size/x/:}" -pix_fmt yuv420p -f rawvideo "$work/portrait.yuv"
  target/release/examples/sheet "$work/portrait.yuv" "$size" "$work/poses.yuv" 2>&1 \
    | sed -n "s/^Level(\([A-Za-z0-9]*\)): \([0-9.]*\) ms of CPU a frame.*/| $size | \1 | \2 |/p"
done
