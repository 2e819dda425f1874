"""kill -9 of worker and server at random moments: no job that was acknowledged is lost, and each has exactly one result.

Ten rounds by default; TALKIE_ROUNDS=100 for the long run (`make faults`). The moments come from TALKIE_SEED.
"""

import contextlib
import json
import os
import pathlib
import random
import signal
import threading

import httpx
import pytest

import stage

ROUNDS = int(os.environ.get("TALKIE_ROUNDS", "10"))
SEED = int(os.environ.get("TALKIE_SEED", "20261120"))
TARGETS = ("worker", "server", "both", "worker while submitting", "server while submitting")


class Client:
    """Orders films, and keeps what the server has acknowledged."""

    def __init__(self, server, media):
        self.server, self.http = server, httpx.Client(timeout=60)
        with open(media.jpeg, "rb") as picture:
            self.picture = self.http.post(
                server.url("svd", "/upload-character"), files={"character": ("me.jpg", picture, "image/jpeg")}
            ).json()["imageUrl"]
        self.acknowledged, self.sent = [], 0

    def order(self):
        """Whether the server said yes."""
        self.sent += 1
        wish = {"characterImageUrl": self.picture, "script": f"number {self.sent}", "duration": 1, "quality": "512"}
        try:
            answer = self.http.post(self.server.url("svd", "/generate-video"), json=wish)
        except httpx.TransportError:
            return False
        assert answer.status_code in (200, 503), answer.text
        if answer.status_code == 200:
            self.acknowledged.append(answer.json()["id"])
        return answer.status_code == 200

    def state(self, generation):
        return self.http.get(self.server.url("svd", f"/generation/{generation}")).json()["status"]

    def settle(self, limit=90):
        stage.until(
            lambda: not [job for job in self.server.jobs() if job["state"] in ("queued", "running")],
            limit,
            every=0.05,
            what=f"the end of all jobs\n{self.server.log()}",
        )


def strike(server, target):
    if target.startswith(("worker", "both")):
        for pid in server.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if target.startswith(("server", "both")):
        below = server.workers()
        server.kill()
        # workers die with their server
        stage.until(lambda: not any(stage.alive(pid) for pid in below), 10, what="the end of the workers")
        server.start()


def one_result_each(server, generations):
    """Through the API and in the folder."""
    records = server.jobs()
    by_id = {}
    for job in records:
        assert job["id"] not in by_id
        by_id[job["id"]] = job
    for generation in generations:
        assert by_id[generation]["state"] == "done", (generation, by_id[generation], server.log())
    takes = (
        {folder.name: sorted(folder.glob("*")) for folder in (server.data / "takes").iterdir()} if (server.data / "takes").exists() else {}
    )
    assert set(takes) == {job["id"] for job in records if job["state"] == "done"}
    for generation, files in takes.items():
        assert len(files) == 1 and files[0].suffix == ".mp4", (generation, files)
    scratch = server.data / "scratch"
    left = [path for path in scratch.rglob("*") if path.is_file()] if scratch.exists() else []
    assert not left, left
    return takes


@pytest.mark.timeout(60 + 30 * ROUNDS)
def test_zero_lost_exactly_one_result(tmp_path, media):
    chance = random.Random(SEED)
    server = stage.Talkie(tmp_path / "stage", only=("svd",))
    struck = {target: 0 for target in TARGETS}
    with server:
        client = Client(server, media)
        # how long one takes here, so that the moments fall all over a job's life
        client.order()
        begun = os.times().elapsed
        client.settle()
        usual = os.times().elapsed - begun
        for number in range(ROUNDS):
            target = TARGETS[number % len(TARGETS)]
            for _ in range(chance.randint(1, 3)):
                assert client.order()
            moment = chance.uniform(0, usual * 1.5)
            submitter = None
            if target.endswith("submitting"):
                submitter = threading.Thread(target=lambda: [client.order() for _ in range(4)])
                submitter.start()
                moment = chance.uniform(0, 0.05)
            threading.Event().wait(moment)
            strike(server, target)
            struck[target] += 1
            if submitter:
                submitter.join(60)
            # one strike a job: the third death of the same job would rightly be its end
            client.settle()
        takes = one_result_each(server, client.acknowledged)
        for generation in client.acknowledged:
            video = client.http.get(server.url("svd", f"/videos/video_{generation}.mp4"))
            assert video.status_code == 200 and len(video.content) == takes[generation][0].stat().st_size
        sample = takes[chance.choice(client.acknowledged)][0]
        assert int(stage.streams(sample)["video"]["nb_read_packets"]) == 25
    print(f"{ROUNDS} rounds {json.dumps(struck)}: {len(client.acknowledged)} jobs acknowledged, 0 lost, {len(takes)} results")


