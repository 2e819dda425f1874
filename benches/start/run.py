"""From the start of a process to a server that is ready for InfiniteTalk: `talkie serve` with tiny seeded weights until /readyz says so, against a Python
process until it has imported what the official program imports and has the same nets, as tiny, in memory (diffusers' Wan modules and transformers' encoders
stand for the official ones). In turns in one run; prints the row of docs/bench.md ("Start") and ends with 1 if the limit is missed."""

import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TALKIE = os.environ.get("TALKIE_BIN") or str(ROOT / "target/release/talkie")
ROUNDS, LIMIT = 5, 10.0

PEER = """
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel, Wav2Vec2Config, Wav2Vec2Model
WanTransformer3DModel(num_attention_heads=2, attention_head_dim=128, in_channels=36, out_channels=16, text_dim=64, freq_dim=256, ffn_dim=512, num_layers=2, image_dim=64)
AutoencoderKLWan(base_dim=8)
CLIPVisionModel(CLIPVisionConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, patch_size=14))
UMT5EncoderModel(UMT5Config(vocab_size=600, d_model=64, d_ff=160, num_layers=2, num_heads=4, d_kv=16))
Wav2Vec2Model(Wav2Vec2Config(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, conv_dim=(32,) * 7))
print("ready", flush=True)
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def ours(weights, data):
    port = free_port()
    command = [TALKIE, "serve", "--data", data, "--conf", f"models.dir={weights}", "--only", "infinitetalk", "--port", f"infinitetalk={free_port()}", "--port", f"all={port}"]
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                    if answer.status == 200:
                        return time.monotonic() - begun
            except (urllib.error.URLError, OSError):
                pass
            if process.poll() is not None:
                raise SystemExit("talkie serve ended before it was ready")
            time.sleep(0.002)
    finally:
        process.terminate()
        process.wait()


def theirs():
    begun = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", PEER], stdout=subprocess.PIPE, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}) as process:
        if process.stdout.readline().strip() != "ready":
            raise SystemExit("the peer ended before it was ready")
        took = time.monotonic() - begun
        process.kill()
    return took


def main():
    with tempfile.TemporaryDirectory() as folder:
        weights = pathlib.Path(folder) / "models"
        subprocess.run([TALKIE, "models", "seed", "infinitetalk", "--scale", "tiny", "--out", weights], check=True, capture_output=True)
        # both once before: files in the system's cache, the record's tables made
        rounds = [(ours(weights, pathlib.Path(folder) / "data"), theirs()) for _ in range(ROUNDS + 1)][1:]
    best = [min(column) for column in zip(*rounds)]
    print("| process start to ready, tiny weights; s | ours | PyTorch, diffusers, transformers | ratio | limit |\n| --- | --- | --- | --- | --- |")
    print(f"| InfiniteTalk | {best[0]:.3f} | {best[1]:.2f} | {best[1] / best[0]:.1f} | {LIMIT:g} |")
    raise SystemExit(0 if best[1] / best[0] >= LIMIT else 1)


main()
