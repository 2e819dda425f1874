#!/usr/bin/env bash
# Installs the peer (OpenCV and Pillow), builds our side, compares.
set -euo pipefail
cd "$(dirname "$0")/../.."
peer=target/peer-pictures
[ -x $peer/bin/python ] || python3 -m venv $peer
"$peer/bin/python" -c 'import cv2, PIL' 2> /dev/null ||
    "$peer/bin/python" -m pip install --quiet opencv-python-headless==4.11.0.86 pillow==13.0.0
cargo build --quiet --release --locked --package engine-musetalk --example musetalk-pictures
exec "$peer/bin/python" benches/pictures/run.py
