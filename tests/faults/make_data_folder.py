#!/usr/bin/env python3
"""Makes data_folder_303ed26.tar.gz: what the first program that could keep a data folder (commit 303ed26) had in it when its power went.

    make_data_folder.py TALKIE_OF_THAT_COMMIT OUT.tar.gz

Videos of two dialects that are done, one that failed, one that was canceled, one that was running and two that waited. That program had no avatars yet.
"""

import os
import pathlib
import sys
import tarfile
import tempfile
import time

import httpx

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
program, out = sys.argv[1:]
os.environ["TALKIE_BIN"] = str(pathlib.Path(program).resolve())
import stage  # noqa: E402


def made(folder):
    """A portrait and a voice, both small."""
    portrait, voice = folder / "p.png", folder / "v.wav"
    stage.ffmpeg("-i", stage.ROOT / "assets/portrait.png", "-vf", "scale=256:-2", portrait)
    stage.ffmpeg("-i", stage.ROOT / "assets/speech.wav", "-t", "1", voice)
    return portrait, voice


def post(http, url, **request):
    answer = http.post(url, **request)
    assert answer.status_code == 200, answer.text
    return answer.json() if answer.headers["content-type"].startswith("application/json") else None


def clip(http, server, url, name):
    body = {"characterImageUrl": url, "script": name, "duration": 3, "quality": "512"}
    return post(http, server.url("svd", "/generate-video"), json=body)["id"]


def generation(http, server, id):
    return http.get(server.url("svd", f"/generation/{id}")).json()["status"]


def fill(server, portrait, voice, http):
    body = {"image_path": str(portrait), "audio_path": str(voice), "prompt": "Hello"}
    post(http, server.url("infinitetalk", "/api/generate-video"), json=body)
    missing = http.post(server.url("infinitetalk", "/api/generate-video"), json=body | {"audio_path": str(portrait)})
    assert missing.status_code >= 400, missing.text
    picture = {"character": ("p.png", portrait.read_bytes(), "image/png")}
    url = post(http, server.url("svd", "/upload-character"), files=picture)["imageUrl"]
    done = clip(http, server, url, "done")
    while generation(http, server, done) != "completed":
        time.sleep(0.1)
    with server.frozen():
        ids = [clip(http, server, url, name) for name in ("running", "canceled", "waits", "waits, too")]
        while generation(http, server, ids[0]) != "processing":
            time.sleep(0.1)
        server.api("POST", f"/jobs/{ids[1]}/cancel")
        server.kill()


with tempfile.TemporaryDirectory() as folder:
    server = stage.Talkie(folder, "--conf", "serve.slots=1")
    portrait, voice = made(server.media)
    (server.data / "output").mkdir()  # which that program did not make
    with server, httpx.Client(timeout=120) as http:
        fill(server, portrait, voice, http)
    with tarfile.open(out, "w:gz") as archive:
        archive.add(server.data, "data")
