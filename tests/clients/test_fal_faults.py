"""What goes wrong between fal's clients and the server: lost answers, power cuts, impatience, crowds, garbage, and readers that do not read."""

import base64
import contextlib
import concurrent.futures
import json
import os
import select
import socket
import struct
import threading
import time

import httpx
import msgpack
import pytest
import websockets.exceptions
import websockets.sync.client

import fal_stage
import stage
from fal_stage import APP, PUPPET, completed, film_of
from mjpeg import Raw


@pytest.fixture(scope="module")
def base(fal):
    return fal.url("all", "/fal")


def submit(base, wish, app=APP, **options):
    return httpx.post(f"{base}/queue/{app}", json=wish, timeout=60, **options)


def number(told):
    assert told.status_code in (200, 202), (told.status_code, told.text)
    return told.json()["request_id"]


def own(base, rid, tail=""):
    return f"{base}/queue/{APP}/requests/{rid}{tail}"


def quick(base):
    """Another client is answered, and soon."""
    begun = time.monotonic()
    assert httpx.get(own(base, "nobody"), timeout=10).status_code == 404
    assert time.monotonic() - begun < 3.0


class Lossy:
    """A line to the server that carries requests and, so many times, loses the answer to a POST: the client sees a broken connection."""

    def __init__(self, port, losses):
        self.port, self.losses, self.posts = port, losses, 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client):
        lose = False
        with client, socket.create_connection(("127.0.0.1", self.port)) as server, contextlib.suppress(OSError):
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    if ready is server:
                        if lose:
                            return  # the server has done its part; nobody hears of it
                        client.sendall(data)
                        continue
                    if data.startswith(b"POST "):
                        with self.lock:
                            self.posts += 1
                            lose, self.losses = self.losses > 0, self.losses - 1
                    server.sendall(data)

    def close(self):
        self.listener.close()


@pytest.fixture
def lossy(fal):
    line = Lossy(fal.ports["all"], 2)
    yield line
    line.close()


@pytest.mark.parametrize("make", ["python", "python-async", "js"])
@pytest.mark.parametrize("call", ["run", "subscribe"])
def test_a_client_that_tries_again_has_one_job(fal, lossy, inputs, tmp_path, make, call):
    """The answers to its first two requests are lost: it asks three times, and the record has one job."""
    way = fal_stage.plain(fal)
    way.setup = {"base": f"{lossy.address}/fal"}
    kinds = {"python": fal_stage.python_client("sync"), "python-async": fal_stage.python_client("async"), "js": fal_stage.js_client}
    client = kinds[make](way, tmp_path)
    before = {job["id"] for job in fal.jobs(dialect="fal")}
    wish = {"image_url": inputs.picture_uri, "seconds": 1.0, "size": 256, "seed": next(fal_stage.seeds)}
    try:
        told = client.call(call, app=PUPPET, **({"input": wish} if make == "js" else {"arguments": wish}))
    finally:
        client.stop()
    assert lossy.posts == 3, lossy.posts
    made = {job["id"] for job in fal.jobs(dialect="fal")} - before
    assert len(made) == 1, made
    assert json.dumps(told).count(".mp4") >= 1


def test_many_at_once_have_one_job(fal, base, inputs):
    """Twenty equal requests in the same moment are one job and one number."""
    wish = inputs.wish()
    with concurrent.futures.ThreadPoolExecutor(20) as crowd:
        numbers = {number(told) for told in crowd.map(lambda _: submit(base, wish), range(20))}
    assert len(numbers) == 1, numbers


def test_results_after_a_power_cut(tmp_path, inputs):
    """What was done is there, what ran or waited is done after the restart, what was canceled or wrong says so still."""
    with stage.Talkie(tmp_path / "cut", "--conf", "serve.slots=1") as server:
        base = server.url("all", "/fal")
        done = number(submit(base, inputs.wish()))
        wrong = number(submit(base, inputs.spoiled()))
        completed(server, base, done), completed(server, base, wrong)
        output = httpx.get(own(base, done)).json()
        with server.frozen():
            running, waiting, canceled = (number(submit(base, inputs.wish())) for _ in range(3))
            stage.until(lambda: httpx.get(own(base, running, "/status")).json()["status"] == "IN_PROGRESS", 20, what="the start")
            assert httpx.put(own(base, canceled, "/cancel")).status_code == 202
            server.kill()
        server.start()
        assert httpx.get(own(base, done)).json() == output
        assert len(httpx.get(output["video"]["url"]).content) == output["video"]["file_size"]
        assert httpx.get(own(base, wrong)).status_code == 422 and httpx.get(own(base, canceled)).status_code == 499
        told = completed(server, base, done)
        assert told["metrics"]["inference_time"] > 0 and told["logs"], "logs and times are kept"
        for rid in (running, waiting):
            assert completed(server, base, rid).get("error") is None
            film_of(fal_stage.plain(server), httpx.get(own(base, rid)).json(), tmp_path)


