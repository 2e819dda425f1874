"""What MuseTalk's official code does to pictures, in its order, with OpenCV and Pillow: the square around a face, its mask, the paste."""

import cv2
import numpy as np
from PIL import Image


def square(face):
    """The square around a face's box."""
    x1, y1, x2, y2 = face
    half = int(max(x2 - x1, y2 - y1) // 2 * 1.5)
    x, y = (x1 + x2) // 2, (y1 + y2) // 2
    return x - half, y - half, x + half, y + half


def jaw(classes):
    """What of the parser's classes is redrawn, with v1.5's cheeks."""
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


def mask(classes, face, blur):
    """The soft mask of the square."""
    x1, y1, x2, y2 = square(face)
    side = x2 - x1
    box = (face[0] - x1, face[1] - y1, face[2] - x1, face[3] - y1)
    whole = Image.new("L", (side, side), 0)
    whole.paste(jaw(classes).resize((side, side)).crop(box), box)
    lower = Image.new("L", (side, side), 0)
    lower.paste(whole.crop((0, side // 2, side, side)), (0, side // 2))
    kernel = int(blur * side // 2 * 2) + 1
    return cv2.GaussianBlur(np.array(lower), (kernel, kernel), 0)


def paste(frame, drawn, face, soft):
    """The frame (BGR) with what was drawn (BGR) at the face's box, through the mask."""
    x1, y1, _, _ = square(face)
    body = Image.fromarray(frame[:, :, ::-1])
    drawn = Image.fromarray(cv2.resize(drawn, (face[2] - face[0], face[3] - face[1]))[:, :, ::-1])
    large = body.crop(square(face))
    large.paste(drawn, (face[0] - x1, face[1] - y1))
    body.paste(large, (x1, y1), Image.fromarray(soft))
    return np.array(body)[:, :, ::-1]
