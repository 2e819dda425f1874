"""The peer's side: the steps of MuseTalk's preparation and blending, as its official code orders them, with OpenCV and Pillow. Jobs and
lines are those of crates/engine-musetalk/examples/musetalk-pictures.rs."""

import sys
import time

import cv2
import numpy as np
from PIL import Image

from steps import mask, paste, square

W, H = 1920, 1080
FACE = (700, 300, 1030, 720)


def noise(seed, *shape):
    count = int(np.prod(shape))
    z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(56)).astype(np.uint8).reshape(shape)


def labels():
    y, x = np.mgrid[0:512, 0:512].astype(np.int64)
    across = x - 256
    out = np.full((512, 512), 17, np.uint8)
    out[(abs(across) < 100) & (y > 440)] = 14
    out[across**2 * 210 * 210 + (y - 270) ** 2 * 170 * 170 < 170 * 170 * 210 * 210] = 1
    mouth = (abs(across) < 60) & (y >= 350) & (y < 398)
    out[mouth] = (11 + (y - 350) // 16)[mouth]
    out[(abs(across) < 30) & (y >= 230) & (y < 320)] = 10
    return out


def job(words):
    frame = noise(1, H, W, 3)
    if words == ["crop"]:
        x1, y1, x2, y2 = FACE
        return lambda: cv2.resize(frame[y1:y2, x1:x2], (256, 256), interpolation=cv2.INTER_LANCZOS4)
    if words == ["warp"]:
        scale = 288 / (1.25 * W)
        matrix = np.array([[scale, 0, 144 - scale * W / 2], [0, scale, 192 - scale * H / 2]])
        return lambda: cv2.warpAffine(frame, matrix, (288, 384), flags=cv2.INTER_LINEAR)
    if words == ["parser_input"]:
        return lambda: np.array(Image.fromarray(frame).crop(square(FACE)).resize((512, 512), Image.BILINEAR))
    if words[0] == "mask":
        classes, blur = labels(), 0.10 if words[1] == "realtime" else 0.05
        return lambda: mask(classes, FACE, blur)
    if words == ["paste"]:
        face, soft = noise(2, 256, 256, 3), mask(labels(), FACE, 0.10)
        return lambda: paste(frame, face, FACE, soft)
    raise ValueError(words)


def main():
    cv2.setNumThreads(1)
    run = None
    for line in sys.stdin:
        words = line.split()
        if words[0] == "go":
            times = []
            for _ in range(int(words[1])):
                start = time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID)
                run()
                times.append((time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID) - start) * 1e3)
            print(" ".join(f"{t:.3f}" for t in times), flush=True)
        elif words[0] == "out":
            np.ascontiguousarray(run()).tofile(words[1])
            print("written", flush=True)
        else:
            run = job(words)
            run()
            print("ready", flush=True)


if __name__ == "__main__":
    main()
