#!/usr/bin/env python3
"""Video generator dialect: upload a picture, have a film made of it, wait, download.

    svd_client.py PICTURE OUT.mp4 [--server http://localhost:7860] [--script "…"] [--duration 5] [--quality 768]

Needs requests (pip install requests).
"""

import argparse
import mimetypes
import pathlib
import sys
import time

import requests


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("picture", type=pathlib.Path)
    options.add_argument("out", type=pathlib.Path)
    options.add_argument("--server", default="http://localhost:7860")
    options.add_argument("--script", default="The character smiles at the camera")
    options.add_argument("--duration", type=int, default=5, help="seconds")
    options.add_argument("--quality", default="768", choices=["512", "768", "1024"])
    options.add_argument("--every", type=float, default=1.0, help="seconds between looks at the status")
    chosen = options.parse_args()
    with requests.Session() as session:
        kind = mimetypes.guess_type(chosen.picture.name)[0] or "image/jpeg"
        with open(chosen.picture, "rb") as picture:
            url = told(
                session.post(f"{chosen.server}/upload-character", files={"character": (chosen.picture.name, picture, kind)}, timeout=60)
            )["imageUrl"]
        print(f"uploaded as {url}")
        wish = {"characterImageUrl": url, "script": chosen.script, "duration": chosen.duration, "quality": chosen.quality}
        generation = told(session.post(f"{chosen.server}/generate-video", json=wish, timeout=60))
        while generation["status"] in ("pending", "processing"):
            print(f"{generation['id']}: {generation['status']}")
            time.sleep(chosen.every)
            generation = told(session.get(f"{chosen.server}/generation/{generation['id']}", timeout=60))
        if generation["status"] != "completed":
            sys.exit(f"{generation['id']}: {generation['status']}")
        video = session.get(f"{chosen.server}{generation['videoUrl']}", timeout=60)
        video.raise_for_status()
        chosen.out.write_bytes(video.content)
        print(f"{chosen.out}: {len(video.content)} bytes, made by {video.headers.get('x-talkie-engine', 'an unnamed engine')}")


def told(answer):
    if answer.status_code != 200:
        sys.exit(f"the server says {answer.status_code}: {answer.text}")
    return answer.json()


if __name__ == "__main__":
    main()
