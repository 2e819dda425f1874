#!/usr/bin/env bash
# What a constant quantiser with fine key frames does for a background that stands still, against a constant rate factor: the sample portrait speaks
# for 40 s, kept nearly without loss, and is encoded by both. Markdown on standard output.
set -euo pipefail
cd "$(dirname "$0")/.."
talkie=${TALKIE_BIN:-target/release/talkie}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ffmpeg -nostdin -v error -stream_loop -1 -i assets/speech.wav -t 40 "$work/speech.wav"
"$talkie" generate --image assets/portrait.png --audio "$work/speech.wav" --size 512 --crf 0 --seed 1 --out "$work/render.mp4" --quiet

printf '| settings | KiB | CPU s | PSNR to the render, dB | background, dB |\n| --- | --- | --- | --- | --- |\n'
row() {  # row NAME OPTION... of x264
  local name=$1 take=$work/take.mp4 cpu psnr background
  shift
  cpu=$(python3 benches/child_cpu.py ffmpeg -nostdin -v error -y -i "$work/render.mp4" -c:a copy -c:v libx264 -preset veryfast -threads 1 "$@" "$take")
  psnr=$(ffmpeg -nostdin -i "$take" -i "$work/render.mp4" -lavfi psnr -f null - 2>&1 | sed -n 's/.*average:\([0-9.]*\).*/\1/p')
  background=$("$talkie" score "$take" --portrait assets/portrait.png --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["background_psnr_db"])')
  printf '| %s | %d | %.2f | %.1f | %.1f |\n' "$name" "$(($(stat -c %s "$take") / 1024))" "${cpu% *}" "$psnr" "$background"
}
row 'crf 20' -crf 20
row 'qp 22, ipratio 3' -qp 22 -x264-params ipratio=3