def test_a_client_that_polls_through_a_restart(tmp_path, inputs):
    """Connections are refused for a moment; the client tries again by itself and gets its result."""
    with stage.Talkie(tmp_path / "restart", "--conf", "serve.slots=1") as server:
        completed(server, server.url("all", "/fal"), number(submit(server.url("all", "/fal"), inputs.wish())))
        client = fal_stage.python_client("sync")(fal_stage.plain(server), tmp_path)
        try:
            with server.frozen():
                client.begin("subscribe", app=APP, arguments=inputs.wish())
                stage.until(lambda: [job for job in server.jobs(dialect="fal") if job["state"] == "running"], 20, what="the start")
                server.kill()
            server.start()
            told = client.end()
        finally:
            client.stop()
        film_of(fal_stage.plain(server), told["result"], tmp_path)


def started(base, rid):
    stage.until(lambda: httpx.get(own(base, rid, "/status")).json()["status"] != "IN_QUEUE", 20, every=0.002, what="the start")


def test_cancel_at_every_stage(fal, base, inputs):
    """Before it starts, at its start, between its frames, at its end, again: it ends as canceled or as done, and never as anything else."""
    seen = set()
    for polls in (None, 0, 1, 4, 8, 12, 16, 20, 24, 32):
        rid = number(submit(base, inputs.wish(num_frames=62)))
        if polls is not None:
            started(base, rid)
            # so many polls after the start, wherever that is
            for _ in range(polls):
                httpx.get(own(base, rid, "/status"))
        told = httpx.put(own(base, rid, "/cancel"))
        assert (told.status_code, told.json()["status"]) in ((202, "CANCELLATION_REQUESTED"), (400, "ALREADY_COMPLETED")), told.text
        end = completed(fal, base, rid)
        result = httpx.get(own(base, rid))
        assert (end.get("error_type"), result.status_code) in (("client_cancelled", 499), (None, 200)), (end, result.text)
        if told.status_code == 400:
            assert result.status_code == 200
        seen.add(result.status_code)
        again = httpx.put(own(base, rid, "/cancel"))
        assert (again.status_code, again.json()) == (400, {"status": "ALREADY_COMPLETED"})
    assert 499 in seen, "nothing could be canceled"


def test_canceled_and_asked_for_again(fal, base, inputs):
    """Who cancels and orders the same anew gets a job of its own, not the canceled one's end."""
    wish = inputs.wish()
    with fal.frozen():
        number(submit(base, inputs.wish()))
        first = number(submit(base, wish))
        httpx.put(own(base, first, "/cancel"))
        second = number(submit(base, wish))
    assert second != first
    assert completed(fal, base, second).get("error") is None


