"""The engine MuseTalk on tiny seeded models: weights in the official layout, clips whose frames carry their number, takes by the command line, and
what a take changed in its clip."""

import json
import os
import subprocess

import cv2
import numpy

import stage

# frames a clip can have whose numbers are to be read
MOST_MARKED = 15


def seed(folder):
    """The official layout, as the program itself writes it."""
    seeded = [stage.BINARY, "models", "seed", "musetalk", "--scale", "tiny", "--out", str(folder)]
    subprocess.run(seeded, check=True, capture_output=True, timeout=60)
    assert (folder / "musetalkV15/unet.pth").exists() and (folder / "sd-vae/config.json").exists()
    return folder


def generate(weights, out, *words, wrapped=(), **env):
    """(status, what it reported, what it said) of `talkie generate`; `wrapped`: a command that runs it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TALKIE")}
    kept |= {"TALKIE_MODELS": str(weights)} | env
    told = subprocess.run(
        [*wrapped, stage.BINARY, "generate", "--engine", "musetalk", "--out", str(out), "--json", "--quiet", *map(str, words)],
        env=kept,
        capture_output=True,
        text=True,
        timeout=240,
    )
    return told.returncode, json.loads(told.stdout), told.stderr


def frames(path):
    reader = cv2.VideoCapture(str(path))
    read = []
    while True:
        there, frame = reader.read()
        if not there:
            return numpy.stack(read)
        read.append(frame.astype(int))


def changed(take, source):
    """Share of pixels that differ a lot, over the frames of a take: in the lower half of the middle, and along the upper edge."""
    apart = numpy.abs(take - source[: len(take)]).max(axis=3) > 40
    height, width = apart.shape[1:]
    return apart[:, height // 2 : height * 7 // 8, width // 4 : width * 3 // 4].mean(), apart[:, : height // 5].mean()


def film(pictures, path, *words, rate=25):
    """Pictures (BGR) as a clip; `words`: more for ffmpeg's output."""
    height, width = pictures[0].shape[:2]
    given = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-video_size", f"{width}x{height}", "-framerate", str(rate), "-i", "-"]
    kept = ["-pix_fmt", "yuv420p", "-crf", "10", *map(str, words)]
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", *given, *kept, str(path)], input=b"".join(p.tobytes() for p in pictures), check=True, timeout=60
    )
    return path


def marked(picture, count, size=(320, 320)):
    """A picture (path) so often, at (width, height), each with its number as the grey of its upper left corner."""
    assert count <= MOST_MARKED
    drawn = cv2.resize(cv2.imread(str(picture)), size, interpolation=cv2.INTER_AREA)
    side = max(8, size[1] // 10)
    pictures = []
    for number in range(count):
        one = drawn.copy()
        one[:side, :side] = 16 + 16 * number
        pictures.append(one)
    return pictures


def numbers(seen):
    """Of frames (BGR) of a clip that was made of `marked`."""
    return [round((float(one[2:6, 2:6].mean()) - 16) / 16) for one in seen]


def there_and_back(length, count):
    """The order in which a clip of so many frames is shown."""
    order = [*range(length), *range(length - 2, 0, -1)] if length > 1 else [0]
    return [order[i % len(order)] for i in range(count)]
