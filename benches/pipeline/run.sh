#!/usr/bin/env bash
# Installs the peer (PyTorch, diffusers, transformers, OpenCV), seeds MuseTalk's weights at full size (4 GB), compares. Arguments go to run.py.
set -euo pipefail
cd "$(dirname "$0")/../.."
benches/kernels/peer.sh diffusers transformers opencv-python-headless pillow
exec target/peer-torch/bin/python benches/pipeline/run.py --seeded "$(scripts/seeded.sh musetalk-v15)" "$@"
