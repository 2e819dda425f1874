"""Phonemes of espeak-ng (IPA names) as visemes, with closures put where the lips close. Standard library only."""

import unicodedata

VISEMES = ["sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "RR", "aa", "E", "I", "O", "U"]

_LETTERS = {
    "PP": "pbmɓ",
    "FF": "fvʋβ",
    "TH": "θð",
    "DD": "tdnlɾɭɫʈɖr",
    "kk": "kgɡŋhxɣʔʁχɦqc",
    "CH": "ʃʒɕʑʂʐ",
    "SS": "sz",
    "RR": "ɹɻɝɚɽ",
    "aa": "aɑæʌɐɒ",
    "E": "ɜeɛəᵻɘɵɤ",
    "I": "iɪjɨɲʎçʝɯ",
    "O": "øœoɔ",
    "U": "uʊʉyʏwʍɥ",
}
_VISEME_OF = {letter: viseme for viseme, letters in _LETTERS.items() for letter in letters}
_MARKS = "ːˈˌ-.'ʰʲᵝ()"

# espeak-ng's event marks the burst of a voiceless stop (measured: silence from -55 to 0 ms, then 37 ms of noise, then the vowel).
# The closure therefore starts before the event, and lips part right after it.
CLOSURE_LEAD = 0.05
LIPS_PART = 0.01
SHORTEST = 0.02


def visemes_of(ipa):
    """IPA name -> [(viseme, share of its duration)]."""
    if ipa.startswith("("):  # espeak-ng's language switches
        return [("sil", 1.0)]
    letters = unicodedata.normalize("NFD", ipa)
    letters = "".join(x for x in letters if not unicodedata.combining(x) and x not in _MARKS)
    if not letters:
        return [("sil", 1.0)]
    if letters[0] in "tdn" and letters[1:2] in ("ʃ", "ʒ", "ɕ", "ʑ"):
        return [("CH", 1.0)]
    if letters[0] in "td" and letters[1:2] in ("s", "z"):
        return [("SS", 1.0)]
    found = [_VISEME_OF[x] for x in letters if x in _VISEME_OF] or ["E"]
    if len(found) == 2:
        return list(zip(found, (0.55, 0.45)))
    return [(viseme, 1.0 / len(found)) for viseme in found]


def segments(phonemes, total, rate_hz, lips_part=LIPS_PART):
    """[(first sample, IPA)] of `total` samples -> [(start s, end s, IPA, viseme)].

    `lips_part`: seconds after its burst at which a /p/ gives way to the next phoneme; None: it lasts until the next event.
    """
    out = []
    opened = None  # when the lips of a /p/ just before have parted
    for i, (first, ipa) in enumerate(phonemes):
        last = phonemes[i + 1][0] if i + 1 < len(phonemes) else total
        if last <= first:
            continue
        burst, end = first / rate_hz, last / rate_hz
        start = burst
        if out and unicodedata.normalize("NFD", ipa)[:1] in tuple("ptkc"):
            floor = out[-1][0] + (0.0 if out[-1][3] == "sil" else SHORTEST)
            start = max(floor, burst - CLOSURE_LEAD)
        if out and opened is not None:
            start = opened if visemes_of(ipa)[0][0] != "sil" else burst
        if out:
            out[-1] = (out[-1][0], min(out[-1][1], start), *out[-1][2:])
        opened = min(end, burst + lips_part) if lips_part is not None and ipa[:1] == "p" else None
        at, length = start, end - start
        for viseme, share in visemes_of(ipa):
            out.append((at, at + length * share, ipa, viseme))
            at += length * share
    return out