def test_a_thousand_wait(tmp_path, inputs):
    """A thousand requests have a thousand places, told without delay; canceling the first moves the others up, and everybody is served or canceled."""
    with stage.Talkie(tmp_path / "crowd", "--conf", "serve.slots=1", "--conf", "serve.queue_limit=1100") as server:
        base = server.url("all", "/fal")
        with httpx.Client(timeout=60) as web:
            begun = web.post(
                f"{base}/rest/storage/upload/initiate?storage_type=gcs", json={"file_name": "a.jpg", "content_type": "image/jpeg"}
            ).json()
            assert (
                web.put(begun["upload_url"], content=inputs.picture.read_bytes(), headers={"content-type": "image/jpeg"}).status_code == 200
            )
        wish = inputs.idle(image_url=begun["file_url"], seconds=0.2)
        completed(server, base, number(submit(base, wish, app=PUPPET)), app=PUPPET)
        local = threading.local()

        def ask(method, url, **options):
            if not hasattr(local, "web"):
                local.web = httpx.Client(timeout=60)
            return local.web.request(method, url, **options)

        with server.frozen(), concurrent.futures.ThreadPoolExecutor(8) as crowd:
            blocker = number(submit(base, {**wish, "seed": 0}, app=PUPPET))
            stage.until(lambda: [job for job in server.jobs(limit=1) if job["state"] == "running"], 20, what="the start")
            rids = [
                number(told)
                for told in crowd.map(lambda n: ask("POST", f"{base}/queue/{PUPPET}", json={**wish, "seed": n + 10_000}), range(1000))
            ]
            assert len(set(rids)) == 1000
            address = f"{base}/queue/{PUPPET}/requests"
            places = [told.json()["queue_position"] for told in crowd.map(lambda rid: ask("GET", f"{address}/{rid}/status"), rids)]
            assert sorted(places) == list(range(1000)), "every place is somebody's"
            first = rids[places.index(0)]
            assert ask("PUT", f"{address}/{first}/cancel").status_code == 202
            begun = time.monotonic()
            last = rids[places.index(999)]
            assert ask("GET", f"{address}/{last}/status").json()["queue_position"] == 998
            assert time.monotonic() - begun < 1.0
            full = [ask("POST", f"{base}/queue/{PUPPET}", json={**wish, "seed": n + 20_000}) for n in range(110)]
            refused = next(told for told in full if told.status_code not in (200, 202))
            assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1 and refused.json()["detail"], refused.text
            assert refused.headers["x-fal-request-id"], "without it Python takes it for a broken gateway"
            rest = [rid for rid in rids if rid not in (first, last)] + [number(told) for told in full if told.status_code in (200, 202)]
            ended = {told.status_code for told in crowd.map(lambda rid: ask("PUT", f"{address}/{rid}/cancel"), rest)}
            assert ended == {202}
        for rid in (blocker, last):
            assert completed(server, base, rid, app=PUPPET).get("error") is None
        assert completed(server, base, rids[500], app=PUPPET)["error_type"] in ("client_cancelled",)


def realtime(base, **options):
    return websockets.sync.client.connect(f"{base.replace('http', 'ws', 1)}/run/{PUPPET}/realtime", max_size=None, **options)


def refusal(socket_):
    """What the server says before it closes: (the error message, the code)."""
    said = None
    try:
        while True:
            message = socket_.recv(20)
            if isinstance(message, str) and json.loads(message).get("type") == "x-fal-error":
                said = json.loads(message)
    except websockets.exceptions.ConnectionClosed as closed:
        return said, closed.rcvd.code if closed.rcvd else None


MALFORMED = {
    "nothing": b"",
    "never used": b"\xc1",
    "cut map": b"\xde\xff\xff\x01",
    "cut text": b"\x81\xa9image_url\xdb\xff\xff\xff\xff",
    "four billion keys": b"\xdf\xff\xff\xff\xff",
    "four billion items": b"\x81\xa5audio\xdd\xff\xff\xff\xff",
    "deep": b"\x91" * 200_000,
    "deep maps": b"\x81\xa1a" * 100_000,
    "a number": b"\x07",
    "an array": msgpack.packb([1, 2]),
    "a key that is no text": msgpack.packb({1: 2}),
    "two values": msgpack.packb({"image_url": "data:,x"}) + b"\x00",
    "text that is no UTF-8": b"\x81\xa9image_url\xa2\xff\xfe",
    "an extension": msgpack.packb({"image_url": msgpack.ExtType(5, b"x")}),
    "a picture that is none": msgpack.packb({"image_url": "data:image/png;base64,AAAA"}),
    "no picture": msgpack.packb({"audio": b"\0\0"}),
    "a picture from a file": msgpack.packb({"image_url": "file:///etc/passwd"}),
}


@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_messages(fal, base, message):
    """Told in the words that the clients know, then closed with a code; nobody else notices."""
    before = fal.memory()
    with realtime(base) as socket_:
        socket_.send(message)
        said, code = refusal(socket_)
    assert said and said["error"] and said["reason"], (said, code)
    assert code is not None and code not in (1005, 1006), code
    assert fal.memory() < before + 64
    quick(base)


@pytest.mark.parametrize(
    "more",
    [
        {"audio": b"\0"},
        {"audio": "not base64!"},
        {"audio": b"\0\0", "sample_rate": 0},
        {"audio": b"\0\0", "sample_rate": 10**9},
        {"audio": 5},
        {"end": "x"},
    ],
    ids=lambda more: "-".join(f"{name}" for name in more) + str(list(more.values())[-1])[:8],
)
def test_malformed_sound(base, inputs, more):
    """After a picture that is one: sound that is none."""
    with realtime(base) as socket_:
        socket_.send(msgpack.packb({"image_url": inputs.picture_uri}))
        socket_.send(msgpack.packb(more))
        said, code = refusal(socket_)
    assert said and said["reason"] and code not in (None, 1005, 1006), (said, code)
    quick(base)


