#!/usr/bin/env python3
"""What a request costs, against the same routes in FastAPI + uvicorn[standard]; the MJPEG's first frame and deadlines; start and memory.

Markdown on standard output; exit status 1 if a limit is missed. Everything that is compared is measured in this one run, in turns.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]
import httpx  # noqa: E402

import conftest  # noqa: E402
import stage  # noqa: E402
from mjpeg import Raw, form  # noqa: E402

MISSED = []
TICKS = os.sysconf("SC_CLK_TCK")
FPS = 25


def say(line=""):
    print(line, flush=True)


def holds(what, value, limit):
    """A figure against its limit; one that is missed fails the run, at its end."""
    if value > limit:
        MISSED.append(f"{what} is {value:.3g}, the limit is {limit:.3g}")


def note(line):
    print(line, file=sys.stderr, flush=True)


def cpu(pid):
    """User and system seconds of a process and all below it."""
    total = 0
    for one in stage.process_tree(pid):
        with contextlib.suppress(OSError):
            words = pathlib.Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += int(words[11]) + int(words[12])
    return total / TICKS


def load(url, pid, seconds, script=None):
    """(CPU microseconds a request, requests a second) under wrk with 8 connections."""
    before = cpu(pid)
    words = ["-s", str(pathlib.Path(__file__).parent / script)] if script else []
    out = subprocess.run(
        ["wrk", "-t1", "-c8", f"-d{seconds}s", *words, url], check=True, capture_output=True, text=True, timeout=seconds + 30
    ).stdout
    spent = cpu(pid) - before
    requests = int(re.search(r"(\d+) requests in", out)[1])
    assert "Non-2xx" not in out and "Socket errors" not in out, out
    return spent / requests * 1e6, requests / seconds


def requests_table(server, work, seconds, rounds):
    note("CPU a request")
    with conftest_peer("svd", PEER_DB=str(work / "peer.db")) as (peer, base):
        picture = upload(server, work)
        wish = {"characterImageUrl": picture, "script": "bench", "duration": 1, "quality": "512"}
        ours = httpx.post(server.url("svd", "/generate-video"), json=wish, timeout=60).json()["id"]
        stage.until(lambda: httpx.get(server.url("svd", f"/generation/{ours}")).json()["status"] == "completed", 60)
        theirs = httpx.post(f"{base}/generate-video", json=wish, timeout=60).json()["id"]
        rows = [("health", "/health", "/health", 1 / 6), ("status from the record", f"/generation/{ours}", f"/generation/{theirs}", 1 / 4)]
        say("| request | talkie, µs CPU | FastAPI + uvicorn[standard], µs CPU | ratio | limit | talkie, requests/s | FastAPI, requests/s |")
        say("| --- | --- | --- | --- | --- | --- | --- |")
        for name, path, peer_path, limit in rows:
            mine, other = [], []
            for _ in range(rounds):
                mine.append(load(server.url("svd", path), server.process.pid, seconds))
                other.append(load(base + peer_path, peer.pid, seconds))
            ratios = [a[0] / b[0] for a, b in zip(mine, other, strict=True)]
            holds(f"the CPU of {name} against FastAPI's", statistics.median(ratios), limit)
            a, b = statistics.median(cost for cost, _ in mine), statistics.median(cost for cost, _ in other)
            say(
                f"| {name} | {a:.1f} | {b:.1f} | 1/{1 / statistics.median(ratios):.1f} | 1/{1 / limit:.0f} "
                f"| {statistics.median(rate for _, rate in mine):.0f} | {statistics.median(rate for _, rate in other):.0f} |"
            )
    say()


@contextlib.contextmanager
def conftest_peer(module, **env):
    port = stage.free_ports(1)[0]
    process = conftest.start_peer(module, port, **env)
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def fal_table(work, seconds, rounds):
    """Submits are committed before they are answered, here as there; the workers stand still, so that only requests cost."""
    note("fal's queue")
    wish = {"image_url": "https://example.com/a.png", "audio_url": "https://example.com/a.wav", "prompt": "bench"}
    path = "/queue/fal-ai/infinitalk"
    unlimited = ["--conf", "serve.queue_limit=100000000", "--conf", "serve.log=warn", "--conf", "serve.stall_seconds=100000"]
    with stage.Talkie(work / "fal", *unlimited) as server, conftest_peer("fal", PEER_DB=str(work / "fal.db")) as (peer, base):
        ours = server.url("all", "/fal")
        ended = httpx.post(ours + path, json=wish | {"num_frames": 1}).json()["request_id"]  # wrong, so over at once
        theirs_ended = httpx.post(base + path, json=wish).json()["request_id"]
        httpx.post(f"{base}/finish/{theirs_ended}")
        stage.until(server.workers, 20)
        for pid in server.workers():
            os.kill(pid, signal.SIGSTOP)
        for seed in range(2):  # the first is running, for as long as the bench
            waiting = httpx.post(ours + path, json=wish | {"seed": seed}).json()["request_id"]
            theirs_waiting = httpx.post(base + path, json=wish | {"seed": seed}).json()["request_id"]
        rows = [
            ("status of an ended request", f"{path}/requests/{ended}/status", f"{path}/requests/{theirs_ended}/status", None, 1 / 4),
            ("status of a waiting request", f"{path}/requests/{waiting}/status", f"{path}/requests/{theirs_waiting}/status", None, 1 / 4),
            ("submit", path, path, "submit.lua", 1 / 3),
        ]
        say("| fal | talkie, µs CPU | FastAPI + uvicorn[standard], µs CPU | ratio | limit | talkie, requests/s | FastAPI, requests/s |")
        say("| --- | --- | --- | --- | --- | --- | --- |")
        for name, mine_path, peer_path, script, limit in rows:
            mine, other = [], []
            for _ in range(rounds):
                mine.append(load(ours + mine_path, server.process.pid, seconds, script))
                other.append(load(base + peer_path, peer.pid, seconds, script))
            ratios = [a[0] / b[0] for a, b in zip(mine, other, strict=True)]
            a, b = statistics.median(cost for cost, _ in mine), statistics.median(cost for cost, _ in other)
            say(
                f"| {name} | {a:.1f} | {b:.1f} | 1/{1 / statistics.median(ratios):.1f} | 1/{1 / limit:.0f} "
                f"| {statistics.median(rate for _, rate in mine):.0f} | {statistics.median(rate for _, rate in other):.0f} |"
            )
        say()
        poll_loop(server, ours + path, waiting, seconds * 2)
        for pid in server.workers():
            os.kill(pid, signal.SIGCONT)
    say()


def poll_loop(server, base, request, seconds):
    """What 100 clients cost that ask ten times a second, as fal's Python client does."""
    clients, every = 100, 0.1
    url = urllib.parse.urlsplit(f"{base}/requests/{request}/status?logs=false")
    words = f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode()
    socks = [socket.create_connection((url.hostname, url.port), 10) for _ in range(clients)]
    before, begun, asked = cpu(server.process.pid), time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        for number, sock in enumerate(socks):
            due = begun + (asked // clients + number / clients) * every
            time.sleep(max(0.0, due - time.monotonic()))
            sock.sendall(words)
            assert b" 202 " in sock.recv(4096)[:20]
            asked += 1
    took = time.monotonic() - begun
    share = (cpu(server.process.pid) - before) / took
    for sock in socks:
        sock.close()
    say("| 100 clients that poll a waiting request ten times a second | | limit |")
    say("| --- | --- | --- |")
    say(f"| polls a second | {asked / took:.0f} | 1000 |")
    say(f"| CPU of talkie, cores | {share:.3f} | 0.1 |")


def upload(server, work):
    with open(work / "media/portrait_512.jpg", "rb") as picture:
        answer = httpx.post(server.url("svd", "/upload-character"), files={"character": ("me.jpg", picture, "image/jpeg")}, timeout=60)
    return answer.json()["imageUrl"]


def make_avatar(server, media):
    with open(media.small, "rb") as picture:
        made = httpx.post(
            server.url("musetalk", "/avatars/preprocess"),
            data={"avatar_id": "bench"},
            files={"video_file": ("p.png", picture)},
            timeout=120,
        )
    made.raise_for_status()


def stream_request(voice):
    body, kind = form(files=[("audio_file", voice.name, "audio/wav", voice.read_bytes())])
    return body, {"Content-Type": kind}


def first_frame(server, media, runs):
    """Milliseconds from the last byte of the upload to the last byte of the first frame."""
    note("first frame")
    body, headers = stream_request(ROOT / "assets/speech.wav")
    took = []
    for number in range(runs + 2):
        raw = Raw(server.url("musetalk", "/inference/stream/bench"), "POST", body, headers)
        assert raw.status == 200, raw.body()
        at, _ = next(raw.chunks())
        raw.close()
        if number >= 2:
            took.append(at * 1000)
        stage.until(lambda: not [job for job in server.jobs(dialect="musetalk") if job["state"] in ("queued", "running")], 20)
    holds("the first frame, ms", statistics.median(took), 300)
    say("| submit to first frame of the MJPEG, 512x512 | ms | limit |")
    say("| --- | --- | --- |")
    say(f"| median of {runs} | {statistics.median(took):.0f} | 300 |")
    say(f"| slowest | {max(took):.0f} | |")
    say()


class Reader:
    """One stream on a non-blocking socket: the time at which each frame was there to the last byte."""

    def __init__(self, url, body, headers):
        parts = urllib.parse.urlsplit(url)
        self.sock = socket.create_connection((parts.hostname, parts.port), 30)
        lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        self.buffer, self.head, self.left, self.times, self.ended = bytearray(), None, None, [], False
        self.sock.setblocking(False)

    def read(self):
        """False once it has ended."""
        data = self.sock.recv(1 << 18)
        now = time.monotonic()
        self.buffer += data
        if self.head is None:
            at = self.buffer.find(b"\r\n\r\n")
            if at < 0:
                return bool(data)
            self.head = bytes(self.buffer[:at])
            assert self.head.startswith(b"HTTP/1.1 200"), self.head
            del self.buffer[: at + 4]
        while True:
            if self.left is None:
                at = self.buffer.find(b"\r\n")
                if at < 0:
                    return bool(data)
                self.left = int(self.buffer[:at], 16)
                del self.buffer[: at + 2]
            if len(self.buffer) < self.left + 2:
                return bool(data)
            if self.left == 0:
                self.ended = True
                return False
            self.times.append(now)
            del self.buffer[: self.left + 2]
            self.left = None


def deadlines(server, seconds, streams):
    """Streams at once; a frame is late if it comes more than one period after it is due."""
    note(f"{streams} streams for {seconds} s")
    voice = server.folder / "voice.wav"
    stage.ffmpeg("-stream_loop", "-1", "-i", ROOT / "assets/speech.wav", "-t", seconds, voice)
    body, headers = stream_request(voice)
    before = cpu(server.process.pid)
    begun = time.monotonic()
    readers = [Reader(server.url("musetalk", "/inference/stream/bench"), body, headers) for _ in range(streams)]
    with selectors.DefaultSelector() as chosen:
        for reader in readers:
            chosen.register(reader.sock, selectors.EVENT_READ, reader)
        while chosen.get_map():
            ready = chosen.select(30)
            assert ready, "nothing came for 30 s"
            for key, _ in ready:
                if not key.data.read():
                    chosen.unregister(key.fileobj)
                    key.fileobj.close()
    took = time.monotonic() - begun
    spent = cpu(server.process.pid) - before
    expected = round(seconds * FPS)
    late = lost = 0
    worst = 0.0
    for reader in readers:
        assert reader.ended, "a stream broke off"
        lost += max(0, expected - len(reader.times))
        for number, at in enumerate(reader.times):
            behind = at - (reader.times[0] + number / FPS)
            worst = max(worst, behind)
            late += behind > 1 / FPS
    holds("the number of missed deadlines", lost + late, 0)
    say(f"| {streams} streams of 512x512 at {FPS} fps, {seconds:.0f} s, {os.cpu_count()} cores | | limit |")
    say("| --- | --- | --- |")
    say(f"| frames sent (expected) | {sum(len(reader.times) for reader in readers)} ({expected * streams}) | |")
    say(f"| missed deadlines: lost + more than {1000 // FPS} ms late | {lost} + {late} | 0 |")
    say(f"| furthest behind, ms | {worst * 1000:.0f} | |")
    say(f"| CPU of talkie and its workers, cores | {spent / took:.2f} | |")
    say()


def pss(pids):
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += int(re.search(r"^Pss:\s+(\d+)", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])
    return total / 1024


def memory(when, server):
    alone, together = pss([server.process.pid]), pss(server.pids())
    holds(f"the server's memory {when}, MiB", alone, 60)
    holds(f"the memory with workers {when}, MiB", together, 120)
    say(f"| {when} | {alone:.0f} | 60 | {together:.0f} | 120 |")


def start_and_memory(work, media, runs):
    note("start and memory")
    server = stage.Talkie(work / "start")
    took = []
    for _ in range(runs):
        begun = time.monotonic()
        server.start(wait=False)
        while True:
            try:
                with socket.create_connection(("127.0.0.1", server.ports["all"]), 5) as sock:
                    sock.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    if b" 200 " in sock.recv(4096):
                        break
            except OSError:
                assert server.process.poll() is None, server.log()
            time.sleep(0.001)
        took.append((time.monotonic() - begun) * 1000)
        server.stop()
    holds("the start, ms", statistics.median(took[1:]), 100)
    say("| start: exec to /readyz | ms | limit |")
    say("| --- | --- | --- |")
    say(f"| first, with a new data folder | {took[0]:.0f} | |")
    say(f"| median of the next {runs - 1} | {statistics.median(took[1:]):.0f} | 100 |")
    say()
    say("| idle memory (PSS), MiB | server | limit | with workers | limit |")
    say("| --- | --- | --- | --- | --- |")
    server.start()
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        time.sleep(2)  # what the start has queued up is over by then
        memory("after the start", server)
        make_avatar(server, media)
        body, headers = stream_request(media.short)
        for _ in range(3):
            Raw(server.url("musetalk", "/inference/stream/bench"), "POST", body, headers).body()
        httpx.post(server.url("musetalk", "/inference/batch/bench"), content=body, headers=headers, timeout=120).raise_for_status()
        stage.until(lambda: not [job for job in server.jobs() if job["state"] in ("queued", "running")], 20)
        time.sleep(2)
        memory("after an avatar, three streams and a file", server)
    say()


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seconds", type=int, default=5, help="of load for each figure")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--runs", type=int, default=15, help="first frames, starts")
    options.add_argument("--stream-seconds", type=float, default=20)
    options.add_argument("--streams", type=int, default=8)
    options.add_argument("--only", choices=["requests", "fal", "first", "streams", "start"], action="append")
    chosen = options.parse_args()
    parts = chosen.only or ["requests", "fal", "first", "streams", "start"]
    with tempfile.TemporaryDirectory(prefix="talkie-bench-") as folder:
        work = pathlib.Path(folder)
        media = stage.Media(work / "media")
        load_before = os.getloadavg()[0]
        live_slots = json.dumps(chosen.streams)
        with stage.Talkie(work / "stage", "--conf", f"serve.live_slots={live_slots}", "--conf", "serve.log=warn") as server:
            if "requests" in parts:
                requests_table(server, work, chosen.seconds, chosen.rounds)
            if {"first", "streams"} & set(parts):
                make_avatar(server, media)
            if "first" in parts:
                first_frame(server, media, chosen.runs)
            if "streams" in parts:
                deadlines(server, chosen.stream_seconds, chosen.streams)
        if "fal" in parts:
            fal_table(work, chosen.seconds, chosen.rounds)
        if "start" in parts:
            start_and_memory(work, media, chosen.runs)
        say(f"Load of the machine before the run: {load_before:.2f} on {os.cpu_count()} cores.")
    for missed in MISSED:
        note(f"missed: {missed}")
    return 1 if MISSED else 0


if __name__ == "__main__":
    sys.exit(main())
