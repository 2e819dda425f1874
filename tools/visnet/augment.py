"""A clean stream becomes a voice in a room: faster or slower, another throat, echo, microphone, noise, level, clipping."""

import math

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len

import corpus
from features import RATE_HZ, active_rms, LOUDNESS


def resampled_spectrum(samples, speed):
    """-> (spectrum for an inverse FFT of length m at 16 kHz, m, samples of sound, seconds out / seconds in)."""
    n = next_fast_len(len(samples) + 2000, real=True)
    m = next_fast_len(round(n * RATE_HZ / corpus.RATE_HZ / speed), real=True)
    full = torch.fft.rfft(torch.from_numpy(samples), n) * (m / n)
    spectrum = torch.zeros(m // 2 + 1, dtype=full.dtype)
    bins = min(len(full), len(spectrum))
    spectrum[:bins] = full[:bins]
    stretch = (m / RATE_HZ) / (n / corpus.RATE_HZ)
    return spectrum, m, int(len(samples) * m / n), stretch


def plain(samples):
    """Only the sample rate and the level change."""
    spectrum, m, length, stretch = resampled_spectrum(samples, 1.0)
    sound = torch.fft.irfft(spectrum, m)[:length]
    return sound * (LOUDNESS / (active_rms(sound) + 1e-6)), stretch


def _echo(chance, m):
    length = int(chance.uniform(0.05, 0.4) * RATE_HZ)
    t = torch.arange(length) / length
    h = torch.randn(length) * torch.exp(-6.9 * t) * chance.uniform(0.02, 0.15)
    h[0] = 1
    return torch.fft.rfft(h, m)


def _microphone(chance, bins):
    curve = torch.randn(1, 1, chance.randint(3, 10)) * chance.uniform(0, 8)
    db = F.interpolate(curve, size=bins, mode="linear", align_corners=True)[0, 0]
    hz = torch.linspace(0, RATE_HZ / 2, bins)
    db = db - chance.uniform(-3, 5) * hz / 4000
    if chance.random() < 0.2:
        db = db - 60 * (hz > chance.uniform(3300, 6500))
    return 10 ** (db / 20)


def _noise(chance, length, others):
    kind = chance.random()
    if kind < 0.15:  # somebody else, quieter
        other = plain(chance.choice(others).samples)[0]
        return other.repeat(length // len(other) + 1)[:length], 14.0
    white = torch.randn(length)
    if kind < 0.45:
        return white, 5.0
    m = next_fast_len(length, real=True)
    spectrum = torch.fft.rfft(white, m)
    return torch.fft.irfft(spectrum / (torch.arange(len(spectrum)) + 1.0) ** chance.uniform(0.2, 1.0), m)[:length], 5.0


def in_a_room(stream, chance, others):
    """-> (samples at 16 kHz, seconds out / seconds in). Draws from `chance` and from torch's generator."""
    speed = chance.uniform(0.82, 1.22) if chance.random() < 0.8 else 1.0
    spectrum, m, length, stretch = resampled_spectrum(stream.samples, speed)
    if chance.random() < 0.6:
        spectrum = spectrum * _echo(chance, m)
    if chance.random() < 0.8:
        spectrum = spectrum * _microphone(chance, len(spectrum))
    sound = torch.fft.irfft(spectrum, m)[:length]
    rms = active_rms(sound) + 1e-6
    if chance.random() < 0.85:
        noise, least = _noise(chance, length, others)
        snr = max(least, chance.uniform(5, 45))
        sound = sound + noise * (rms / (noise.pow(2).mean().sqrt() + 1e-6) * 10 ** (-snr / 20))
    sound = sound * (LOUDNESS / rms * 10 ** (chance.uniform(-12, 8) / 20))
    if chance.random() < 0.15:
        sound = torch.tanh(sound * chance.uniform(1, 5))
    assert math.isfinite(float(sound.abs().max()))
    return sound, stretch
