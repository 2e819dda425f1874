#!/usr/bin/env bash
# Installs the peer (PyTorch, diffusers, transformers), compares.
set -euo pipefail
cd "$(dirname "$0")/../.."
benches/kernels/peer.sh
python=target/peer-torch/bin/python
"$python" -c 'import diffusers, transformers' 2> /dev/null || "$python" -m pip install --quiet diffusers transformers
exec "$python" benches/start/run.py "$@"
