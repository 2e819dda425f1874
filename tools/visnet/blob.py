"""The file of weights that the program embeds: `crates/speech/src/visnet.rs` reads the same layout.

"VISNET1\\0", u32 channels, u32 blocks, u32 dilation of each block, then f16 tensors in PyTorch's own order of dimensions:
c0.weight c0.bias, for each block a.weight a.bias b.weight b.bias, then h.weight h.bias. All little-endian.
"""

import struct

import numpy as np
import torch

from features import BANDS
from model import FIRST_TAPS, TAPS, VisNet

MAGIC = b"VISNET1\0"
OUTPUTS = 19


def _layout(channels, blocks):
    yield "c0.weight", (channels, BANDS, FIRST_TAPS)
    yield "c0.bias", (channels,)
    for i in range(blocks):
        yield f"a.{i}.weight", (channels, channels, TAPS)
        yield f"a.{i}.bias", (channels,)
        yield f"b.{i}.weight", (channels, channels, 1)
        yield f"b.{i}.bias", (channels,)
    yield "h.weight", (OUTPUTS, channels, 1)
    yield "h.bias", (OUTPUTS,)


def write(path, weights, dilations):
    channels = weights["c0.bias"].shape[0]
    out = MAGIC + struct.pack(f"<{2 + len(dilations)}I", channels, len(dilations), *dilations)
    for name, shape in _layout(channels, len(dilations)):
        tensor = weights[name].numpy()
        assert tensor.shape == shape, (name, tensor.shape, shape)
        out += tensor.astype("<f2").tobytes()
    with open(path, "wb") as file:
        file.write(out)


def read(path):
    """-> a VisNet with the f16 weights of the file, in f32."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:8] != MAGIC:
        raise ValueError(f"{path} is not a file of VisNet weights")
    channels, blocks = struct.unpack_from("<2I", data, 8)
    dilations = struct.unpack_from(f"<{blocks}I", data, 16)
    at, weights = 16 + 4 * blocks, {}
    for name, shape in _layout(channels, blocks):
        count = int(np.prod(shape))
        tensor = np.frombuffer(data, "<f2", count, at).astype(np.float32).reshape(shape)
        weights[name] = torch.from_numpy(tensor)
        at += 2 * count
    assert at == len(data), (at, len(data))
    net = VisNet(channels, dilations)
    net.load_state_dict(weights)
    return net.eval()
