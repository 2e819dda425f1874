"""Log-mel front end and running normalisation; `crates/speech/src/{mel,norm}.rs` are the same, streaming."""

import numpy as np
import torch
from scipy.signal import lfilter

RATE_HZ, HOP, WINDOW, FFT, BANDS = 16000, 160, 400, 512, 40
LOWEST_HZ, HIGHEST_HZ = 60, 7600
FLOOR = 1e-6
PRIOR, PRIOR_FRAMES, MEMORY_FRAMES, SCALE = -4.0, 50, 300, 4.0
LOUDNESS = 0.08  # mean RMS of the active 100 ms pieces


def _filterbank():
    def mel(hz):
        return 1127 * np.log(1 + hz / 700)

    edges = 700 * (np.exp(np.linspace(mel(LOWEST_HZ), mel(HIGHEST_HZ), BANDS + 2) / 1127) - 1)
    hz = np.arange(FFT // 2 + 1) * RATE_HZ / FFT
    rise = (hz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - hz) / (edges[2:] - edges[1:-1])[:, None]
    return torch.tensor(np.maximum(0, np.minimum(rise, fall)), dtype=torch.float32)


FILTERBANK = _filterbank()
HANN = torch.hann_window(WINDOW)


def logmel(samples):
    """(n,) f32 at 16 kHz -> (n // 160 + 1, 40); frame i is centred on sample 160 i."""
    spectrum = torch.stft(samples, FFT, HOP, WINDOW, HANN, center=True, pad_mode="constant", return_complex=True)
    return torch.log(FILTERBANK @ spectrum.abs() ** 2 + FLOOR).T


def normalise(x):
    """Takes away a causal running mean of each band: a prior worth 50 frames, then all so far, then an exponential memory of 300."""
    x = x.numpy().astype(np.float64)
    early = min(len(x), MEMORY_FRAMES - PRIOR_FRAMES)
    count = PRIOR_FRAMES + np.arange(1, early + 1)[:, None]
    mean = (PRIOR_FRAMES * PRIOR + np.cumsum(x[:early], 0)) / count
    out = np.empty_like(x)
    out[:early] = x[:early] - mean
    if len(x) > early:
        a = 1 / MEMORY_FRAMES
        late, _ = lfilter([a], [1, a - 1], x[early:], axis=0, zi=((1 - a) * mean[-1])[None])
        out[early:] = x[early:] - late
    return torch.from_numpy((out / SCALE).astype(np.float32))


def active_rms(samples):
    """Mean RMS of the 100 ms pieces within 20 dB of the loudest one."""
    pieces = samples[: len(samples) // 1600 * 1600].reshape(-1, 1600)
    rms = pieces.pow(2).mean(1).sqrt()
    return rms[rms > rms.max() * 0.1].mean() if len(rms) else samples.pow(2).mean().sqrt()
