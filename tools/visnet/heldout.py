#!/usr/bin/env python3
"""The quality set: speech by voices VisNet never heard, with the truth of what the lips do. Standard library and libespeak-ng only.

usage: heldout.py OUT_DIR     writes OUT_DIR/speech.wav (22 050 Hz, mono, 16 bit) and OUT_DIR/phonemes.json (see README.md)
"""

import array
import json
import os
import random
import sys
import wave

from espeak import Espeak
from phones import segments
from texts import HELD_OUT_VOICES, QUALITY_SENTENCES

SEED = 1
LEAD_IN = 0.4  # s of silence at the start
LOUDNESS = 0.08  # RMS of an utterance; the voices differ by 15 dB otherwise
PEAK = 0.95


def levelled(sound):
    power = sum(x * x for x in sound) / max(1, len(sound))
    loudest = max(1, max(abs(x) for x in sound))
    gain = min(LOUDNESS * 32768 / max(1.0, power**0.5), PEAK * 32767 / loudest)
    return array.array("h", (int(x * gain) for x in sound))


def make():
    """-> (rate, samples, [(start s, end s, IPA, viseme)])."""
    espeak, chance = Espeak(), random.Random(SEED)
    rate = espeak.rate_hz
    sound = array.array("h", bytes(2 * int(LEAD_IN * rate)))
    events = [(0, "")]
    for i, sentence in enumerate(QUALITY_SENTENCES):
        voice = HELD_OUT_VOICES[i % len(HELD_OUT_VOICES)]
        said = espeak.say(sentence, "en-us+" + voice, chance.randint(130, 190), chance.randint(25, 75), chance.randint(35, 80))
        if said is None:
            raise SystemExit(f"espeak-ng has no voice variant {voice}; install espeak-ng-data 1.50 or later")
        samples, phonemes = said
        events += [(len(sound) + first, ipa) for first, ipa in phonemes]
        sound.extend(levelled(samples))
        events.append((len(sound), ""))
        sound.extend(array.array("h", bytes(2 * int(chance.uniform(0.2, 0.6) * rate))))
    return rate, sound, segments(events, len(sound), rate)


def entries_of(pieces):
    """Neighbouring pauses joined, times rounded as one chain so that neighbours still touch."""
    entries = []
    for start, end, ipa, viseme in pieces:
        if viseme == "sil" and entries and entries[-1]["viseme"] == "sil":
            entries[-1]["end"] = round(end, 5)
        elif round(end, 5) > round(start, 5):
            ipa = "" if viseme == "sil" else ipa
            entries.append({"start": round(start, 5), "end": round(end, 5), "ipa": ipa, "viseme": viseme})
    return entries


def main(out_dir):
    rate, sound, pieces = make()
    os.makedirs(out_dir, exist_ok=True)
    with wave.open(os.path.join(out_dir, "speech.wav"), "wb") as out:
        out.setparams((1, 2, rate, len(sound), "NONE", ""))
        if sys.byteorder == "big":
            sound.byteswap()
        out.writeframes(sound.tobytes())
    entries = entries_of(pieces)
    truth = {"format": "talkie-phonemes-1", "duration": round(len(sound) / rate, 5), "phonemes": entries}
    with open(os.path.join(out_dir, "phonemes.json"), "w", encoding="utf8") as out:
        json.dump(truth, out, ensure_ascii=False, indent=0)
        out.write("\n")
    closures = sum(e["viseme"] == "PP" for e in entries)
    print(f"{truth['duration']:.1f} s of speech by {len(HELD_OUT_VOICES)} held-out voices, {closures} bilabial closures")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
