"""The peer's side: the steps of MuseTalk's preparation and blending, as its official code orders them, with OpenCV and Pillow. Jobs and
lines are those of crates/engine-musetalk/examples/musetalk-pictures.rs."""

import sys
import time

import cv2
import numpy as np
from PIL import Image

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


def square():
    x1, y1, x2, y2 = FACE
    half = int(max(x2 - x1, y2 - y1) // 2 * 1.5)
    x, y = (x1 + x2) // 2, (y1 + y2) // 2
    return x - half, y - half, x + half, y + half


def jaw(classes):
    grow = np.zeros((33, 33), np.uint8)
    for row in range(10, 33):
        reach = min(row - 10, 10)
        grow[row, 16 - reach:17 + reach] = 1
    back = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (35, 3))
    cheeks = np.zeros((512, 512), np.uint8)
    cv2.rectangle(cheeks, (0, 0), (256 - 90, 512), 255, -1)
    cv2.rectangle(cheeks, (256 + 90, 0), (512, 512), 255, -1)
    grown = cv2.dilate((classes == 1).astype(np.uint8) * 255, grow)
    cut = cv2.erode(grown, back, iterations=2)
    skin = cv2.bitwise_or(cv2.bitwise_and(cut, cheeks), cv2.bitwise_and(grown, cv2.bitwise_not(cheeks)))
    kept = ((skin == 255) & (classes != 10)) | np.isin(classes, (11, 12, 13))
    return Image.fromarray(kept.astype(np.uint8) * 255)


def mask(classes, blur):
    x1, y1, x2, y2 = square()
    side = x2 - x1
    box = (FACE[0] - x1, FACE[1] - y1, FACE[2] - x1, FACE[3] - y1)
    whole = Image.new("L", (side, side), 0)
    whole.paste(jaw(classes).resize((side, side)).crop(box), box)
    lower = Image.new("L", (side, side), 0)
    lower.paste(whole.crop((0, side // 2, side, side)), (0, side // 2))
    kernel = int(blur * side // 2 * 2) + 1
    return cv2.GaussianBlur(np.array(lower), (kernel, kernel), 0)


def paste(frame, face, soft):
    x1, y1, _, _ = square()
    body = Image.fromarray(frame[:, :, ::-1])
    face = Image.fromarray(cv2.resize(face, (FACE[2] - FACE[0], FACE[3] - FACE[1]))[:, :, ::-1])
    large = body.crop(square())
    large.paste(face, (FACE[0] - x1, FACE[1] - y1))
    body.paste(large, (x1, y1), Image.fromarray(soft))
    return np.array(body)[:, :, ::-1]


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
        return lambda: np.array(Image.fromarray(frame).crop(square()).resize((512, 512), Image.BILINEAR))
    if words[0] == "mask":
        classes, blur = labels(), 0.10 if words[1] == "realtime" else 0.05
        return lambda: mask(classes, blur)
    if words == ["paste"]:
        face, soft = noise(2, 256, 256, 3), mask(labels(), 0.10)
        return lambda: paste(frame, face, soft)
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
