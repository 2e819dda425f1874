"""Speech with phoneme times from libespeak-ng 1.50 or later, by its C event API (speak_lib.h). Standard library only."""

import array
import ctypes as c

AUDIO_OUTPUT_RETRIEVAL = 1
INITIALIZE_PHONEME_EVENTS, INITIALIZE_PHONEME_IPA = 1, 2
EVENT_LIST_TERMINATED, EVENT_PHONEME = 0, 7
RATE, PITCH, RANGE = 1, 3, 4
CHARS_UTF8 = 1
POS_CHARACTER = 1


class _EventId(c.Union):
    _fields_ = [("number", c.c_int), ("name", c.c_char_p), ("string", c.c_char * 8)]


class _Event(c.Structure):
    _fields_ = [
        ("type", c.c_int),
        ("unique_identifier", c.c_uint),
        ("text_position", c.c_int),
        ("length", c.c_int),
        ("audio_position", c.c_int),
        ("sample", c.c_int),
        ("user_data", c.c_void_p),
        ("id", _EventId),
    ]


_SYNTH_CALLBACK = c.CFUNCTYPE(c.c_int, c.POINTER(c.c_short), c.c_int, c.POINTER(_Event))


class Espeak:
    """One synthesiser; the library keeps one state per process."""

    def __init__(self):
        self._lib = c.CDLL("libespeak-ng.so.1")
        flags = INITIALIZE_PHONEME_EVENTS | INITIALIZE_PHONEME_IPA
        self.rate_hz = self._lib.espeak_Initialize(AUDIO_OUTPUT_RETRIEVAL, 0, None, flags)
        if self.rate_hz <= 0:
            raise RuntimeError("espeak-ng finds no voice data; install the package espeak-ng-data")
        self._sound = array.array("h")
        self._phonemes = []
        self._callback = _SYNTH_CALLBACK(self._collect)  # kept: the library holds a bare pointer to it
        self._lib.espeak_SetSynthCallback(self._callback)

    def _collect(self, wav, count, events):
        if wav and count > 0:
            self._sound.frombytes(c.string_at(wav, count * 2))
        i = 0
        while events[i].type != EVENT_LIST_TERMINATED:
            event = events[i]
            if event.type == EVENT_PHONEME:
                name = bytes(event.id.string).split(b"\0")[0].decode("utf8", "ignore")
                self._phonemes.append((event.sample, name))
            i += 1
        return 0

    def say(self, text, voice, rate=170, pitch=50, pitch_range=50):
        """-> (samples as array('h') at rate_hz, [(first sample, IPA name; "" is a pause)]), or None for an unknown voice."""
        del self._sound[:]
        self._phonemes.clear()
        if self._lib.espeak_SetVoiceByName(voice.encode()) != 0:
            return None
        for parameter, value in ((RATE, rate), (PITCH, pitch), (RANGE, pitch_range)):
            self._lib.espeak_SetParameter(parameter, value, 0)
        data = text.encode()
        self._lib.espeak_Synth(data, c.c_size_t(len(data) + 1), 0, POS_CHARACTER, 0, CHARS_UTF8, None, None)
        self._lib.espeak_Synchronize()
        return self._sound[:], list(self._phonemes)
