"""Whole servers whose record is in Postgres: one that loses its database and finds it again, one that is killed, two beside each other."""

import httpx
import pytest

import postgres_server
import stage


@pytest.fixture
def postgres():
    with postgres_server.Postgres() as running:
        yield running


def server_on(postgres, folder, *flags):
    return stage.Talkie(folder, "--conf", f'serve.database="{postgres.url}"', "--conf", "serve.slots=1", *flags, only=("svd",))


def order(server, media):
    """A job: its id."""
    with open(media.jpeg, "rb") as picture:
        sent = httpx.post(server.url("svd", "/upload-character"), files={"character": ("me.jpg", picture, "image/jpeg")}, timeout=60)
    assert sent.status_code == 200, sent.text
    wish = {"characterImageUrl": sent.json()["imageUrl"], "script": "wave", "duration": 2, "quality": "512"}
    ordered = httpx.post(server.url("svd", "/generate-video"), json=wish, timeout=60)
    assert ordered.status_code == 200, ordered.text
    return ordered.json()["id"]


def states(server):
    return {job["id"]: job["state"] for job in server.jobs()}


def done(server, *jobs, limit=90):
    stage.until(lambda: all(states(server).get(job) == "done" for job in jobs), limit, every=0.1, what=f"the end of {jobs}\n{server.log()}")


def test_the_database_goes_and_comes_back(tmp_path, media, postgres):
    """What was running ends, what was waiting is made, and meanwhile a request is told why it is refused."""
    with server_on(postgres, tmp_path) as server:
        done(server, order(server, media))
        with server.frozen():
            jobs = [order(server, media) for _ in range(3)]
            stage.until(lambda: "running" in states(server).values(), what="the first job")
            postgres.stop()
        refused = httpx.get(server.url("svd", f"/generation/{jobs[0]}"), timeout=60)
        assert refused.status_code in (500, 503) and refused.json(), refused.text
        assert "postgres://" not in refused.text, refused.text
        assert httpx.get(server.url("all", "/livez"), timeout=10).status_code == 200
        postgres.start()
        done(server, *jobs)
        done(server, order(server, media))
        for job in jobs:
            assert httpx.get(server.url("svd", f"/generation/{job}"), timeout=60).json()["status"] == "completed"


def test_a_killed_server_goes_on(tmp_path, media, postgres):
    """Its running job is another's to take after 30 s without a sign of life: here, its own again."""
    server = server_on(postgres, tmp_path)
    with server:
        done(server, order(server, media))
        with server.frozen():
            jobs = [order(server, media) for _ in range(2)]
            stage.until(lambda: "running" in states(server).values(), what="the first job")
            server.kill()
    with server:
        done(server, *jobs)
        takes = [job["take"] for job in server.jobs() if job["id"] in jobs]
        assert len(takes) == 2 and all(takes), takes


def test_two_servers_share_a_record(tmp_path, media, postgres):
    """Jobs of one are seen, waited for and canceled through the other; each makes what it has room for."""
    with server_on(postgres, tmp_path / "a") as a, server_on(postgres, tmp_path / "b") as b:
        done(b, order(a, media))
        done(a, order(b, media))
        with a.frozen(), b.frozen():
            canceled = order(a, media)
            stage.until(lambda: states(b).get(canceled), what="the news")
            b.api("POST", f"/jobs/{canceled}/cancel")
        stage.until(lambda: states(a)[canceled] == "canceled", 60, what=f"the cancellation {states(a)}\n{a.log()}")
