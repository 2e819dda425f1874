"""Clients that are slow, half, many or gone: the others do not notice, and nothing is left behind."""

import contextlib
import pathlib
import resource
import select
import socket
import struct
import time

import httpx
import pytest

import stage
from mjpeg import Raw, form


@pytest.fixture(scope="module")
def server(tmp_path_factory, media):
    with stage.Talkie(tmp_path_factory.mktemp("faults")) as server:
        with open(media.small, "rb") as picture:
            httpx.post(
                server.url("musetalk", "/avatars/preprocess"), data={"avatar_id": "a"}, files={"video_file": ("p.png", picture)}, timeout=60
            ).raise_for_status()
        yield server
        assert server.process.poll() is None, server.log()


def connect(server, dialect):
    return socket.create_connection(("127.0.0.1", server.ports[dialect]), 30)


def quick(server, dialect="svd", path="/health"):
    """The server answers another client, and soon."""
    begun = time.monotonic()
    assert httpx.get(server.url(dialect, path), timeout=10).status_code == 200
    assert time.monotonic() - begun < 3.0


def descriptors(server):
    return len(list(pathlib.Path(f"/proc/{server.process.pid}/fd").iterdir()))


def uploads(server):
    return sorted(str(path) for part in ("uploads", "scratch") for path in (server.data / part).rglob("*") if path.is_file())


def quiet(server):
    stage.until(lambda: not [job for job in server.jobs() if job["state"] in ("queued", "running")], 30, what="the end of all jobs")


