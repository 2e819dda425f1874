# Every target does its own set-up; `make demo` and `make test` are all a newcomer needs.
.PHONY: demo test build lint deny quality bench bench-cycle dist visnet clean

TALKIE := target/release/talkie

## a portrait speaks: out/demo.mp4
demo:
	@scripts/setup.sh run
	@scripts/demo.sh

## all set-up, all tests
test:
	@scripts/setup.sh test
	@scripts/test.sh

build:
	@scripts/setup.sh run
	cargo build --release --locked --package app

## formatting and clippy, warnings denied
lint:
	@scripts/setup.sh run
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- --deny warnings

## bans, licences and sources of everything we depend on
deny:
	@scripts/setup.sh deny
	cargo deny --locked check bans licenses sources

## the quality gate: two minutes of held-out voices, scored against phoneme truth
quality: build
	@scripts/setup.sh quality
	@scripts/quality.sh

## speed and memory; writes the tables of docs/bench.md to standard output
bench: build
	@scripts/setup.sh run
	@benches/puppet.sh

## edit-to-test time of the light half
bench-cycle:
	@scripts/setup.sh test
	@benches/cycle.sh

## dist/talkie-<version>-<target>.tar.gz: binary, licences, docs
dist: build
	@scripts/dist.sh

## trains VisNet anew, from nothing but espeak-ng (about half an hour)
visnet:
	@scripts/setup.sh visnet
	@tools/visnet/run.sh

clean:
	cargo clean
	rm -rf out dist
