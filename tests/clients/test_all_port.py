"""The port that has everything: each dialect under its prefix, and the probes."""

import json

import httpx
import pytest
import requests

import stage


@pytest.mark.parametrize(
    "path", ["/infinitetalk/api/health", "/infinitetalk/", "/musetalk/health", "/musetalk/avatars", "/svd/health", "/svd/generations"]
)
def test_dialects_under_their_prefixes(talkie, path):
    dialect, _, own = path[1:].partition("/")
    with httpx.Client(follow_redirects=True) as client:
        ours, theirs = client.get(talkie.url("all", path)), client.get(talkie.url(dialect, "/" + own))
    assert ours.status_code == theirs.status_code == 200
    assert type(ours.json()) is type(theirs.json()) and list(ours.json()) == list(theirs.json())


@pytest.mark.parametrize("dialect", [dialect for dialect in stage.DIALECTS if dialect != "all"])
def test_documents_under_their_prefixes(talkie, dialect):
    document = httpx.get(talkie.url("all", f"/{dialect}/openapi.json"))
    assert document.status_code == 200
    own = httpx.get(talkie.url(dialect, "/openapi.json")).json()
    assert {path.removeprefix(f"/{dialect}") for path in document.json()["paths"]} == set(own["paths"])
    assert httpx.get(talkie.url("all", f"/{dialect}/docs")).status_code == 200


def test_a_film_under_the_prefix(talkie, media):
    """The video generator's client prefixes relative URLs with its base, so a base with a prefix works."""
    base = talkie.url("all", "/svd")
    with open(media.jpeg, "rb") as picture:
        url = requests.post(f"{base}/upload-character", files={"character": ("me.jpg", picture, "image/jpeg")}, timeout=60).json()[
            "imageUrl"
        ]
    assert requests.get(base + url, timeout=20).headers["content-type"] == "image/jpeg"
    made = requests.post(f"{base}/generate-video", json={"characterImageUrl": url, "script": "wave", "duration": 1}, timeout=60).json()

    def ended():
        told = requests.get(f"{base}/generation/{made['id']}", timeout=20).json()
        return told if told["status"] in ("completed", "failed") else None

    told = stage.until(ended, 60, every=0.05)
    assert told["status"] == "completed" and requests.get(base + told["videoUrl"], timeout=20).headers["content-type"] == "video/mp4"


def test_the_express_variant_of_the_front_end(talkie, media):
    """Its routes lie below /api when it is served from one origin."""
    base = talkie.url("svd", "/api")
    assert requests.get(f"{base}/health", timeout=20).json()["status"] == "ok"
    with open(media.jpeg, "rb") as picture:
        url = requests.post(f"{base}/upload-character", files={"character": ("me.jpg", picture, "image/jpeg")}, timeout=60).json()[
            "imageUrl"
        ]
    made = requests.post(f"{base}/generate-video", json={"characterImageUrl": url, "script": "wave", "duration": 1}, timeout=60).json()
    assert requests.get(f"{base}/generation/{made['id']}", timeout=20).json()["id"] == made["id"]
    assert made["id"] in [one["id"] for one in requests.get(f"{base}/generations", timeout=20).json()]


def test_probes(talkie):
    assert httpx.get(talkie.url("all", "/livez")).status_code == 200
    assert httpx.get(talkie.url("all", "/readyz")).status_code == 200
    metrics = httpx.get(talkie.url("all", "/metrics"))
    assert metrics.status_code == 200 and metrics.headers["content-type"].startswith("text/plain")
    for line in metrics.text.splitlines():
        assert line.startswith("#") or not line or len(line.rsplit(" ", 1)) == 2 and float(line.rsplit(" ", 1)[1]) is not None


def test_a_name_that_is_not_ours_reads_nothing(talkie):
    """A page whose DNS was pointed at this machine asks under its own name."""
    for path in ("/metrics", "/readyz", "/svd/health", "/v1/jobs"):
        assert httpx.get(talkie.url("all", path), headers={"host": "evil.example"}).status_code == 403, path


def test_request_ids(talkie):
    told = httpx.get(talkie.url("svd", "/health"), headers={"x-request-id": "mine-123"})
    assert told.headers["x-request-id"] == "mine-123"
    assert httpx.get(talkie.url("svd", "/health")).headers["x-request-id"]


METRICS = {
    "queue depth": "talkie_queue_depth",
    "wait in the queue": "talkie_queue_wait_seconds_count",
    "stage times": 'talkie_stage_seconds_count{stage="rendering"',
    "frames a second": 'talkie_frames_per_second_count{engine="puppet"',
    "real-time factor": 'talkie_real_time_factor_count{engine="puppet"',
    "frames by encoder": "talkie_frames_total{",
    "jobs by outcome": 'outcome="done"',
    "errors by code": "talkie_errors_total{code=",
    "requests": "talkie_http_requests_total{",
    "time of requests": "talkie_http_request_seconds_count{",
    "live sessions": "talkie_live_sessions",
    "answers from memory": 'talkie_cache_hits_total{cache="jobs"',
    "answers from the record": 'talkie_cache_misses_total{cache="jobs"',
}


def test_metrics_after_a_good_and_a_bad_job(new_talkie, media):
    """Every figure that is promised is there once there was something to count; the log is JSON, a line each, with the job's id."""
    server = new_talkie("--conf", "serve.log_json=true", only=("svd",))
    with open(media.jpeg, "rb") as picture:
        url = requests.post(server.url("svd", "/upload-character"), files={"character": ("me.jpg", picture, "image/jpeg")}, timeout=60)
    made = []
    for one in (url.json()["imageUrl"], "/uploads/character_00000000-0000-4000-8000-000000000000.jpg"):
        wish = {"characterImageUrl": one, "script": "wave", "duration": 1}
        made.append(requests.post(server.url("svd", "/generate-video"), json=wish, timeout=60).json()["id"])

    def ended():
        told = [requests.get(server.url("svd", f"/generation/{one}"), timeout=20).json()["status"] for one in made]
        return told if set(told) <= {"completed", "failed"} else None

    assert stage.until(ended, 60, every=0.05) == ["completed", "failed"]
    assert ended()
    text = httpx.get(server.url("all", "/metrics")).text
    missing = [what for what, name in METRICS.items() if name not in text]
    assert not missing, (missing, text)
    lines = [line for line in server.log_path.read_text().splitlines() if line.startswith("{")]
    told = [json.loads(line) for line in lines]
    for one in made:
        assert any(one in (line.get("fields") or {}).get("job", "") for line in told), (one, lines[-5:])
