#!/usr/bin/env bash
# Formatting, lints, licences, then every test with its output kept short.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked --quiet -- --deny warnings
cargo deny --locked --log-level error check bans licenses sources
cargo build --release --locked --package app
cargo nextest run --workspace --locked --no-fail-fast
cargo test --workspace --locked --doc --quiet
