"""What fails around the server: the disk, S3, the database, the clock, and whoever says SIGTERM."""

import contextlib
import pathlib
import signal
import socket
import sqlite3
import threading
import time

import httpx

import s3_server
import stage


def put_media(server, *sources):
    for source in sources:
        (server.media / source.name).write_bytes(source.read_bytes())


def talk(server, image, audio, **more):
    body = {"audio_path": str(server.media / audio.name), "image_path": str(server.media / image.name)} | more
    return httpx.post(server.url("infinitetalk", "/api/generate-video"), json=body, timeout=280)


def upload(server, media):
    with open(media.jpeg, "rb") as picture:
        return httpx.post(server.url("svd", "/upload-character"), files={"character": ("me.jpg", picture, "image/jpeg")}, timeout=60)


def generate(server, picture, **more):
    wish = {"characterImageUrl": picture, "script": "wave", "duration": 1, "quality": "512"} | more
    return httpx.post(server.url("svd", "/generate-video"), json=wish, timeout=60)


def settled(server, limit=120):
    stage.until(
        lambda: not [job for job in server.jobs() if job["state"] in ("queued", "running")],
        limit,
        every=0.05,
        what=f"the end of all jobs\n{server.log()}",
    )
    return {job["id"]: job["state"] for job in server.jobs()}


def test_disk_full(tmp_path, media):
    """A take, an upload and an avatar that find no room fail with a reason; the server lives, and works when there is room again."""
    with stage.small_disk(tmp_path / "disk", 48) as disk:
        server = stage.Talkie(disk, only=("infinitetalk", "svd"))
        server.log_path, server.media = tmp_path / "server.log", tmp_path / "media"
        server.media.mkdir()
        put_media(server, media.small, media.mp3)
        with server:
            picture = upload(server, media).json()["imageUrl"]
            assert talk(server, media.small, media.mp3).status_code == 200
            filler = stage.fill(disk)
            failed = talk(server, media.small, media.mp3, seed=7)
            assert failed.status_code in (500, 503, 507) and isinstance(failed.json()["detail"], str), failed.text
            refused = upload(server, media)
            assert refused.status_code in (500, 503, 507), refused.text
            ordered = generate(server, picture)
            assert ordered.status_code in (200, 500, 503, 507), ordered.text
            assert httpx.get(server.url("svd", "/health")).status_code == 200
            filler.unlink()
            if ordered.status_code == 200:
                assert settled(server)[ordered.json()["id"]] in ("done", "failed")
            healed = talk(server, media.small, media.mp3, seed=8)
            assert healed.status_code == 200, (healed.text, server.log())
            again = generate(server, upload(server, media).json()["imageUrl"]).json()["id"]
            assert settled(server)[again] == "done"
            scratch = [path for path in (server.data / "scratch").rglob("*") if path.is_file()]
            assert not scratch, scratch


def test_s3_down_and_back(tmp_path, media):
    s3 = s3_server.S3(tmp_path / "s3", "films").start()
    try:
        client = s3.client()
        client.upload_file(str(media.clip), "films", "v.mp4")
        client.upload_file(str(media.short), "films", "a.wav")
        server = stage.Talkie(
            tmp_path / "stage", "--conf", 'store.s3_allowed.musetalk-s3=["s3://films"]', only=("musetalk-s3",), env=s3.environment()
        )
        body = {
            "s3_bucket": "films",
            "s3_prefix": "out",
            "avatars": {"a": {"video_path": "s3://films/v.mp4", "audio_clips": {"b": "s3://films/a.wav"}}},
        }

        def infer(name):
            # a name of its own: the same request within a minute is answered from the record
            asked = {**body, "output_vid_name": name}
            return httpx.post(server.url("musetalk-s3", "/inference"), json=asked, params={"avatar_id": "a", "audio_id": "b"}, timeout=200)

        with server:
            assert infer("first").status_code == 200
            s3.stop()
            begun = time.monotonic()
            down = infer("second")
            assert down.status_code == 500 and down.json()["detail"].startswith("Failed to download file from S3: "), down.text
            assert time.monotonic() - begun < 120
            s3.start()
            assert infer("third").status_code == 200
    finally:
        s3.stop()


