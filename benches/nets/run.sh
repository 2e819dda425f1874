#!/usr/bin/env bash
# Installs the peer (PyTorch, diffusers, transformers), builds our side, compares. Arguments go to run.py.
set -euo pipefail
cd "$(dirname "$0")/../.."
benches/kernels/peer.sh
python=target/peer-torch/bin/python
"$python" -c 'import diffusers, transformers' 2> /dev/null || "$python" -m pip install --quiet diffusers transformers
cargo build --quiet --release --locked --package engine-musetalk --example musetalk-nets
cargo build --quiet --release --locked --package engine-infinitetalk --example infinitetalk-nets
cargo build --quiet --release --locked --package engine-svd --example svd-nets
exec "$python" benches/nets/run.py "$@"
