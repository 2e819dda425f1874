#!/usr/bin/env bash
# Installs the peer (PyTorch, diffusers, transformers), builds our side, compares. Arguments go to run.py.
set -euo pipefail
cd "$(dirname "$0")/../.."
benches/kernels/peer.sh diffusers transformers
cargo build --quiet --release --locked --package engine-musetalk --example musetalk-nets
cargo build --quiet --release --locked --package engine-infinitetalk --example infinitetalk-nets
cargo build --quiet --release --locked --package engine-svd --example svd-nets
exec target/peer-torch/bin/python benches/nets/run.py "$@"
