"""Trains VisNet on speech made afresh every round, and keeps the running average of its weights.

usage: train.py OUT.pt [ROUNDS]     (goes on where it was, if OUT.pt is there)
"""

import copy
import math
import os
import random
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

import corpus
import texts
from augment import in_a_room
from features import RATE_HZ, logmel, normalise
from labels import targets
from model import LOOK_AHEAD, VisNet
from phones import VISEMES, segments

SEED = 7
ROUNDS, MINUTES, PASSES = 36, 24, 4  # a round is this much new speech, gone through four times
BATCH, CHUNK = 16, 400  # chunks of 4 s
RATE, RATE_FLOOR, DECAY = 2.5e-3, 2e-5, 1e-3
AVERAGE = 0.998  # of the weights, a step
HEADS_WEIGHT = torch.tensor([4.0, 3.0, 3.0, 6.0, 5.0])
CLASS_WEIGHT = torch.ones(len(VISEMES))
CLASS_WEIGHT[VISEMES.index("PP")] = 1.5
CLASS_WEIGHT[VISEMES.index("FF")] = 1.5
CLASS_WEIGHT[VISEMES.index("sil")] = 0.8


def example(stream, sound, stretch):
    """-> features (t, 40), viseme (t,), heads (t, 5)."""
    x = normalise(logmel(sound))
    pieces = segments(stream.events, len(stream.samples), corpus.RATE_HZ)
    pieces = [(start * stretch, end * stretch, ipa, viseme) for start, end, ipa, viseme in pieces]
    y, p = targets(pieces, len(sound) / RATE_HZ)
    n = min(len(x), len(y))
    return x[:n], torch.from_numpy(y[:n]), torch.from_numpy(p[:n])


def round_of_chunks(number, chance, history):
    """All chunks of one round: [(x (CHUNK, 40), y, p)]."""
    said = corpus.streams(SEED * 1000 + number, MINUTES, texts.TRAIN_VOICES)
    chunks = []
    for stream in said:
        sound, stretch = in_a_room(stream, chance, said)
        x, y, p = example(stream, sound, stretch)
        if chance.random() < 0.3:  # a band of the spectrum is missing
            first = chance.randint(0, 34)
            x[:, first : first + chance.randint(1, 6)] = 0
        step = CHUNK - history - LOOK_AHEAD
        for at in range(chance.randint(0, 60), len(x) - CHUNK, step):
            chunks.append((x[at : at + CHUNK], y[at : at + CHUNK], p[at : at + CHUNK]))
    return chunks


def loss_of(net, batch, history):
    x, y, p = (torch.stack(part) for part in zip(*batch))
    out = net(x)[:, history + LOOK_AHEAD :]
    y, p = y[:, history:-LOOK_AHEAD], p[:, history:-LOOK_AHEAD]
    visemes = out[..., : len(VISEMES)].reshape(-1, len(VISEMES))
    named = F.cross_entropy(visemes, y.reshape(-1), weight=CLASS_WEIGHT, label_smoothing=0.03)
    shaped = F.binary_cross_entropy_with_logits(out[..., len(VISEMES) :], p, reduction="none")
    return named + (shaped.mean((0, 1)) * HEADS_WEIGHT).mean()


def train(out, rounds):
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    chance, net = random.Random(SEED), VisNet()
    average, history = copy.deepcopy(net), net.history()
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    began, first, steps = time.time(), 0, 0
    if os.path.exists(out):
        # also the generators: a run that was broken off ends as one that was not
        state = torch.load(out, weights_only=False)
        net.load_state_dict(state["net"]), average.load_state_dict(state["weights"]), optimiser.load_state_dict(state["optimiser"])
        first, steps = state["done"], state["steps"]
        chance.setstate(state["chance"]), torch.set_rng_state(state["torch"])
    else:
        hours = rounds * MINUTES / 60
        print(f"{sum(p.numel() for p in net.parameters())} parameters, {rounds} rounds, {hours:.1f} h of speech, {PASSES} passes each")
    for number in range(first, rounds):
        chunks = round_of_chunks(number, chance, history)
        made, total = time.time(), 0.0
        batches = []
        for _ in range(PASSES):
            chance.shuffle(chunks)
            batches += [chunks[i : i + BATCH] for i in range(0, len(chunks) - BATCH + 1, BATCH)]
        for i, batch in enumerate(batches):
            done = (number + i / len(batches)) / rounds
            for group in optimiser.param_groups:
                group["lr"] = RATE_FLOOR + RATE * 0.5 * (1 + math.cos(math.pi * done)) * min(1, (steps + 1) / 100)
            loss = loss_of(net, batch, history)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            steps, total = steps + 1, total + loss.item()
            keep = min(AVERAGE, steps / (steps + 10))
            with torch.no_grad():
                for kept, now in zip(average.parameters(), net.parameters()):
                    kept.lerp_(now, 1 - keep)
        print(f"round {number + 1}/{rounds} loss {total / len(batches):.3f} steps {steps}", end=" ")
        print(f"{time.time() - began:.0f} s, processor {time.process_time():.0f} s, last {time.time() - made:.0f} s", flush=True)
        state = {"weights": average.state_dict(), "dilations": net.dilations, "done": number + 1, "steps": steps}
        state |= {"net": net.state_dict(), "optimiser": optimiser.state_dict()}
        state |= {"chance": chance.getstate(), "torch": torch.get_rng_state()}
        torch.save(state, out + ".new")
        os.replace(out + ".new", out)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    train(sys.argv[1], int(sys.argv[2]) if len(sys.argv) == 3 else ROUNDS)