def test_a_store_that_does_not_answer_holds_up_no_other_job(tmp_path, media):
    """Jobs of a killed server are made again. What they left is to be removed first, from a store that takes connections and says nothing."""
    with s3_server.S3(tmp_path / "s3", "kept") as s3:
        options = ["--conf", 'store.remote="s3://kept/talkie"', "--conf", "serve.slots=2"]
        server = stage.Talkie(tmp_path / "stage", *options, only=("svd",), env=s3.environment())

        def running():
            return [job["id"] for job in server.jobs() if job["state"] == "running"]

        with server:
            picture = upload(server, media).json()["imageUrl"]
            ordered = [generate(server, picture, duration=60, script=f"number {i}").json()["id"] for i in range(2)]
            stage.until(lambda: len(running()) == 2, 30, what="the start of both")
            server.kill()
            s3.pause()
            server.start()
            later = generate(server, picture, script="later").json()["id"]
            stage.until(lambda: len(running()) == 2, 40, what=f"both again\n{server.log()}")
            assert "the store did not answer within 5 s" in server.log()
            assert httpx.get(server.url("svd", "/health"), timeout=5).status_code == 200
            s3.go_on()
            ended = settled(server, 240)
            assert ended == dict.fromkeys([*ordered, later], "done"), server.log()


def test_database_locked(tmp_path, media):
    """Somebody holds SQLite's write lock for seconds: readers are served, writers wait or are told to come again, nothing is lost."""
    with stage.Talkie(tmp_path / "stage", only=("svd",)) as server:
        picture = upload(server, media).json()["imageUrl"]
        first = generate(server, picture).json()["id"]
        settled(server)
        blocker = sqlite3.connect(server.data / "talkie.db", isolation_level=None, timeout=20)
        blocker.execute("BEGIN IMMEDIATE")
        answers = []
        thread = threading.Thread(target=lambda: answers.append(generate(server, picture)))
        thread.start()
        begun = time.monotonic()
        while time.monotonic() - begun < 3:
            told = httpx.get(server.url("svd", f"/generation/{first}"), timeout=10)
            assert told.status_code == 200 and told.json()["status"] == "completed"
        blocker.execute("ROLLBACK")
        blocker.close()
        thread.join(60)
        assert answers[0].status_code in (200, 503), answers[0].text
        if answers[0].status_code == 503:
            assert "retry-after" in answers[0].headers
        else:
            assert settled(server)[answers[0].json()["id"]] == "done"
        later = generate(server, picture).json()["id"]
        assert settled(server)[later] == "done"


def test_database_locked_while_a_job_ends(tmp_path, media):
    """The result of a job that ends while the record cannot be written is not lost."""
    with stage.Talkie(tmp_path / "stage", only=("svd",)) as server:
        picture = upload(server, media).json()["imageUrl"]
        generation = generate(server, picture, duration=3).json()["id"]
        stage.until(lambda: server.api("GET", f"/jobs/{generation}")["state"] == "running", 20, every=0.005, what="the start")
        blocker = sqlite3.connect(server.data / "talkie.db", isolation_level=None, timeout=20)
        blocker.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        while time.monotonic() - begun < 6:
            assert httpx.get(server.url("svd", "/health"), timeout=10).status_code == 200
        blocker.execute("ROLLBACK")
        blocker.close()
        assert settled(server)[generation] == "done"
        assert len(list((server.data / "takes" / generation).glob("*.mp4"))) == 1


LIBFAKETIME = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


