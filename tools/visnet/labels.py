"""What the mouth ought to do, 100 times a second, from phoneme segments. `crates/speech/src/truth.rs` is the same in Rust."""

import numpy as np

from phones import VISEMES

FRAMES_PER_SECOND = 100
HEADS = ["jaw", "wide", "round", "close", "labiodental"]

# viseme: (jaw, wide, round) it asks for, and how strongly (jaw, lips), in the manner of Cohen and Massaro's dominance functions
TARGETS = {
    "sil": (0.00, 0.00, 0.00, 1.0, 1.00),
    "PP": (0.12, 0.00, 0.10, 1.2, 0.30),
    "FF": (0.18, 0.10, 0.00, 1.2, 0.60),
    "TH": (0.25, 0.10, 0.00, 0.6, 0.30),
    "DD": (0.22, 0.10, 0.00, 0.5, 0.15),
    "kk": (0.28, 0.00, 0.00, 0.3, 0.10),
    "CH": (0.15, 0.00, 0.70, 1.0, 1.00),
    "SS": (0.12, 0.45, 0.00, 1.2, 0.60),
    "RR": (0.25, 0.00, 0.50, 0.6, 0.70),
    "aa": (1.00, 0.15, 0.00, 1.2, 0.80),
    "E": (0.55, 0.45, 0.00, 1.0, 0.80),
    "I": (0.30, 0.75, 0.00, 1.0, 1.00),
    "O": (0.65, 0.00, 0.75, 1.1, 1.10),
    "U": (0.30, 0.00, 1.00, 1.0, 1.30),
}
# co-articulation, in frames: how far a phoneme reaches into its neighbours
SIGMA_JAW, SIGMA_LIPS, SIGMA_CLOSE, SIGMA_LABIODENTAL = 3.0, 5.0, 1.5, 2.0


def smooth(x, sigma):
    reach = int(3 * sigma)
    k = np.arange(-reach, reach + 1)
    h = np.exp(-0.5 * (k / sigma) ** 2)
    return np.convolve(np.pad(x, reach, mode="edge"), h / h.sum(), "valid")


def targets(pieces, seconds):
    """[(start s, end s, IPA, viseme)] -> (viseme index (n,), heads (n, 5)), n = floor(seconds * 100) + 1."""
    n = int(seconds * FRAMES_PER_SECOND) + 1
    viseme = np.zeros(n, np.int64)
    asked, weight = np.zeros((3, n)), np.full((3, n), 1e-6)
    close, labiodental = np.zeros(n), np.zeros(n)
    for start, end, _, name in pieces:
        first = round(start * FRAMES_PER_SECOND)
        span = slice(first, max(first + 1, round(end * FRAMES_PER_SECOND)))
        viseme[span] = VISEMES.index(name)
        jaw, wide, rounding, jaw_weight, lip_weight = TARGETS[name]
        for row, (target, strength) in enumerate(((jaw, jaw_weight), (wide, lip_weight), (rounding, lip_weight))):
            asked[row, span] += target * strength
            weight[row, span] += strength
        if name == "PP":
            close[span] = 1
        if name == "FF":
            labiodental[span] = 1
    heads = [smooth(a, s) / smooth(w, s) for a, w, s in zip(asked, weight, (SIGMA_JAW, SIGMA_LIPS, SIGMA_LIPS))]
    heads.append(np.clip(smooth(close, SIGMA_CLOSE) * 1.3, 0, 1))
    heads.append(np.clip(smooth(labiodental, SIGMA_LABIODENTAL) * 1.2, 0, 1))
    return viseme, np.stack(heads, 1).astype(np.float32)
