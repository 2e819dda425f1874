# Every target does its own set-up; `make demo` and `make test` are all a newcomer needs.
.PHONY: demo test build lint deny quality bench bench-all bench-cycle bench-http bench-kernels bench-nets bench-pictures bench-pipeline bench-start bench-load musetalk-full svd-full infinitetalk-block cuda test-cuda verify-cuda clients faults soak fuzz dist visnet clean

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

## every table of docs/bench.md in one run, on standard output (slow: more than an hour, with nothing beside it)
bench-all: build
	@scripts/setup.sh clients
	@scripts/setup.sh quality
	@benches/all.sh

## edit-to-test time of the light half
bench-cycle:
	@scripts/setup.sh test
	@benches/cycle.sh

## real clients against a real server: Python, curl, Chromium, ffmpeg, S3, Schemathesis with many examples
clients: build
	@scripts/setup.sh clients
	@TALKIE_EXAMPLES=200 scripts/clients.sh clients

## faults, with 100 rounds of kill -9
faults: build
	@scripts/setup.sh clients
	@TALKIE_ROUNDS=100 scripts/clients.sh faults

## half an hour of live streams, jobs and webhooks: flat memory, nothing lost
soak: build
	@scripts/setup.sh clients
	@TALKIE_SOAK_MINUTES=$${TALKIE_SOAK_MINUTES:-30} scripts/clients.sh faults -k soak -s

## an hour of damaged files, requests and texts at every room that reads them; TALKIE_FUZZ_SECONDS of each
fuzz:
	@scripts/setup.sh test
	TALKIE_FUZZ_SECONDS=$${TALKIE_FUZZ_SECONDS:-450} cargo nextest run --workspace --locked -E 'test(mutated)' --success-output final

## HTTP: cost of a request against FastAPI, first frame, deadlines, start, memory; tables for docs/bench.md on standard output
bench-http: build
	@scripts/setup.sh clients
	@benches/http/run.sh

## MuseTalk at full size on seeded weights, through the command line and its dialect (slow: 4 GB of disk, some minutes)
musetalk-full: build
	@scripts/setup.sh full
	@scripts/musetalk-full.sh

## Stable Video Diffusion at full size on seeded weights, through its dialect and the command line (slow: 4.5 GB of disk, some minutes)
svd-full: build
	@scripts/setup.sh full
	@scripts/svd-full.sh

## full-size blocks of InfiniteTalk's DiT on seeded weights, streamed one after the other (slow: 4 GB of memory, some minutes)
infinitetalk-block:
	@scripts/setup.sh run
	cargo run --quiet --release --locked --package engine-infinitetalk --example dit-block -- 2 bf16 5 32 32

## CPU kernels against PyTorch, layer by layer; tables for docs/bench.md on standard output
bench-kernels:
	@scripts/setup.sh run
	@benches/kernels/run.sh

## whole nets against diffusers on PyTorch; the table for docs/bench.md on standard output
bench-nets:
	@scripts/setup.sh run
	@benches/nets/run.sh

## what MuseTalk does to pictures, against OpenCV and Pillow; the table for docs/bench.md on standard output
bench-pictures:
	@scripts/setup.sh run
	@benches/pictures/run.sh

## MuseTalk's whole pipeline at full size against the official one on PyTorch; the table for docs/bench.md on standard output (slow: ten minutes)
bench-pipeline: build
	@benches/pipeline/run.sh

## process start to a ready server, against the imports of the official program; the table for docs/bench.md on standard output
bench-start: build
	@benches/start/run.sh

## a weight file of 3.4 GB as tensors against a plain read of it
bench-load: build
	@benches/load.sh

## talkie-worker-cuda, for NVIDIA cards: the CUDA toolkit, the program, the libraries it loads (slow; needs no card)
cuda:
	@scripts/setup.sh run
	@scripts/cuda.sh build

## what is built with CUDA: lints, kernels, and what a machine without a driver is told (slow; needs no card)
test-cuda:
	@scripts/setup.sh run
	@scripts/cuda.sh check

## on a machine with a card: operations, golden cases, and the time of every kernel
verify-cuda:
	@scripts/setup.sh run
	@scripts/cuda.sh test

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
