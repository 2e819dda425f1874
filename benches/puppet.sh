#!/usr/bin/env bash
# Speed and memory of puppet, and what the same machine needs for the encoder alone, in one run. Markdown on standard output.
# Usage: puppet.sh [SECONDS] [LONG_SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
short=${1:-20} long=${2:-600}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
target/release/talkie bench puppet --seconds "$short" --json > "$work/short.json"
target/release/talkie bench puppet --seconds "$long" --json > "$work/long.json"

# the floor: x264 and AAC alone, on a still of the same size, with the same settings
for size in 512x512 1280x720; do
  /usr/bin/env python3 benches/child_cpu.py ffmpeg -nostdin -v error -y -f lavfi -i "testsrc2=s=$size:r=25:d=$short" \
    -i assets/speech.wav -t "$short" -pix_fmt yuv420p -c:v libx264 -preset veryfast -crf 20 -threads 1 -c:a aac "$work/floor.mp4" \
    > "$work/floor-$size"
done
version=$(/usr/bin/env python3 benches/child_cpu.py --best-of 20 target/release/talkie --version)
/usr/bin/env python3 benches/table.py "$work" "$short" "$long" "$version"
