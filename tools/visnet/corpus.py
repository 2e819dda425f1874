"""Streams of speech for training and measuring: one voice says some things, with pauses. Made by espeak-ng on the spot, from a seed."""

import random
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

import texts
from espeak import Espeak

WORD_LIST = "/usr/share/dict/words"
ESPEAK = Espeak()
RATE_HZ = ESPEAK.rate_hz


@dataclass
class Stream:
    voice: str
    samples: np.ndarray  # f32 at RATE_HZ
    events: list  # [(first sample, IPA; "" is a pause)]


def _words():
    with open(WORD_LIST, encoding="utf8") as lines:
        words = [w.strip() for w in lines]
    return [w for w in words if w.isascii() and w.isalpha() and w[0].islower() and 2 < len(w) < 11]


WORDS = _words()


def _sentence(chance):
    out = []
    for _ in range(chance.randint(4, 12)):
        word = chance.choice(texts.FUNCTION_WORDS) if chance.random() < 0.5 else chance.choice(WORDS)
        out.append(word + ("," if chance.random() < 0.07 else ""))
    return " ".join(out) + chance.choice("..?!")


def _phoneme_string(chance):
    """Nonsense in espeak-ng's own phoneme letters, rich in p b m f v."""
    out = []
    for _ in range(chance.randint(3, 6)):
        word = ""
        for i in range(chance.randint(1, 3)):
            onset = chance.choice(texts.CONSONANTS if chance.random() < 0.55 else texts.LABIALS)
            coda = chance.choice(texts.CONSONANTS) if chance.random() < 0.4 else ""
            word += ("n" if onset == "N" else onset) + ("'" if i == 0 else "") + chance.choice(texts.VOWELS) + coda
        out.append(word)
    return "[[" + " ".join(out) + "]]"


def _utterance(chance, voice):
    kind = chance.random()
    if kind < 0.58:
        language, text = chance.choice(texts.ENGLISH), _sentence(chance)
    elif kind < 0.80:
        language, text = "en-us", _phoneme_string(chance)
    else:
        language = chance.choice(list(texts.OTHER_LANGUAGES))
        text = chance.choice(texts.OTHER_LANGUAGES[language])
    name = language + ("+" + voice if voice else "")
    said = ESPEAK.say(text, name, chance.randint(120, 230), chance.randint(10, 95), chance.randint(20, 90))
    if said is None:
        raise RuntimeError(f"espeak-ng has no voice {name}")
    samples, phonemes = said
    return np.array(samples, np.float32) / 32768, phonemes


def _stream(chance, voice, seconds):
    def pause():
        long = chance.random() < 0.08
        return np.zeros(int(RATE_HZ * (chance.uniform(1.0, 4.0) if long else chance.uniform(0.05, 0.7))), np.float32)

    parts, events = [pause()], [(0, "")]
    length = len(parts[0])
    while len(parts) == 1 or length < seconds * RATE_HZ:
        samples, phonemes = _utterance(chance, voice)
        if len(samples) < 0.3 * RATE_HZ or len(phonemes) < 3:
            continue
        events += [(length + first, ipa) for first, ipa in phonemes] + [(length + len(samples), "")]
        parts += [samples, pause()]
        length += len(parts[-2]) + len(parts[-1])
    return Stream(voice, np.concatenate(parts), events)


def _streams_here(seed, minutes, voices, seconds):
    chance, left = random.Random(seed), minutes * 60.0
    out = []
    while left > 0:
        out.append(_stream(chance, chance.choice(voices), seconds))
        left -= len(out[-1].samples) / RATE_HZ
    return out


def streams(seed, minutes, voices, seconds=15):
    """`minutes` of streams of about `seconds`; seconds=0 gives single utterances.

    Made in a process of its own: espeak-ng 1.51 now and then crashes on a text (the same one every time). Then a neighbouring seed is taken.
    """
    for attempt in range(10):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            try:
                return pool.submit(_streams_here, seed + attempt * 1_000_000, minutes, voices, seconds).result()
            except BrokenProcessPool:
                print(f"espeak-ng crashed on seed {seed + attempt * 1_000_000}", flush=True)
    raise RuntimeError("espeak-ng crashed ten times; is its version older than 1.50?")