def small(url, window=None):
    """A bare connection; with a window, its reader takes no more than that before it reads."""
    sock = socket.socket()
    sock.settimeout(60)
    if window:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    sock.connect((url.host, url.port))
    return sock


def handshake(base, window=None):
    """A WebSocket on a bare socket: frames that no library would send."""
    url = httpx.URL(base)
    sock = small(url, window)
    lines = [
        f"GET {url.path}/run/{PUPPET}/realtime HTTP/1.1",
        f"Host: {url.host}:{url.port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
    ]
    sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
    head = b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(4096)
        assert data, head
        head += data
    assert head.startswith(b"HTTP/1.1 101"), head
    return sock


def close_code(sock):
    """Of the close frame that ends what the server says; None if it just hangs up."""
    data, code = b"", None
    with contextlib.suppress(OSError):
        while piece := sock.recv(1 << 16):
            data += piece
    while len(data) >= 2:
        size, at = data[1] & 127, 2
        if size == 126:
            size, at = struct.unpack(">H", data[2:4])[0], 4
        elif size == 127:
            size, at = struct.unpack(">Q", data[2:10])[0], 10
        if data[0] & 15 == 8 and size >= 2:
            code = struct.unpack(">H", data[at : at + 2])[0]
        data = data[at + size :]
    return code


FRAMES = {
    "a gigabyte announced": b"\x82\xff" + struct.pack(">Q", 1 << 30) + b"mask",
    "all there is announced": b"\x82\xff" + struct.pack(">Q", (1 << 63) - 1) + b"mask",
    "not masked": b"\x82\x01x",
    "a reserved opcode": b"\x83\x80mask",
    "a control frame in pieces": b"\x09\x80mask",
    "a ping that is too long": b"\x89\xfe\x00\x7e" + b"mask" + b"x" * 126,
    "a continuation of nothing": b"\x80\x80mask",
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
def test_oversized_and_impossible_frames(fal, base, frame):
    """The connection ends at once, without the server taking what was announced."""
    before = fal.memory()
    sock = handshake(base)
    sock.sendall(frame)
    begun = time.monotonic()
    code = close_code(sock)
    assert time.monotonic() - begun < 5, "it waited for the rest"
    assert code in (None, 1002, 1003, 1007, 1008, 1009), code
    sock.close()
    assert fal.memory() < before + 32
    quick(base)


def test_a_message_without_end(fal, base):
    """Pieces of one message that never ends: broken off, in bounded memory."""
    before, sent = fal.memory(), 0
    sock = handshake(base)
    piece = struct.pack(">BBQ", 0x02, 0xFF, 1 << 20) + bytes(4) + bytes(1 << 20)
    with contextlib.suppress(OSError):
        while sent < 256 << 20:
            sock.sendall(piece)
            sent += 1 << 20
            piece = b"\x00" + piece[1:]
    assert sent < 256 << 20, "it took 256 MiB of one message"
    sock.close()
    stage.until(lambda: fal.memory() < before + 96, 10, what=f"memory to go back to {before:.0f} MiB")
    quick(base)


def slow(url, body):
    """A request whose reader takes nothing."""
    url = httpx.URL(url)
    sock = small(url, window=2048)
    head = f"POST {url.raw_path.decode()} HTTP/1.1\r\nHost: {url.host}:{url.port}\r\nContent-Length: {len(body)}\r\n\r\n"
    sock.sendall(head.encode() + body)
    return sock


def test_slow_readers_of_the_stream(fal, base, inputs):
    """Eight readers of previews that read nothing: memory stays, the jobs end, others are served; one that wakes up finds the result or a clean end."""
    before = fal.memory()
    wish = {"image_url": inputs.picture_uri, "audio_url": inputs.voice_uri, "size": 512}
    with contextlib.ExitStack() as stack:
        readers = []
        known = {job["id"] for job in fal.jobs(dialect="fal")}
        for _ in range(8):
            body = json.dumps({**wish, "seed": next(fal_stage.seeds)}).encode()
            readers.append(stack.enter_context(slow(f"{base}/run/{PUPPET}/stream", body)))

        def over():
            mine = [job for job in fal.jobs(dialect="fal") if job["id"] not in known]
            return len(mine) == 8 and all(job["state"] in ("done", "canceled") for job in mine)

        stage.until(over, 60, every=0.1, what=f"the end of the jobs\n{fal.log()}")
        assert fal.memory() < before + 64, (before, fal.memory())
        quick(base)
        late = b""
        with contextlib.suppress(OSError):
            while b"\r\n0\r\n\r\n" not in late and (data := readers[0].recv(1 << 16)):
                late += data
        assert late.startswith(b"HTTP/1.1 200"), late[:100]
        assert b'"video"' in late, "the last event is never left out"


def masked(opcode, data):
    """A client's frame, under a mask that changes nothing."""
    size = len(data)
    length = (
        bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size) if size < 1 << 16 else b"\xff" + struct.pack(">Q", size)
    )
    return bytes([0x80 | opcode]) + length + bytes(4) + data


