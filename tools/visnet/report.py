"""Measures files of weights on the same held-out speech and prints one table.

usage: report.py NAME=WEIGHTS.bin ...     (the table, in Markdown, goes to standard output)
"""

import hashlib
import random
import sys

import numpy as np
import torch
import torch.nn.functional as F

import blob
import corpus
import texts
from augment import in_a_room, plain
from features import RATE_HZ, logmel, normalise
from labels import FRAMES_PER_SECOND, HEADS, targets
from model import LOOK_AHEAD
from phones import LIPS_PART, VISEMES, segments

SEED = 99
UTTERANCE_MINUTES, STREAM_MINUTES = 10, 10
CLOSED = 0.5  # of close or P(PP)
NEAR = 2  # frames by which a closure may miss its place


def sounds():
    """-> {condition: [(stream, samples at 16 kHz, stretch)]}."""
    torch.manual_seed(SEED)
    chance = random.Random(SEED)
    short = corpus.streams(SEED, UTTERANCE_MINUTES, texts.HELD_OUT_VOICES, seconds=0)
    long = corpus.streams(SEED + 1, STREAM_MINUTES, texts.HELD_OUT_VOICES)
    return {
        "clean, single utterances": [(s, *plain(s.samples)) for s in short],
        "in a room, 15 s with pauses": [(s, *in_a_room(s, chance, long)) for s in long],
    }


def answer(net, sound):
    """-> (probabilities (t, 14), heads (t, 5)), frame i of the answer belonging to frame i of the sound."""
    x = F.pad(normalise(logmel(sound)), (0, 0, 0, LOOK_AHEAD))
    with torch.no_grad():
        out = net(x[None])[0][LOOK_AHEAD:]
    return torch.softmax(out[:, : len(VISEMES)], 1).numpy(), torch.sigmoid(out[:, len(VISEMES) :]).numpy()


def runs(mask):
    """[(first, last + 1)] of the stretches where `mask` holds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return list(zip(edges[::2], edges[1::2]))


def lag_ms(heard, truth):
    """Where the correlation of two 100 Hz series peaks, by a parabola; positive: `heard` is late."""
    reach = 10
    r = [np.corrcoef(heard[reach + k : len(heard) - reach + k], truth[reach:-reach])[0, 1] for k in range(-reach, reach + 1)]
    k = int(np.argmax(r))
    bend = 0.5 * (r[k - 1] - r[k + 1]) / (r[k - 1] - 2 * r[k] + r[k + 1]) if 0 < k < 2 * reach else 0.0
    return (k - reach + bend) * 1000 / FRAMES_PER_SECOND


def measure(net, examples, lips_part):
    confusion = np.zeros((len(VISEMES), len(VISEMES)), int)
    heard_heads, true_heads, hits, closures, right, claimed = [], [], 0, 0, 0, 0
    for stream, sound, stretch in examples:
        pieces = segments(stream.events, len(stream.samples), corpus.RATE_HZ, lips_part)
        pieces = [(a * stretch, b * stretch, ipa, viseme) for a, b, ipa, viseme in pieces]
        y, p = targets(pieces, len(sound) / RATE_HZ)
        probabilities, heads = answer(net, sound)
        n = min(len(y), len(heads))
        y, p, probabilities, heads = y[:n], p[:n], probabilities[:n], heads[:n]
        np.add.at(confusion, (y, probabilities.argmax(1)), 1)
        heard_heads.append(heads)
        true_heads.append(p)
        pp = VISEMES.index("PP")
        closed, closure = np.maximum(heads[:, 3], probabilities[:, pp]) > CLOSED, y == pp
        for a, b in runs(closure):
            closures += 1
            hits += closed[a:b].any()
        for a, b in runs(closed):
            claimed += 1
            right += closure[max(0, a - NEAR) : b + NEAR].any()
    heard, truth = np.concatenate(heard_heads), np.concatenate(true_heads)
    recall = np.diag(confusion) / np.maximum(1, confusion.sum(1))
    precision = np.diag(confusion) / np.maximum(1, confusion.sum(0))
    row = {"viseme accuracy": np.trace(confusion) / confusion.sum()}
    row |= {f"{name} r": np.corrcoef(heard[:, i], truth[:, i])[0, 1] for i, name in enumerate(HEADS)}
    for name in ("PP", "FF", "sil"):
        row |= {f"{name} recall": recall[VISEMES.index(name)], f"{name} precision": precision[VISEMES.index(name)]}
    row |= {"bilabial events hit": hits / closures, "bilabial events precision": right / claimed}
    row["jaw lag, ms"] = lag_ms(heard[:, 0], truth[:, 0])
    return row, closures, recall, precision


def main(arguments):
    torch.set_num_threads(1)
    nets = [(name, path, blob.read(path)) for name, path in (a.split("=", 1) for a in arguments)]
    print("| weights | parameters | bytes | sha256 |\n|---|---|---|---|")
    for name, path, net in nets:
        data = open(path, "rb").read()
        count = sum(p.numel() for p in net.parameters())
        print(f"| {name} | {count} | {len(data)} | `{hashlib.sha256(data).hexdigest()}` |")
    examples = sounds()
    rules = {"": LIPS_PART, ", /p/ ending at the next phoneme (labels of visnet-0)": None}
    for condition, given in examples.items():
        for rule, lips_part in rules.items():
            rows = [(name, *measure(net, given, lips_part)) for name, _, net in nets]
            minutes = sum(len(sound) for _, sound, _ in given) / RATE_HZ / 60
            print(f"\n**{condition}{rule}** ({minutes:.1f} min, {rows[0][2]} bilabials)\n")
            print("| | " + " | ".join(name for name, *_ in rows) + " |\n|---" + "|---" * len(rows) + "|")
            for key in rows[0][1]:
                print(f"| {key} | " + " | ".join(f"{row[key]:.3f}" for _, row, *_ in rows) + " |")
            if not rule:
                for i, viseme in enumerate(VISEMES):
                    cells = [f"{recall[i]:.2f} / {precision[i]:.2f}" for _, _, _, recall, precision in rows]
                    print(f"| {viseme} recall / precision | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(sys.argv[1:])
