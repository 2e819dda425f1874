#!/usr/bin/env bash
# How long a large PyTorch file takes to load, against a plain read of it: MuseTalk's UNet, 3.4 GB, seeded. Needs 8 GB of memory.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(scripts/seeded.sh musetalk-v15)
cargo build --quiet --release --locked --package layers --example load
find "$folder" -name '*.pth' -size +1G -exec target/release/examples/load {} \;