def reset(sock):
    """Closes with RST, as a client that crashed."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_a_refusal_waits_for_the_rest_of_a_small_body(server):
    """Who is refused while its body still comes gets the answer, and the connection is good for the next request."""
    with connect(server, "svd") as sock:
        sock.sendall(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n")
        assert not select.select([sock], [], [], 0.3)[0], "it was answered, and closed, under the body"
        sock.sendall(b"hello")
        assert sock.recv(4096).startswith(b"HTTP/1.1 404")
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_refusal_does_not_wait_for_ever(server):
    """A body that never comes holds the answer back for two seconds, no longer."""
    with connect(server, "svd") as sock:
        sock.sendall(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n")
        begun = time.monotonic()
        assert sock.recv(4096).startswith(b"HTTP/1.1 404")
        assert 1.0 < time.monotonic() - begun < 10.0


def test_slow_loris(server):
    """Heads and bodies that come byte by byte hold nobody else up."""
    head = (
        b"POST /upload-character HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 100000\r\n"
    )
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(contextlib.closing(connect(server, "svd"))) for _ in range(60)]
        for n, sock in enumerate(slow):
            sock.sendall(head if n % 2 else head + b"\r\n--x\r\n")
        for round_ in range(10):
            for sock in slow:
                with contextlib.suppress(OSError):
                    sock.sendall(b"a")
            quick(server)
    quick(server)


def test_half_sent_multipart(server, media):
    before = uploads(server)
    body, kind = form(files=[("character", "me.jpg", "image/jpeg", media.jpeg.read_bytes())])
    rows = [("svd", "/upload-character", body, kind)]
    body, kind = form([("avatar_id", "half")], [("video_file", "v.mp4", "video/mp4", media.clip.read_bytes())])
    rows.append(("musetalk", "/avatars/preprocess", body, kind))
    body, kind = form(files=[("audio_file", "v.wav", "audio/wav", media.short.read_bytes())])
    rows += [("musetalk", "/inference/stream/a", body, kind), ("musetalk", "/inference/batch/a", body, kind)]
    for dialect, path, body, kind in rows:
        for part in (0.0, 0.02, 0.5, 0.99):
            for close in (socket.socket.close, reset):
                sock = connect(server, dialect)
                head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
                sock.sendall(head.encode() + body[: int(len(body) * part)])
                close(sock)
    quiet(server)
    stage.until(lambda: uploads(server) == before, 10, what="half uploads to be gone")
    assert "half" not in httpx.get(server.url("musetalk", "/avatars")).json()
    quick(server)


def test_a_body_that_ends_early_is_refused(server, media):
    """The whole multipart body has arrived, but its closing boundary has not."""
    body, kind = form(files=[("character", "me.jpg", "image/jpeg", media.jpeg.read_bytes())])
    for cut in (body[:-20], body[:200], body.replace(b"\r\n\r\n", b"\r\n", 1)):
        answer = httpx.post(server.url("svd", "/upload-character"), content=cut, headers={"content-type": kind})
        assert answer.status_code in (400, 422), answer.text


def test_500_idle_connections(server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2048)), hard))
    before = descriptors(server)
    with contextlib.ExitStack() as stack:
        for _ in range(500):
            stack.enter_context(contextlib.closing(connect(server, "svd")))
        for _ in range(5):
            quick(server)
        quick(server, "musetalk")
        quick(server, "all", "/readyz")
    stage.until(lambda: descriptors(server) <= before + 10, 20, what="500 connections to be closed")


STAGES = ["connected", "half a head", "head", "half a body", "body sent", "answer begun", "in the middle", "batch answer begun"]


@pytest.mark.parametrize("gone_at", STAGES)
def test_gone_at_every_stage(server, media, gone_at):
    before = uploads(server)
    kind_of = "batch" if gone_at.startswith("batch") else "stream"
    body, kind = form(files=[("audio_file", "v.wav", "audio/wav", (media.mp3 if kind_of == "batch" else media.long).read_bytes())])
    head = (
        f"POST /inference/{kind_of}/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    count = len(server.jobs())
    for close in (socket.socket.close, reset):
        if gone_at in ("answer begun", "in the middle", "batch answer begun"):
            raw = Raw(server.url("musetalk", f"/inference/{kind_of}/a"), "POST", body, {"Content-Type": kind}, timeout=120)
            assert raw.status == 200
            if gone_at == "in the middle":
                parts = raw.chunks()
                for _ in range(10):
                    next(parts)
            sock = raw.sock
        else:
            sock = connect(server, "musetalk")
            sock.sendall(
                {
                    "connected": b"",
                    "half a head": head[:40],
                    "head": head,
                    "half a body": head + body[: len(body) // 2],
                    "body sent": head + body,
                }[gone_at]
            )
        close(sock)
    quiet(server)
    if gone_at in ("connected", "half a head", "head", "half a body"):
        assert len(server.jobs()) == count, "a request that never came made a job"
    if gone_at == "in the middle":
        assert {job["state"] for job in server.jobs()[:2]} == {"canceled"}
    # the takes of the batch are kept as any take; nothing else is left
    kept = [path for path in uploads(server) if path not in before]
    assert len(kept) <= 2, kept
    quick(server)


def test_half_a_preface_of_http2_is_let_go(server):
    """What may still become HTTP/2 has as long as any head: else a few bytes hold a seat for ever."""
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(contextlib.closing(connect(server, "svd"))) for _ in range(3)]
        for sock, data in zip(socks, (b"P", b"PRI * HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")):
            sock.sendall(data)
        quick(server)
        for sock in socks:
            sock.settimeout(40)
            with contextlib.suppress(ConnectionError):
                while sock.recv(4096):
                    pass
    assert time.monotonic() - begun < 35


def test_garbage(server):
    for data in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0" * 4096,
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20000 + b"\r\n",
        b"POST /generate-video HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 200000 + b" HTTP/1.1\r\n\r\n",
        b"POST /generate-video HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ):
        for dialect in ("svd", "musetalk"):
            sock = connect(server, dialect)
            sock.settimeout(5)
            with contextlib.suppress(OSError):
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass
            sock.close()
    quick(server)


def test_descriptors_do_not_leak(server, media):
    quiet(server)
    before = descriptors(server)
    body, kind = form(files=[("audio_file", "v.wav", "audio/wav", media.short.read_bytes())])
    for _ in range(10):
        raw = Raw(server.url("musetalk", "/inference/stream/a"), "POST", body, {"Content-Type": kind}, timeout=60)
        next(raw.chunks())
        raw.close()
    quiet(server)
    stage.until(lambda: descriptors(server) <= before + 5, 20, what=f"descriptors to go back to {before}")
