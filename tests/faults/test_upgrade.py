"""A data folder of the first program that could keep one: whoever replaces the program keeps jobs and videos, and what waited is made.
`make_data_folder.py` tells what is in it."""

import hashlib
import pathlib
import tarfile

import pytest

import stage

FOLDER = pathlib.Path(__file__).parent / "data_folder_303ed26.tar.gz"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    place = tmp_path_factory.mktemp("upgrade")
    with tarfile.open(FOLDER) as archive:
        archive.extractall(place, filter="data")
    with stage.Talkie(place, "--conf", "serve.slots=1") as server:
        yield server


def of(server, dialect, **wanted):
    return [job for job in server.jobs(dialect=dialect) if all(job[name] == value for name, value in wanted.items())]


def test_what_waited_is_made_and_the_rest_stands(server, http):
    stage.until(lambda: not of(server, "svd", state="queued") + of(server, "svd", state="running"), 90, what="the old queue to be made")
    states = sorted(job["state"] for job in of(server, "svd"))
    assert states == ["canceled", "done", "done", "done", "done"], states
    assert [job["attempt"] for job in of(server, "svd", state="done")].count(2) == 1, "the one that was running began anew"
    (failed,) = of(server, "infinitetalk", state="failed")
    assert failed["error"]["message"], failed
    newest = http.get(server.url("svd", "/generations")).json()
    assert len(newest) == 5, newest


def test_every_video_is_there(server, http):
    stage.until(lambda: not of(server, "svd", state="queued") + of(server, "svd", state="running"), 90, what="the old queue to be made")
    done = [job for job in server.jobs(state="done") if job["take"] and job["take"]["url"]]
    assert {job["dialect"] for job in done} == {"infinitetalk", "svd"} and len(done) == 5, done
    for job in done:
        take = http.get(server.url("all", job["take"]["url"]))
        assert take.status_code == 200 and hashlib.sha256(take.content).hexdigest() == job["take"]["sha256"], job
        assert job["take"]["engine"] == "puppet" and job["take"]["weights"] == ["visnet-1"], job


def test_it_goes_on_working(server, http, media):
    """What the old program did not have yet: an avatar, its stream, and a new video beside the old ones."""
    picture = {"video_file": ("p.png", media.small.read_bytes(), "image/png")}
    answer = http.post(server.url("musetalk", "/avatars/preprocess"), data={"avatar_id": "anna"}, files=picture)
    assert answer.status_code == 200, answer.text
    voice = {"audio_file": ("v.wav", media.short.read_bytes(), "audio/wav")}
    stream = http.post(server.url("musetalk", "/inference/stream/anna?pace=fast"), files=voice)
    pictures = stream.content.count(b"--frame\r\n")
    assert stream.status_code == 200 and abs(pictures - media.seconds(media.short) * 25) <= 1, pictures


def test_a_second_start_finds_the_same(server):
    stage.until(lambda: not [job for job in server.jobs() if job["state"] in ("queued", "running")], 90, what="all jobs to end")
    before = {job["id"]: job["state"] for job in server.jobs()}
    assert server.stop() == 0
    server.start()
    assert {job["id"]: job["state"] for job in server.jobs()} == before
