"""MuseTalk for several people at a time: streams of one avatar, readers that do not read, voices that are still being spoken, avatars of another
version of the program, and a server's disk that is full. Tiny seeded models; the frames carry their numbers."""

import base64
import concurrent.futures
import hashlib
import itertools
import json
import threading

import cv2
import httpx
import msgpack
import numpy
import pytest
import websockets.exceptions
import websockets.sync.client

import fal_stage
import musetalk_stage
import stage
from mjpeg import Raw, form, jpeg_of
from musetalk_stage import changed, film, frames, marked, numbers, there_and_back

# frames
CLIP, TAKE = 4, 12
APP = "talkie/musetalk"
FLAGS = ("--conf", 'musetalk.settings.detector="face"', "--conf", "musetalk.pace=as_fast_as_possible")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return musetalk_stage.seed(tmp_path_factory.mktemp("weights"))


def flags(weights):
    return ["--conf", f'models.dir="{weights}"', *FLAGS]


@pytest.fixture(scope="module")
def server(weights, tmp_path_factory):
    with stage.Talkie(tmp_path_factory.mktemp("musetalk"), *flags(weights)) as talkie:
        yield talkie
        assert talkie.process.poll() is None, talkie.log()


@pytest.fixture(scope="module")
def clip(media, tmp_path_factory):
    return film(marked(media.small, CLIP), tmp_path_factory.mktemp("clips") / "marked.mp4")


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    """Speech for a take: (file, its s16le samples at 16 kHz)."""
    path = tmp_path_factory.mktemp("voices") / "voice.wav"
    stage.ffmpeg("-ss", "0.5", "-t", TAKE / 25, "-i", stage.ROOT / "assets/speech.wav", "-ac", "1", "-ar", "16000", path)
    raw = path.with_suffix(".pcm")
    stage.ffmpeg("-i", path, "-f", "s16le", raw)
    return path, raw.read_bytes()


def preprocess(server, name, clip):
    with open(clip, "rb") as source:
        files = {"video_file": ("clip.mp4", source, "video/mp4")}
        return httpx.post(server.url("musetalk", "/avatars/preprocess"), data={"avatar_id": name}, files=files, timeout=240)


def prepared(server, name, clip):
    made = preprocess(server, name, clip)
    assert made.status_code == 200, (made.text, server.log())
    return name


@pytest.fixture(scope="module")
def person(server, clip):
    return prepared(server, "person", clip)


def opened(server, path, voice, **options):
    body, kind = form(files=[("audio_file", "voice.wav", "audio/wav", voice.read_bytes())])
    raw = Raw(server.url("musetalk", f"/inference/stream/{path}"), "POST", body, {"Content-Type": kind}, timeout=240, **options)
    assert raw.status == 200, (raw.status, raw.headers, server.log())
    return raw


def pictures(parts):
    return [cv2.imdecode(numpy.frombuffer(jpeg_of(part), numpy.uint8), cv2.IMREAD_COLOR).astype(int) for part in parts]


def fresh(seen):
    """Without the pictures that are sent again while a busy machine makes the next: of these clips no two neighbours are alike."""
    marks = numbers(seen)
    return [picture for at, picture in enumerate(seen) if at == 0 or marks[at] != marks[at - 1]]


def at_once(count, work):
    """What `work` gives, so many times at the same moment."""
    together = threading.Barrier(count)

    def one(_):
        together.wait(30)
        return work()

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_three_streams_of_pictures_at_once(server, person, clip, voice):
    """All complete, their frames in order, and a mouth on each."""
    streams = at_once(3, lambda: fresh(pictures(part for _, part in opened(server, person, voice[0]).chunks())))
    order = there_and_back(CLIP, TAKE)
    source = frames(clip)[order]
    for seen in streams:
        assert numbers(seen) == order
        mouth, hair = changed(numpy.stack(seen), source)
        assert mouth > 0.2 and hair < 0.02, (mouth, hair)


def test_three_films_at_once(server, person, voice, tmp_path):
    """The same with sound, as fragments of a film."""
    films = at_once(3, lambda: opened(server, f"{person}.mp4", voice[0]).body())
    for i, one in enumerate(films):
        path = tmp_path / f"{i}.mp4"
        path.write_bytes(one)
        seen = stage.streams(path)
        assert seen["video"]["codec_name"] == "h264" and seen["audio"]["codec_name"] == "aac", seen
        assert numbers(frames(path)) == there_and_back(CLIP, TAKE)


def test_who_does_not_read_holds_nobody(server, media, voice, tmp_path):
    """Two sessions end while a third stands still on a full connection; then it goes on where it was, and nothing is missing."""
    noise = numpy.random.default_rng(7)
    busy = []
    for one in marked(media.small, CLIP):
        # large JPEGs, so that not all of a take fits into what the system keeps for a reader
        around = noise.integers(0, 256, (800, 800, 3), dtype=numpy.uint8)
        around[240:560, 240:560] = one
        around[:80, :80] = one[0, 0]
        busy.append(around)
    name = prepared(server, "busy", film(busy, tmp_path / "busy.mp4", "-preset", "ultrafast"))
    order = there_and_back(CLIP, TAKE)
    slow = opened(server, name, voice[0], window=4096)
    parts = slow.chunks()
    first = next(parts)[1]
    for seen in at_once(2, lambda: pictures(part for _, part in opened(server, name, voice[0]).chunks())):
        assert numbers(seen) == order
    assert [job for job in server.jobs(dialect="musetalk") if job["state"] == "running"], "the slow one was not held by its reader"
    rest = [part for _, part in parts]
    assert numbers(pictures([first, *rest])) == order
    slow.close()


def manifests(server):
    return set(server.data.rglob("manifest.json"))


