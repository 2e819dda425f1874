#!/usr/bin/env python3
"""MuseTalk dialect: make an avatar, then stream a talking face and keep its frames.

    client_example.py VIDEO AUDIO [--server http://localhost:8000] [--avatar avatar1] [--frames FOLDER] [--batch FILE.mp4]

Needs httpx (pip install httpx). Works against Talkie and against the server it stands in for.
"""

import argparse
import pathlib
import re
import sys
import time

import httpx

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("video", type=pathlib.Path, help="a clip (or picture) of the person")
    options.add_argument("audio", type=pathlib.Path, help="what the person shall say, WAV or MP3")
    options.add_argument("--server", default="http://localhost:8000")
    options.add_argument("--avatar", default="avatar1")
    options.add_argument("--frames", type=pathlib.Path, help="folder for the frames as JPEG files")
    options.add_argument("--batch", type=pathlib.Path, help="also have a whole MP4 made, and keep it here")
    chosen = options.parse_args()
    # no timeout: making an avatar and a whole video take as long as they take
    with httpx.Client(base_url=chosen.server, timeout=None) as client:
        check_health(client)
        preprocess(client, chosen.avatar, chosen.video)
        frames = stream(client, chosen.avatar, chosen.audio, chosen.frames)
        if chosen.batch:
            batch(client, chosen.avatar, chosen.audio, chosen.batch)
    return 0 if frames else 1


def check_health(client):
    health = client.get("/health").raise_for_status().json()
    print(
        f"server {health['status']}, models loaded: {health['models']['loaded']} on {health['models']['device']}, avatars: {', '.join(health['loaded_avatars']) or 'none'}"
    )


def preprocess(client, avatar, video):
    with open(video, "rb") as source:
        answer = client.post(
            "/avatars/preprocess", data={"avatar_id": avatar, "bbox_shift": 0}, files={"video_file": (video.name, source, "video/mp4")}
        )
    print(answer.raise_for_status().json()["message"])


def stream(client, avatar, audio, folder):
    """Plays nothing: counts the frames, tells their pace, and writes them where that is wanted."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    count, begun, first = 0, time.monotonic(), None
    with open(audio, "rb") as voice:
        with client.stream("POST", f"/inference/stream/{avatar}", files={"audio_file": (audio.name, voice)}) as answer:
            if answer.status_code != 200:
                answer.read()
                sys.exit(f"the server says {answer.status_code}: {answer.text}")
            boundary = re.search(r"boundary=([^;]+)", answer.headers["content-type"])[1].strip('"').encode()
            for picture in pictures(answer.iter_bytes(), boundary):
                first = first or time.monotonic() - begun
                if folder:
                    (folder / f"frame_{count:05}.jpg").write_bytes(picture)
                count += 1
    took = time.monotonic() - begun
    print(f"{count} frames in {took:.2f} s, the first after {(first or 0) * 1000:.0f} ms")
    return count


def pictures(pieces, boundary):
    """The JPEGs of a multipart/x-mixed-replace body, however the network has cut it."""
    waiting = b""
    for piece in pieces:
        waiting += piece
        while True:
            # a part ends where the next begins; the last one ends with the body, so look for the JPEG's own end
            start = waiting.find(JPEG_START)
            end = waiting.find(JPEG_END + b"\r\n", start + 2)
            if start < 0 or end < 0:
                break
            yield waiting[start : end + 2]
            waiting = waiting[end + 4 :].removeprefix(b"--" + boundary)


def batch(client, avatar, audio, path):
    with open(audio, "rb") as voice:
        with client.stream("POST", f"/inference/batch/{avatar}", files={"audio_file": (audio.name, voice)}) as answer:
            if answer.status_code != 200:
                answer.read()
                sys.exit(f"the server says {answer.status_code}: {answer.text}")
            with open(path, "wb") as out:
                for piece in answer.iter_bytes():
                    out.write(piece)
    print(f"{path}: {path.stat().st_size} bytes, made by {answer.headers.get('x-talkie-engine', 'an unnamed engine')}")


if __name__ == "__main__":
    sys.exit(main())