def test_a_held_open_answer_survives_its_worker(tmp_path, media):
    """The client of the synchronous dialect does not notice that its worker was killed."""
    with stage.Talkie(tmp_path / "stage", only=("infinitetalk",)) as server:
        for source in (media.small, media.long):
            (server.media / source.name).write_bytes(source.read_bytes())
        answers = []
        body = {"audio_path": str(server.media / media.long.name), "image_path": str(server.media / media.small.name)}
        thread = threading.Thread(
            target=lambda: answers.append(httpx.post(server.url("infinitetalk", "/api/generate-video"), json=body, timeout=280))
        )
        thread.start()
        stage.until(lambda: [job for job in server.jobs() if job["state"] == "running"], 20, what="the job's start")
        strike(server, "worker")
        thread.join(290)
        assert answers and answers[0].status_code == 200, answers and answers[0].text
        path = pathlib.Path(answers[0].json()["video_path"])
        assert path.is_file() and sorted(path.parent.glob("*")) == [path]
        assert [job["attempt"] for job in server.jobs()] == [2]


def test_a_job_that_kills_its_worker_three_times_is_failed(tmp_path, media):
    with stage.Talkie(tmp_path / "stage", only=("svd",)) as server:
        client = Client(server, media)
        wish = {"characterImageUrl": client.picture, "script": "poison", "duration": 10, "quality": "1024"}
        generation = client.http.post(server.url("svd", "/generate-video"), json=wish).json()["id"]
        for death in range(3):
            stage.until(
                lambda: [job for job in server.jobs() if job["state"] == "running" and job["attempt"] == death + 1],
                30,
                what=f"attempt {death + 1}",
            )
            strike(server, "worker")
        client.settle()
        assert client.state(generation) == "failed"
        job = server.api("GET", f"/jobs/{generation}")
        assert "poison" in json.dumps(job), job
        # and the next one is served
        assert client.order()
        client.settle()
        assert client.state(client.acknowledged[-1]) == "completed"


def test_a_live_session_ends_with_its_worker(tmp_path, media):
    with (
        stage.Talkie(tmp_path / "stage", only=("musetalk",)) as server,
        open(media.small, "rb") as picture,
        open(media.long, "rb") as voice,
    ):
        made = httpx.post(
            server.url("musetalk", "/avatars/preprocess"), data={"avatar_id": "a"}, files={"video_file": ("p.png", picture)}, timeout=60
        )
        assert made.status_code == 200, made.text
        with (
            httpx.Client(timeout=30) as http,
            http.stream("POST", server.url("musetalk", "/inference/stream/a"), files={"audio_file": voice}) as answer,
        ):
            pieces = answer.iter_bytes()
            next(pieces)
            strike(server, "worker")
            with contextlib.suppress(httpx.RemoteProtocolError):
                for _ in pieces:
                    pass
        stage.until(
            lambda: [job["state"] for job in server.jobs(dialect="musetalk") if job["state"] in ("running", "queued")] == [],
            10,
            what="the session's end",
        )
        # the next client is served by the worker's successor
        with open(media.short, "rb") as voice:
            again = httpx.post(server.url("musetalk", "/inference/stream/a"), files={"audio_file": voice}, timeout=60)
        assert again.status_code == 200 and again.content.count(b"\xff\xd8\xff") > 10