def test_slow_readers_of_a_websocket(fal, base, inputs):
    """Readers that take no picture: frames are left out, memory stays, others are served, and hanging up ends the sessions."""
    before = fal.memory()
    known = {job["id"] for job in fal.jobs(dialect="fal")}
    mine = lambda *states: [job for job in fal.jobs(dialect="fal") if job["id"] not in known and job["state"] in states]  # noqa: E731
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            sock = stack.enter_context(contextlib.closing(handshake(base, window=2048)))
            sock.sendall(masked(2, msgpack.packb({"image_url": inputs.picture_uri})))
            sock.sendall(masked(2, msgpack.packb({"audio": inputs.pcm * 4, "sample_rate": 16000})))
        stage.until(lambda: len(mine("running")) == 4, 20, what="the sessions")
        end = time.monotonic() + 3

        def looked_at():
            quick(base)
            assert fal.memory() < before + 64, (before, fal.memory())
            return time.monotonic() > end

        stage.until(looked_at, 10, every=0.1, what="three seconds")
    stage.until(lambda: not mine("queued", "running"), 20, what="the end of the sessions")


def test_a_first_realtime_message_with_a_minute_of_sound(base, inputs):
    """More than waits for the engine: the pictures are shown while it is taken."""
    second = inputs.pcm[:32000]
    with realtime(base) as socket_:
        socket_.send(msgpack.packb({"image_url": inputs.picture_uri, "audio": second * 60, "sample_rate": 16000, "end": True}))
        last = {}
        while not last.get("done"):
            last = msgpack.unpackb(socket_.recv(20))
    assert abs(last["frames"] - 60 * 25) <= 1, last["frames"]


def test_bodies_that_do_not_come(fal, base, inputs):
    """As many as fill the room for large ones, a byte of each: a small request is not behind them."""
    port = fal.ports["all"]
    head = f"POST /fal/queue/{APP} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n"
    with contextlib.ExitStack() as held:
        for _ in range(8):
            slow = held.enter_context(socket.create_connection(("127.0.0.1", port)))
            slow.sendall(head.encode())
        refused = lambda: httpx.post(f"{base}/queue/{APP}", content=iter([b"{}"]), timeout=20).status_code == 503  # noqa: E731
        stage.until(refused, 20, every=0.1, what="the room for large bodies to be full")
        begun = time.monotonic()
        told = submit(base, inputs.wish())
        assert told.status_code == 200 and time.monotonic() - begun < 3, (told.status_code, told.text)
        httpx.put(own(base, number(told), "/cancel"))


def test_a_request_is_not_answered_with_the_haste_of_another(fal, base, inputs):
    """The same input, first with a second to begin in, then with all the time there is."""
    wish = inputs.wish()
    with fal.frozen():
        number(submit(base, inputs.wish()))  # the only place is taken
        late = number(submit(base, wish, headers={"X-Fal-Request-Timeout": "1"}))
        ended = lambda: httpx.get(own(base, late, "/status")).json()["status"] == "COMPLETED"  # noqa: E731
        stage.until(ended, 20, what="the deadline")
        assert httpx.get(own(base, late)).status_code == 504
        patient = number(submit(base, wish))
        assert patient != late
    assert completed(fal, base, patient).get("error") is None


def test_a_text_has_an_end(base, inputs):
    told = httpx.post(f"{base}/run/{APP}", json=inputs.wish() | {"prompt": "a" * 20_001}, timeout=20)
    assert told.status_code == 422, told.text
    [wrong] = told.json()["detail"]
    assert wrong["loc"] == ["body", "prompt"] and wrong["type"] == "string_too_long" and wrong["ctx"] == {"max_length": 20_000}, wrong
    assert len(told.text) < 1000


