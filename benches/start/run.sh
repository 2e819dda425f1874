#!/usr/bin/env bash
# Installs the peer (PyTorch, diffusers, transformers), compares.
set -euo pipefail
cd "$(dirname "$0")/../.."
benches/kernels/peer.sh diffusers transformers
exec target/peer-torch/bin/python benches/start/run.py "$@"