def test_clock_jump(tmp_path, media):
    """The wall clock jumps two days on, then three back: no job is lost, none is taken for stalled, history stays in the order of submission."""
    assert LIBFAKETIME, "libfaketime is not there: scripts/setup.sh clients installs it"
    clock = tmp_path / "clock"
    clock.write_text("+0")
    environment = {
        "LD_PRELOAD": str(LIBFAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with stage.Talkie(tmp_path / "stage", only=("svd", "infinitetalk"), env=environment) as server:
        put_media(server, media.small, media.mp3)
        picture = upload(server, media).json()["imageUrl"]
        made = []
        for jump in ("+0", "+2d", "-1d", "+10y", "+0"):
            made.append(generate(server, picture, duration=2).json())
            stage.until(lambda: server.api("GET", f"/jobs/{made[-1]['id']}")["state"] != "queued", 20, every=0.005, what="the start")
            clock.write_text(jump)
            made.append(generate(server, picture).json())
        # the clock was in force: createdAt tells of it
        assert len({one["createdAt"][:10] for one in made}) >= 3, [one["createdAt"] for one in made]
        states = settled(server)
        assert {states[one["id"]] for one in made} == {"done"}, server.log()
        history = [one["id"] for one in httpx.get(server.url("svd", "/generations")).json()]
        assert history == [one["id"] for one in made][::-1]
        assert talk(server, media.small, media.mp3).status_code == 200


def test_sigterm_under_load(tmp_path, media):
    """What runs is finished, what waits is kept, whoever holds a line gets an answer, and the exit is clean."""
    server = stage.Talkie(tmp_path / "stage", "--conf", "serve.slots=1", "--conf", "serve.drain_seconds=60")
    with server:
        put_media(server, media.small, media.mp3)
        picture = upload(server, media).json()["imageUrl"]
        made = [generate(server, picture, duration=3, script=f"{n}").json()["id"] for n in range(6)]
        stage.until(lambda: server.api("GET", f"/jobs/{made[0]}")["state"] != "queued", 20, every=0.005, what="the start")
        below = server.pids()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(70) == 0, server.log()
        assert not any(stage.alive(pid) for pid in below)
        server.start()
        states = settled(server)
        assert {states[one] for one in made} == {"done"}, states
        for one in made:
            assert len(list((server.data / "takes" / one).glob("*.mp4"))) == 1


def test_sigterm_with_a_line_held(tmp_path, media):
    server = stage.Talkie(tmp_path / "stage", "--conf", "serve.drain_seconds=120", only=("infinitetalk", "musetalk"))
    with server:
        put_media(server, media.small, media.mp3, media.long)
        answers = []
        thread = threading.Thread(target=lambda: answers.append(talk(server, media.small, media.long)))
        thread.start()
        stage.until(lambda: [job for job in server.jobs() if job["state"] == "running"], 20, every=0.005, what="the start")
        server.process.send_signal(signal.SIGTERM)

        def refuses():
            try:
                return httpx.get(server.url("all", "/readyz"), timeout=5).status_code == 503
            except httpx.TransportError:
                return True

        stage.until(refuses, 10, what="readiness to end")
        thread.join(130)
        assert answers and answers[0].status_code == 200, (answers and answers[0].text, server.log())
        assert pathlib.Path(answers[0].json()["video_path"]).is_file()
        assert server.process.wait(30) == 0, server.log()


def test_who_waits_is_not_who_hangs_up(tmp_path, media):
    """A server whose clients cancel by hanging up is told to end: what waits is kept, though its line ends."""
    flags = ["--conf", "infinitetalk.on_hangup=cancel", "--conf", "serve.drain_seconds=1"]
    server = stage.Talkie(tmp_path / "stage", *flags, only=("infinitetalk",))
    with server:
        put_media(server, media.small, media.long)
        answers = []
        thread = threading.Thread(target=lambda: answers.append(talk(server, media.small, media.long)))
        thread.start()
        stage.until(lambda: [job for job in server.jobs() if job["state"] == "running"], 20, every=0.005, what="the start")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0, server.log()
        thread.join(30)
        server.start()
        states = settled(server, 200)
        assert list(states.values()) == ["done"], (states, server.log())


def test_a_second_sigterm_or_an_end_of_patience(tmp_path, media):
    """A drain has a limit: what is not done by then is kept for the next start."""
    server = stage.Talkie(tmp_path / "stage", "--conf", "serve.drain_seconds=1", only=("svd",))
    with server:
        picture = upload(server, media).json()["imageUrl"]
        made = [generate(server, picture, duration=10, quality="1024", script=f"{n}").json()["id"] for n in range(3)]
        stage.until(lambda: server.api("GET", f"/jobs/{made[0]}")["state"] == "running", 20, every=0.005, what="the start")
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0 and time.monotonic() - begun < 15
        server.start()
        states = settled(server, 200)
        assert {states[one] for one in made} == {"done"}, states


def test_a_busy_port_is_named(tmp_path):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as holder:
        port = holder.getsockname()[1]
        server = stage.Talkie(tmp_path / "stage", only=("svd",))
        server.ports["svd"] = port
        server.start(wait=False)
        assert server.process.wait(20) not in (0, None)
        assert str(port) in server.log() and "svd" in server.log(), server.log()


def test_two_servers_on_one_data_folder(tmp_path, media):
    """The second says why it will not; the first is not disturbed."""
    with stage.Talkie(tmp_path / "stage", only=("svd",)) as server:
        second = stage.Talkie(tmp_path / "stage", only=("svd",))
        second.log_path = tmp_path / "second.log"
        second.start(wait=False)
        try:
            assert second.process.wait(20) != 0, second.log()
            assert str(server.data) in second.log(), second.log()
        finally:
            second.stop()
        assert upload(server, media).status_code == 200
