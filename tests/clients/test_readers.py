"""Other people's readers on the MJPEG stream: ffmpeg's demuxer, OpenCV, curl. They read what the GET variant sends."""

import concurrent.futures
import re
import subprocess

import cv2
import httpx
import numpy

import live
import stage


def test_ffmpeg_mpjpeg(talkie, avatar, media, tmp_path):
    url = live.picture_url(talkie, avatar, media.mp3)
    out = tmp_path / "read.mkv"
    subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-y", "-f", "mpjpeg", "-i", url, "-c:v", "copy", str(out)],
        check=True,
        timeout=120,
        capture_output=True,
    )
    seen = subprocess.run(
        [
            "ffprobe",
            "-v",
            "error",
            "-count_frames",
            "-show_entries",
            "stream=codec_name,width,height,nb_read_frames",
            "-of",
            "csv=p=0",
            str(out),
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.strip()
    codec, width, height, frames = seen.split(",")
    assert (codec, width, height) == ("mjpeg", "512", "512") and abs(int(frames) - media.seconds(media.mp3) * 25) <= 4, seen


def test_ffmpeg_strictly(talkie, avatar, media):
    """`-strict_mime_boundary` believes what Content-Type says about the boundary, and nothing else."""
    url = live.picture_url(talkie, avatar, media.short)
    done = subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "info", "-y", "-strict_mime_boundary", "1", "-f", "mpjpeg", "-i", url, "-f", "null", "-"],
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    frames = [int(found) for found in re.findall(r"frame=\s*(\d+)", done.stderr)]
    assert frames and abs(frames[-1] - media.seconds(media.short) * 25) <= 4, done.stderr


def test_opencv(talkie, avatar, media):
    reader = cv2.VideoCapture(live.picture_url(talkie, avatar, media.mp3), cv2.CAP_FFMPEG)
    assert reader.isOpened()
    frames = []
    while (got := reader.read())[0]:
        frames.append(got[1])
    assert len(frames) > 20 and frames[0].shape == (512, 512, 3)
    assert max(float(numpy.abs(b.astype(float) - frames[0]).mean()) for b in frames) > 0.3


def test_curl_into_a_file(talkie, avatar, media, tmp_path):
    out = tmp_path / "stream.mjpeg"
    subprocess.run(
        [
            "curl",
            "-sS",
            "-m",
            "60",
            "-o",
            str(out),
            "-F",
            f"audio_file=@{media.short}",
            talkie.url("musetalk", f"/inference/stream/{avatar}"),
        ],
        check=True,
        timeout=70,
    )
    data = out.read_bytes()
    assert data.startswith(b"--frame\r\nContent-Type: image/jpeg\r\n") and not data.rstrip().endswith(b"--frame--")
    assert abs(data.count(b"--frame\r\n") - media.seconds(media.short) * 25) <= 3 and data.count(b"--frame\r\n") == data.count(
        b"\xff\xd8\xff"
    )


def test_httpx_counts_as_the_original_client_does(talkie, avatar, media):
    """It counts pieces with a start of image in them, and stops after some: one HTTP chunk a frame keeps that right."""
    seen = 0
    with open(media.long, "rb") as voice:
        with (
            httpx.Client(timeout=None) as client,
            client.stream("POST", talkie.url("musetalk", f"/inference/stream/{avatar}"), files={"audio_file": voice}) as answer,
        ):
            for piece in answer.iter_bytes():
                seen += b"\xff\xd8" in piece
                if seen == 5:
                    break
    assert seen == 5


def test_many_readers_come_and_go(talkie, avatar, media):
    """What a page that is reloaded in a hurry does."""

    def come_and_go():
        with httpx.Client(timeout=30) as client, open(media.long, "rb") as voice:
            with client.stream("POST", talkie.url("musetalk", f"/inference/stream/{avatar}"), files={"audio_file": voice}) as answer:
                assert answer.status_code in (200, 503), answer.status_code
                if answer.status_code == 200:
                    next(answer.iter_bytes())

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(come_and_go) for _ in range(12)]:
            done.result(60)
    stage.until(
        lambda: not [job for job in talkie.jobs(dialect="musetalk") if job["state"] in ("queued", "running")],
        20,
        what="the end of all sessions",
    )
