#!/usr/bin/env bash
# Every table of docs/bench.md in one run, with the machine and the versions of what is compared. Markdown on standard output. Everything is built before anything
# is measured, and nothing else should run beside it: more than an hour. A bench that misses a limit does not end the run; what ended so is told at the end.
set -euo pipefail
cd "$(dirname "$0")/.."

benches/kernels/peer.sh diffusers transformers opencv-python-headless pillow
peer=target/peer-torch/bin/python
cargo build --quiet --release --locked --package kernels --example bench
cargo build --quiet --release --locked --package layers --example load
cargo build --quiet --release --locked --package engine-musetalk --example musetalk-nets --example musetalk-pictures
cargo build --quiet --release --locked --package engine-infinitetalk --example infinitetalk-nets --example dit-block
cargo build --quiet --release --locked --package engine-svd --example svd-nets
cargo build --quiet --release --locked --package engine-puppet --example sheet
scripts/seeded.sh musetalk-v15 > /dev/null

versions() { "$1" -m pip list --format freeze | grep -E "^($2)==" | paste -s -d ' '; }
echo "commit $(git describe --always --dirty), $(date -u +%F)"
echo "$(nproc) cores of $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), $(free -g | awk '/Mem/ {print $2}') GiB of memory"
echo "$(. /etc/os-release && echo "$PRETTY_NAME"), $(ffmpeg -version | head -1 | cut -d' ' -f1-3), $(versions "$peer" 'torch|diffusers|transformers|opencv-python-headless|pillow')"
echo "$(versions target/venv/bin/python 'fastapi|uvicorn')"

missed=
measure() {  # measure NAME COMMAND...
  printf '\n## %s (load %s, %s)\n\n' "$1" "$(cut -d' ' -f1 /proc/loadavg)" "$(date -u +%H:%M)"
  shift
  "$@" || missed="$missed; $* ($?)"
}
measure puppet benches/puppet.sh
measure 'instruction sets' benches/levels.sh
measure 'a background that stands still' benches/still.sh
measure 'quality on held-out voices' scripts/quality.sh
measure HTTP benches/http/run.sh
measure start benches/start/run.sh
measure pictures benches/pictures/run.sh
measure kernels benches/kernels/run.sh --turns 15 --peers f32,cl
measure 'kernels, fast profile' benches/kernels/run.sh --turns 9 --profile fast --peers f32,bf16
measure nets benches/nets/run.sh --turns 2 --peers f32
measure 'nets, fast profile' benches/nets/run.sh --turns 2 --profile fast --peers f32,bf16
measure 'two blocks of the DiT at full width, streamed' target/release/examples/dit-block 2 bf16 5 32 32
measure loading benches/load.sh
measure pipeline benches/pipeline/run.sh
printf '\nended otherwise than with 0: %s\n' "${missed:-none}"
