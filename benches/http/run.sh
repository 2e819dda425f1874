#!/usr/bin/env bash
# The HTTP benches on a release build. Usage: run.sh [options of run.py]
set -euo pipefail
cd "$(dirname "$0")/../.."
exec target/venv/bin/python benches/http/run.py "$@"