def test_a_realtime_client_that_vanishes(fal, base, inputs):
    """Hanging up in the middle ends the session and frees its place, as often as it happens."""
    for _ in range(10):
        with realtime(base) as socket_:
            socket_.send(msgpack.packb({"image_url": inputs.picture_uri}))
            socket_.send(msgpack.packb({"audio": inputs.pcm[:32000], "sample_rate": 16000}))
            assert socket_.recv(20)
            socket_.socket.shutdown(socket.SHUT_RDWR)
    stage.until(
        lambda: not [job for job in fal.jobs(dialect="fal") if job["state"] in ("queued", "running")], 20, what="the end of the sessions"
    )
    with realtime(base) as socket_:
        socket_.send(msgpack.packb({"image_url": inputs.picture_uri, "request_id": "r"}))
        socket_.send(msgpack.packb({"audio": inputs.pcm[:32000], "sample_rate": 16000}))
        answer = msgpack.unpackb(socket_.recv(20))
        assert answer["image"]["content"][:2] == b"\xff\xd8" and answer.get("request_id") in ("r", None)


def test_status_streams_that_are_left(fal, base, inputs):
    """A hundred followers of one request, half of them gone: no descriptor stays behind, and the job goes on."""
    descriptors = lambda: len(os.listdir(f"/proc/{fal.process.pid}/fd"))  # noqa: E731
    with fal.frozen():
        rid = number(submit(base, inputs.wish()))
        before = descriptors()
        followers = [Raw(own(base, rid, "/status/stream?logs=1")) for _ in range(100)]
        for follower in followers[::2]:
            next(follower.chunks())
            follower.close()
        stage.until(lambda: descriptors() <= before + 60, 20, what="fifty descriptors to be closed")
    for follower in followers[1::2]:
        assert b"COMPLETED" in follower.body()
        follower.close()
    assert completed(fal, base, rid).get("error") is None


HOSTILE = [
    "http://10.0.0.1/a.png",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::1]:1/a.png",
    "http://localhost:1/a.png",
    "http://2130706433:1/a.png",
    "file:///etc/passwd",
    "/etc/passwd",
    "s3://bucket/key",
    "ftp://example.com/a.png",
    "concat:/etc/passwd",
    "data:image/png,",
    "data:;base64,////",
    "data:image/png;base64,not base64",
    "http://example.com/" + "a" * 3000,
]


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """A server that may reach no private network."""
    with stage.Talkie(tmp_path_factory.mktemp("closed")) as server:
        yield server


@pytest.mark.parametrize("url", HOSTILE, ids=lambda url: url[:30])
def test_hostile_inputs(closed, inputs, url):
    """Nothing is read from private networks or this machine's files: a 422 at its field, and no word about what is there."""
    base = closed.url("all", "/fal")
    told = httpx.post(f"{base}/run/{APP}", json=inputs.wish(image_url=url), timeout=60)
    assert told.status_code == 422, (told.status_code, told.text)
    (error,) = told.json()["detail"]
    assert error["loc"] == ["body", "image_url"] and error["type"] and "root:" not in told.text


def test_bodies_that_are_too_large(closed, inputs):
    """A data: URI of more than 10 MiB, and a body without end: refused, in bounded memory."""
    base = closed.url("all", "/fal")
    before = closed.peak()
    told = httpx.post(f"{base}/run/{APP}", json=inputs.wish(image_url="data:image/png;base64," + "A" * (11 << 20)), timeout=60)
    assert told.status_code in (413, 422), (told.status_code, told.text[:300])
    # read as values these would be a hundred times as large
    for many in (b"[" + b"0," * (5 << 20) + b"0]", b"[" * (5 << 20)):
        told = httpx.post(f"{base}/run/{APP}", content=b'{"image_url":' + many + b"}", timeout=60)
        assert 400 <= told.status_code < 500, (told.status_code, told.text[:300])
    sent = 0

    def endless():
        nonlocal sent
        while sent < 512 << 20:
            sent += 1 << 20
            yield b" " * (1 << 20)

    with contextlib.suppress(httpx.TransportError):
        told = httpx.post(f"{base}/queue/{APP}", content=endless(), timeout=60)
        assert told.status_code == 413, told.text
    assert sent < 512 << 20, "it took all of it"
    assert closed.peak() < before + 200
