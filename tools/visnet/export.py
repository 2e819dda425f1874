"""Weights of a training run -> the embedded file and the fixtures of the Rust tests.

usage: export.py NET.pt NAME ASSETS_DIR FIXTURE_DIR     (NAME: visnet-1, ...)
"""

import hashlib
import os
import sys

import numpy as np
import torch

import blob
from features import RATE_HZ, logmel, normalise
from labels import targets
from phones import VISEMES

ROWS = 160


def probe_sound():
    """One second that needs no random numbers and no file: a falling chirp, a burst, silence, a buzz."""
    t = np.arange(RATE_HZ) / RATE_HZ
    sound = 0.3 * np.sin(2 * np.pi * (3000 * t - 1200 * t * t))
    sound[6000:9000] = 0.0
    sound[9000:] = 0.2 * np.sign(np.sin(2 * np.pi * 123.0 * t[9000:]))
    return torch.from_numpy(sound.astype(np.float32))


def save(path, *tensors):
    np.concatenate([np.asarray(x, "<f4").ravel() for x in tensors]).tofile(path)


def truth_fixture(path):
    """Every viseme once, of uneven lengths, and the targets made of them: `start end viseme` lines, then rows of six numbers."""
    pieces, at = [], 0.0
    for i, name in enumerate(VISEMES * 2):
        length = (0.043, 0.091, 0.155, 0.02)[i % 4] + 0.003 * i
        pieces.append((round(at, 5), round(at + length, 5), "", name))
        at += length
    viseme, heads = targets(pieces, at)
    with open(path, "w", encoding="utf8") as out:
        for start, end, _, name in pieces:
            print(f"{start}\t{end}\t{name}", file=out)
        for y, row in zip(viseme, heads):
            print("\t".join([VISEMES[y]] + [f"{v:.5f}" for v in row]), file=out)


def main(trained, name, assets, fixtures):
    state = torch.load(trained, weights_only=False)
    weights = os.path.join(assets, "visnet.bin")
    blob.write(weights, state["weights"], state["dilations"])
    with open(weights, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    for ending, text in (("name", name), ("sha256", digest)):
        with open(os.path.join(assets, "visnet." + ending), "w", encoding="utf8") as out:
            print(text, file=out)
    net = blob.read(weights)
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((ROWS, 40)).astype(np.float32))
    with torch.no_grad():
        y = net(x[None])[0]
    os.makedirs(fixtures, exist_ok=True)
    save(os.path.join(fixtures, "visnet.f32"), x, y)
    rows = logmel(probe_sound())
    save(os.path.join(fixtures, "mel.f32"), rows, normalise(rows))
    truth_fixture(os.path.join(fixtures, "truth.tsv"))
    print(f"{name}: {os.path.getsize(weights)} bytes, {sum(p.numel() for p in net.parameters())} parameters")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