def rewrite(path, old, new):
    text = path.read_text()
    assert old in text, text
    path.write_text(text.replace(old, new))


def test_avatars_of_another_version(server, clip, voice):
    """A folder that another version of the program wrote is refused with both numbers, whichever of the two formats differs, and so is a damaged one."""
    before = manifests(server)
    prepared(server, "old", clip)
    (manifest,) = manifests(server) - before
    was = manifest.read_text()

    asked = itertools.count(1)

    def told():
        # equal requests are one job for a minute
        body, kind = form([("batch_size", next(asked))], files=[("audio_file", "voice.wav", "audio/wav", voice[0].read_bytes())])
        answer = httpx.post(server.url("musetalk", "/inference/batch/old"), content=body, headers={"content-type": kind}, timeout=120)
        assert answer.status_code >= 400, answer.status_code
        return answer.text

    rewrite(manifest, '"format": 1', '"format": 9')
    assert "format is 9, this program's is 1" in told()
    manifest.write_text(was)
    card = manifest.parent / json.loads(was)["parts"]["card"]["file"]
    good = card.read_bytes()
    rewrite(card, '"format": 1', '"format": 9')
    assert "is not what was written" in told()
    rewrite(manifest, hashlib.sha256(good).hexdigest(), hashlib.sha256(card.read_bytes()).hexdigest())
    assert "format 9, this program reads 1" in told() and "anew" in told()
    assert preprocess(server, "old", clip).status_code == 200, "the remedy"
    assert opened(server, "old", voice[0]).body()


def spoken(server, voice, **first):
    """Frames of a realtime session in msgpack, and what it said at the end."""
    place = server.url("all", f"/fal/run/{APP}/realtime").replace("http", "ws", 1)
    with websockets.sync.client.connect(place, max_size=None) as line:
        line.send(msgpack.packb(first))
        for at in range(0, len(voice), 6400):
            line.send(msgpack.packb({"audio": voice[at : at + 6400], "sample_rate": 16000}))
        line.send(msgpack.packb({"end": True}))
        seen = []
        while True:
            answer = line.recv(60)
            assert isinstance(answer, bytes), answer
            told = msgpack.unpackb(answer)
            if told.get("done"):
                return seen, told
            seen.append((told["frame"], cv2.imdecode(numpy.frombuffer(told["image"]["content"], numpy.uint8), cv2.IMREAD_COLOR).astype(int)))


def test_a_voice_that_arrives(server, clip, voice):
    """fal's realtime socket: sound goes in by fifths of a second, the clip comes back with another mouth, each frame in its turn."""
    seen, told = spoken(server, voice[1], video_url=fal_stage.data_uri(clip), bbox_shift=2)
    assert told["frames"] == TAKE and [number for number, _ in seen] == list(range(TAKE)), told
    order = there_and_back(CLIP, TAKE)
    take = [picture for _, picture in seen]
    assert numbers(take) == order
    mouth, hair = changed(numpy.stack(take), frames(clip)[order])
    assert mouth > 0.2 and hair < 0.02, (mouth, hair)


def test_the_realtime_client_of_fal(server, media, voice, tmp_path):
    """Unmodified, with a portrait."""
    small = tmp_path / "small.jpg"
    stage.ffmpeg("-i", media.small, "-vf", "scale=256:256", small)
    client = fal_stage.python_client("sync")(fal_stage.plain(server), tmp_path)
    try:
        sent = {"image": fal_stage.data_uri(small), "pcm": base64.b64encode(voice[1]).decode(), "use_jwt": False}
        told = client.call("realtime", app=APP, **sent)
    finally:
        client.stop()
    assert told["numbers"] == list(range(TAKE)) and told["done"] == {"done": True, "frames": TAKE}, told["done"]
    assert told["first"] != told["last"], "nothing moves"


def test_realtime_is_refused_with_a_reason(server, voice, tmp_path):
    """No face, nobody named, and an app that has no socket."""
    wall = tmp_path / "wall.png"
    stage.ffmpeg("-f", "lavfi", "-i", "color=gray:size=320x320", "-frames:v", "1", wall)
    sound = base64.b64encode(voice[1]).decode()
    nobody = {"image_url": fal_stage.data_uri(wall), "audio": sound, "end": True}
    for said, word in ((nobody, "no face was found"), ({"audio": sound}, "image_url or video_url")):
        place = server.url("all", f"/fal/run/{APP}/realtime").replace("http", "ws", 1)
        with websockets.sync.client.connect(place, max_size=None) as line:
            line.send(json.dumps(said))
            told = json.loads(line.recv(60))
            assert told["type"] == "x-fal-error" and told["error"] == "BAD_REQUEST" and word in told["reason"], told
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
        websockets.sync.client.connect(server.url("all", "/fal/run/talkie/svd/realtime").replace("http", "ws", 1))
    assert refused.value.response.status_code == 404 and b"talkie/musetalk" in refused.value.response.body


def test_a_disk_without_room_for_an_avatar(weights, clip, voice, tmp_path):
    """Told, nothing half-made is kept or listed, and the server goes on when there is room again."""
    with stage.small_disk(tmp_path / "disk", 24) as disk:
        server = stage.Talkie(disk, *flags(weights), only=("musetalk",))
        server.log_path = tmp_path / "server.log"
        with server:
            prepared(server, "kept", clip)
            filler = stage.fill(disk)
            failed = preprocess(server, "full", clip)
            assert failed.status_code in (500, 503, 507) and isinstance(failed.json()["detail"], str), failed.text
            listed = httpx.get(server.url("musetalk", "/avatars"))
            assert listed.json() == ["kept"], listed.text
            filler.unlink()
            prepared(server, "full", clip)
            assert opened(server, "full", voice[0]).body()
