#!/usr/bin/env bash
# Installs the peer (PyTorch, diffusers, transformers, OpenCV), seeds MuseTalk's weights at full size (4 GB), compares. Arguments go to run.py.
set -euo pipefail
cd "$(dirname "$0")/../.."
benches/kernels/peer.sh diffusers transformers opencv-python-headless pillow
weights=target/musetalk-seeded
if [ ! -e "$weights/ready" ]; then
	rm -rf "$weights"
	target/release/talkie models seed musetalk-v15 --out "$weights"
	touch "$weights/ready"
fi
exec target/peer-torch/bin/python benches/pipeline/run.py "$@"
