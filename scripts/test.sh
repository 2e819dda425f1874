#!/usr/bin/env bash
# Formatting, lints, licences, the quality gate, then every test, with real clients last.
# One build serves it all, the development profile's: its checks of overflow and its assertions see what a release hides.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=0  # who builds once has no use for what makes the next build short
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked --quiet -- --deny warnings
cargo deny --locked --log-level error check bans licenses sources
cargo nextest run --workspace --locked --no-run
export TALKIE_BIN=$PWD/target/debug/talkie
"$TALKIE_BIN" verify --allow-missing
quality=0
scripts/quality.sh || quality=$?
cargo nextest run --workspace --locked --no-fail-fast
scripts/clients.sh everyday
exit $quality
