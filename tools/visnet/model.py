"""VisNet: a causal convolutional network, 40 mel bands in, 14 visemes and 5 mouth parameters out, 80 ms later."""

import torch.nn as nn
import torch.nn.functional as F

from features import BANDS
from labels import HEADS
from phones import VISEMES

LOOK_AHEAD = 8  # frames by which the answer trails the sound
FIRST_TAPS, TAPS = 5, 3


class VisNet(nn.Module):
    def __init__(self, channels=80, dilations=(1, 2, 4, 8, 16, 1, 2)):
        super().__init__()
        self.dilations = tuple(dilations)
        self.c0 = nn.Conv1d(BANDS, channels, FIRST_TAPS)
        self.a = nn.ModuleList([nn.Conv1d(channels, channels, TAPS, dilation=d) for d in self.dilations])
        self.b = nn.ModuleList([nn.Conv1d(channels, channels, 1) for _ in self.dilations])
        self.h = nn.Conv1d(channels, len(VISEMES) + len(HEADS), 1)

    def forward(self, x):
        """(b, t, 40) -> (b, t, 19) logits; row i answers for frame i - LOOK_AHEAD."""
        x = x.transpose(1, 2)  # (b, 40, t)
        x = F.relu(self.c0(F.pad(x, (FIRST_TAPS - 1, 0))))
        for a, b, d in zip(self.a, self.b, self.dilations):
            x = x + b(F.relu(a(F.pad(x, ((TAPS - 1) * d, 0)))))
        return self.h(F.relu(x)).transpose(1, 2)

    def history(self):
        """Frames of the past that an answer depends on."""
        return FIRST_TAPS - 1 + (TAPS - 1) * sum(self.dilations)
