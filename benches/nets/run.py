"""Whole nets against diffusers and transformers on PyTorch, in turns (ours, peer, ours, peer, ...) in one run; CPU time, the best of all turns. Where
both sides have the same seeded weights their outputs are compared. Prints the table of docs/bench.md ("Nets")."""

import argparse
import os
import pathlib
import sys
import tempfile

import numpy as np

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1])]
from side import Side  # noqa: E402

# what it is, ours (example of a crate), the job, whether the outputs are comparable
NETS = [
    ("SD VAE decode, 256x256", "engine-musetalk", "vae_decode 32", True),
    ("SD VAE encode, 256x256", "engine-musetalk", "vae_encode 256", True),
    ("MuseTalk UNet 32x32, batch 4", "engine-musetalk", "unet 4 32", True),
    ("MuseTalk UNet 32x32, batch 1", "engine-musetalk", "unet 1 32", True),
    ("Wan VAE decode, 1 + 4 frames of 256x256", "engine-infinitetalk", "wan_decode 2 32", False),
    ("Wan VAE encode, 1 + 4 frames of 256x256", "engine-infinitetalk", "wan_encode 5 256", False),
    ("Wan DiT, a block of width 1024, 2304 tokens", "engine-infinitetalk", "dit 1 1024 4 48", True),
    ("umT5-XXL, 2 layers, 256 tokens", "engine-infinitetalk", "umt5 2 256", True),
    ("CLIP ViT-H/14, 8 layers", "engine-infinitetalk", "clip 8 224", True),
    ("wav2vec 2.0 base, 10 s", "engine-infinitetalk", "wav2vec2 10", True),
    ("SVD UNet, 8 frames of 320x512", "engine-svd", "svd_unet 1 8 40 64", True),
    ("SVD temporal decode, 4 frames of 320x512", "engine-svd", "svd_decode 4 40 64", True),
]
# of which two do not fit into memory at once: each side has all its turns, which take minutes, then the next side starts
LARGE = ("svd_unet", "svd_decode")


def in_turns(commands, net, turns, folder):
    """Times of each side, whose last outputs are written to the folder under its number."""
    sides = [Side(command) for command in commands]
    for side in sides:
        side.ask(net)
    times = [[] for _ in sides]
    for _ in range(turns):
        for column, side in zip(times, sides):
            column.append(side.best(1))
    for i, side in enumerate(sides):
        side.ask(f"out {os.path.join(folder, str(i))}")
        side.close()
    return times


def alone(command, net, turns, out):
    side = Side(command)
    side.ask(net)
    times = [side.best(1) for _ in range(turns)]
    side.ask(f"out {out}")
    side.close()
    return times


def distance(folder):
    """Relative L2 of the last outputs of our side and the first peer."""
    a, b = (np.fromfile(os.path.join(folder, str(i)), np.float32).astype(np.float64) for i in (0, 1))
    if len(a) != len(b):
        raise SystemExit(f"{len(a)} values are not {len(b)}")
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--profile", default="strict", choices=["strict", "fast"])
    parser.add_argument("--peers", default="f32,bf16", help="some of f32, cl (f32, channels last), bf16 (channels last)")
    parser.add_argument("--only", default="", help="a part of a net's name")
    options = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {options.threads} threads each\n")
    kinds = options.peers.split(",")
    heads = [column for kind in kinds for column in (f"PyTorch {kind}, ms", "ratio")]
    print(f"| net | ours ({options.profile}), ms | {' | '.join(heads)} | from {kinds[0]}'s output, rel L2 |")
    print("| --- | --- |" + " --- | --- |" * len(kinds) + " --- |")
    for title, crate, net, comparable in NETS:
        if options.only not in title:
            continue
        # one after the other, so that a net's memory is given back before the next one is measured
        target = os.environ.get("CARGO_TARGET_DIR", "target")
        name = crate.replace("engine-", "") + "-nets"
        python = "target/peer-torch/bin/python"
        commands = [[f"{target}/release/examples/{name}", str(options.threads), options.profile]]
        commands += [[python, "benches/nets/peer.py", str(options.threads), kind] for kind in kinds]
        with tempfile.TemporaryDirectory() as folder:
            if net.split()[0] in LARGE:
                times = [alone(command, net, options.turns, os.path.join(folder, str(i))) for i, command in enumerate(commands)]
            else:
                times = in_turns(commands, net, options.turns, folder)
            apart = f"{distance(folder):.1e}" if comparable else "other weights"
        own, *others = [min(column) for column in times]
        cells = " | ".join(f"{other:.0f} | {other / own:.2f}" for other in others)
        print(f"| {title} | {own:.0f} | {cells} | {apart} |", flush=True)


if __name__ == "__main__":
    main()
