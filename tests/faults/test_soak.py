"""Live streams, jobs and webhooks for a while: memory and descriptors stay flat, and no event, picture or delivery is lost.

Half a minute by default; TALKIE_SOAK_MINUTES=30 for the long run (`make soak`), which prints what it saw.
"""

import json
import os
import pathlib
import threading
import time

import httpx
import pytest

import fal_hooks
import stage
from fal_stage import APP
from mjpeg import Raw, form, jpeg_of

MINUTES = float(os.environ.get("TALKIE_SOAK_MINUTES", "0.5"))
SAMPLE_S = 0.5
# what a server and its workers may grow by between the second quarter and the last: pools fill, records are read
MORE_MIB, MORE_DESCRIPTORS = 24, 12


def memory_mib(server):
    """Of the server and its workers, without the ffmpegs of a moment."""
    total = 0
    for pid in [server.process.pid, *server.workers()]:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Private_Clean", "Private_Dirty")):
                total += int(line.split()[1])
    return total / 1024


def descriptors(server):
    return sum(len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir())) for pid in [server.process.pid, *server.workers()])


class Load:
    """Clients that do the same again and again, until it is over or something is wrong."""

    def __init__(self, server, media, inputs, receiver):
        self.server, self.media, self.inputs, self.receiver = server, media, inputs, receiver
        self.over, self.wrong, self.done = threading.Event(), [], {"streams": 0, "jobs": 0, "lines": 0, "hooks": 0}
        self.threads = [threading.Thread(target=self.repeat, args=(one,)) for one in (self.stream, self.job, self.hook)]

    def repeat(self, one):
        try:
            with httpx.Client(timeout=120) as http:
                while not self.over.is_set():
                    one(http)
        except BaseException as error:  # an assertion of a thread is the test's
            self.wrong.append(error)
            self.over.set()

    def stream(self, _):
        """Every picture of a voice comes, whole, and the stream ends."""
        body, kind = form(files=[("audio_file", "v.wav", "audio/wav", self.media.short.read_bytes())])
        url = self.server.url("musetalk", "/inference/stream/soak?pace=fast")
        raw = Raw(url, "POST", body, {"Content-Type": kind}, timeout=60)
        try:
            assert raw.status == 200, raw.status
            pictures = sum(len(jpeg_of(part)) > 500 for _, part in raw.chunks())
        finally:
            raw.close()
        expected = self.media.seconds(self.media.short) * 25
        assert abs(pictures - expected) <= 1, (pictures, expected)
        self.done["streams"] += 1

    def job(self, http):
        """A generation, watched: what the events told is what the record has, and its end is among it."""
        wish = {"characterImageUrl": self.picture, "script": "soak", "duration": 1, "quality": "512"}
        told = http.post(self.server.url("svd", "/generate-video"), json=wish)
        if told.status_code == 503:
            return time.sleep(0.2)
        job = told.raise_for_status().json()["id"]
        lines, states = [], []
        with http.stream("GET", self.server.url("all", f"/v1/jobs/{job}/events")) as events:
            kind = None
            for line in events.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data" and kind == "job":
                    states.append(json.loads(value)["state"])
                elif name == "data" and kind == "log":
                    lines.append(json.loads(value))
        assert states[-1] == "done" and states == sorted(states, key=["queued", "running", "done"].index), states
        kept = self.server.api("GET", f"/jobs/{job}/log")
        kept = kept["lines"] if isinstance(kept, dict) else kept
        assert [line["message"] for line in lines] == [line["message"] for line in kept], (lines, kept)
        video = http.get(self.server.url("svd", f"/videos/video_{job}.mp4")).raise_for_status()
        assert video.content[4:8] == b"ftyp"
        self.done["jobs"] += 1
        self.done["lines"] += len(lines)

    def hook(self, http):
        """A request of fal's queue whose result is delivered, once."""
        url = self.receiver.url("/soak")
        told = http.post(self.server.url("all", f"/fal/queue/{APP}"), params={"fal_webhook": url}, json=self.inputs.wish())
        if told.status_code == 503:
            return time.sleep(0.2)
        request = told.raise_for_status().json()["request_id"]

        def deliveries():
            return [one for one in list(self.receiver.deliveries) if one.json()["request_id"] == request]

        stage.until(deliveries, 120, every=0.05, what=f"the delivery of {request}")
        assert [one.json()["status"] for one in deliveries()] == ["OK"]
        self.done["hooks"] += 1

    def run(self, seconds):
        """(second, MiB, descriptors) as they were meanwhile."""
        with open(self.media.jpeg, "rb") as picture:
            files = {"character": ("me.jpg", picture, "image/jpeg")}
            self.picture = httpx.post(self.server.url("svd", "/upload-character"), files=files, timeout=60).json()["imageUrl"]
        with open(self.media.small, "rb") as picture:
            sent = {"data": {"avatar_id": "soak"}, "files": {"video_file": ("p.png", picture)}}
            httpx.post(self.server.url("musetalk", "/avatars/preprocess"), timeout=60, **sent).raise_for_status()
        begun, seen = time.monotonic(), []
        for thread in self.threads:
            thread.start()
        while not self.over.wait(SAMPLE_S) and time.monotonic() - begun < seconds:
            seen.append((time.monotonic() - begun, memory_mib(self.server), descriptors(self.server)))
        self.over.set()
        for thread in self.threads:
            thread.join(150)
        return seen


@pytest.mark.timeout(60 * MINUTES + 300)
def test_soak(tmp_path, media, inputs):
    allowed = ["--conf", 'fetch.allowed_networks=["127.0.0.1/32"]']
    with stage.Talkie(tmp_path / "stage", *allowed) as server, fal_hooks.Receiver() as receiver:
        load = Load(server, media, inputs, receiver)
        seen = load.run(60 * MINUTES)
        if load.wrong:
            raise load.wrong[0]
        quarter = len(seen) // 4
        early, late = seen[quarter : 2 * quarter], seen[3 * quarter :]
        for name, column, more in (("MiB", 1, MORE_MIB), ("descriptors", 2, MORE_DESCRIPTORS)):
            before, after = (sorted(row[column] for row in rows)[len(rows) // 2] for rows in (early, late))
            print(f"{name}: {before:.0f} in the second quarter, {after:.0f} in the last")
            assert after <= before + more, (name, before, after, seen[:: max(1, len(seen) // 20)])
        print(load.done)
        assert all(load.done.values()), load.done
        assert not [job for job in server.jobs() if job["state"] not in ("done", "canceled")], server.jobs()
        left = [path for path in (server.data / "scratch").rglob("*") if path.is_file()]
        assert not left, left
        assert server.stop() == 0, server.log()
