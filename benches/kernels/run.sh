#!/usr/bin/env bash
# Installs the peer, builds our side, compares. Arguments go to run.py.
set -euo pipefail
cd "$(dirname "$0")/../.."
benches/kernels/peer.sh
cargo build --quiet --release --locked --package kernels --example bench
exec python3 benches/kernels/run.py "$@"
