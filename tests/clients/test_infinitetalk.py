"""The InfiniteTalk API as curl, requests and a workflow use it: paths in, a path out, one long answer."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time

import httpx
import pytest
import requests

import stage
from mjpeg import Raw

METADATA = [
    "seed",
    "diffusion_steps",
    "text_guide_scale",
    "audio_guide_scale",
    "resolution_bucket",
    "actual_resolution",
    "motion_frame",
    "color_correction",
    "timestamp",
]


@pytest.fixture(scope="module")
def shared(talkie, media):
    """The shared volume: what a workflow's earlier steps have left there."""
    for part, source in (("audio", media.short), ("images", media.portrait)):
        (talkie.media / part).mkdir(exist_ok=True)
        shutil.copy(source, talkie.media / part)
    return {"audio_path": str(talkie.media / "audio" / media.short.name), "image_path": str(talkie.media / "images" / media.portrait.name)}


def generate(talkie, body, **more):
    return requests.post(talkie.url("infinitetalk", "/api/generate-video"), json=body, timeout=300, **more)


def test_root_and_health(talkie, http):
    root = http.get(talkie.url("infinitetalk", "/"))
    assert root.status_code == 200
    assert list(root.json()) == ["name", "version", "description", "endpoints"]
    assert root.json()["name"] == "InfiniteTalk API Server" and root.json()["description"] == "Audio-driven talking head video generation"
    assert root.json()["endpoints"] == {"health": "/api/health", "generate": "/api/generate-video"}
    health = http.get(talkie.url("infinitetalk", "/api/health")).json()
    assert list(health)[:4] == ["status", "model_loaded", "gpu_available", "version"]
    assert health["status"] == "healthy" and health["version"] == "1.0.0"
    assert isinstance(health["model_loaded"], bool) and health["gpu_available"] is False


def test_the_documented_call_with_every_field(talkie, shared, media):
    body = shared | {
        "prompt": "A professional speaker presenting content",
        "resolution": "infinitetalk-480",
        "seed": 42,
        "diffusion_steps": 40,
        "text_guide_scale": 5.0,
        "audio_guide_scale": 4.0,
        "motion_frame": 9,
        "use_color_correction": True,
    }
    answer = generate(talkie, body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-talkie-engine"].startswith("puppet")
    told = answer.json()
    assert list(told) == ["video_path", "duration_seconds", "resolution", "frame_count", "metadata"]
    name = re.fullmatch(
        r"infinitetalk_infinitetalk-480_A_professional_speaker.*_(\d{8}_\d{6})(_\w+)?\.mp4", pathlib.Path(told["video_path"]).name
    )
    assert name, told["video_path"]
    metadata = told["metadata"]
    assert list(metadata)[:9] == METADATA
    assert all(isinstance(value, str) for value in metadata.values()), metadata
    expected = {
        "seed": "42",
        "diffusion_steps": "40",
        "text_guide_scale": "5.0",
        "audio_guide_scale": "4.0",
        "resolution_bucket": "infinitetalk-480",
        "actual_resolution": told["resolution"],
        "motion_frame": "9",
        "color_correction": "true",
        "timestamp": name[1],
    }
    assert {key: metadata[key] for key in expected} == expected
    # the file is there, is what was told, and has the voice in it
    seen = stage.streams(told["video_path"])
    assert f"{seen['video']['width']}x{seen['video']['height']}" == told["resolution"]
    assert int(seen["video"]["nb_read_packets"]) == told["frame_count"]
    assert seen["video"]["r_frame_rate"] == "25/1" and seen["video"]["codec_name"] == "h264" and "audio" in seen
    assert isinstance(told["duration_seconds"], float) and abs(told["duration_seconds"] - media.seconds(media.short)) < 0.2
    assert told["frame_count"] == round(told["duration_seconds"] * 25)


def test_curl_with_few_fields(talkie, shared):
    body = json.dumps(shared | {"prompt": "A professional speaker presenting", "resolution": "infinitetalk-480", "seed": 42})
    out = subprocess.run(
        [
            "curl",
            "-sS",
            "-m",
            "300",
            "-X",
            "POST",
            talkie.url("infinitetalk", "/api/generate-video"),
            "-H",
            "Content-Type: application/json",
            "-d",
            body,
        ],
        check=True,
        capture_output=True,
        timeout=310,
    )
    told = json.loads(out.stdout)
    assert told["metadata"]["diffusion_steps"] == "40" and told["metadata"]["audio_guide_scale"] == "4.0"
    assert pathlib.Path(told["video_path"]).is_file()


def test_720_is_larger(talkie, shared):
    small, large = [generate(talkie, shared | {"resolution": f"infinitetalk-{lines}"}).json() for lines in (480, 720)]
    pixels = [int(w) * int(h) for w, h in (told["resolution"].split("x") for told in (small, large))]
    assert pixels[1] > pixels[0], (small["resolution"], large["resolution"])
    assert large["metadata"]["resolution_bucket"] == "infinitetalk-720"


def test_refusals(talkie, shared, media):
    rows = [
        ({"resolution": "infinitetalk-999"}, 400, "Unsupported resolution: infinitetalk-999. Use 'infinitetalk-480' or 'infinitetalk-720'"),
        ({"audio_path": str(talkie.media / "audio/none.wav")}, 404, "none.wav"),
        ({"image_path": str(talkie.media / "images/none.png")}, 404, "none.png"),
    ]
    for change, status, words in rows:
        answer = generate(talkie, shared | change)
        assert answer.status_code == status, answer.text
        assert list(answer.json()) == ["detail"] and words in answer.json()["detail"]
    # a file that is no picture
    shutil.copy(media.text, talkie.media / "images/notes.png")
    answer = generate(talkie, shared | {"image_path": str(talkie.media / "images/notes.png")})
    assert answer.status_code in (400, 422, 500) and isinstance(answer.json()["detail"], str), answer.text


def test_paths_outside_the_roots_tell_nothing(talkie, shared, tmp_path):
    (talkie.media / "images/way_out").unlink(missing_ok=True)
    (talkie.media / "images/way_out").symlink_to("/etc")
    there = [
        "/etc/passwd",
        f"{talkie.media}/../home/../../../../../../etc/passwd",
        f"{talkie.media}/images/way_out/passwd",
        "/proc/self/environ",
        "/dev/zero",
    ]
    for path in there:
        real = generate(talkie, shared | {"image_path": path})
        ghost = generate(talkie, shared | {"image_path": path + "_none"})
        assert real.status_code in (400, 403, 404), (path, real.text)
        # whether a file exists out there stays unknown
        assert real.status_code == ghost.status_code, (path, real.text, ghost.text)
        assert real.text == ghost.text.replace("_none", ""), (real.text, ghost.text)


def test_seeds(talkie, shared):
    told = [generate(talkie, shared | {"seed": seed, "prompt": f"take {n}"}).json() for n, seed in enumerate((7, 7, 8))]
    frames = [
        subprocess.run(
            ["ffmpeg", "-v", "error", "-i", one["video_path"], "-map", "0:v", "-f", "md5", "-"], check=True, capture_output=True, timeout=60
        ).stdout
        for one in told
    ]
    assert frames[0] == frames[1]
    assert frames[0] != frames[2]


def test_two_with_one_name_both_stay(talkie, shared):
    """Equal prompts within one second: the original would overwrite; nobody's video may be lost."""
    answers = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(generate(talkie, shared | {"prompt": "same", "seed": 100 + n})))
        for n in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    paths = {answer.json()["video_path"] for answer in answers}
    assert len(paths) == 3 and all(pathlib.Path(path).is_file() for path in paths), paths


@pytest.fixture(scope="module")
def eager(tmp_path_factory, media):
    """A server that sends blanks soon, so that a test need not wait for minutes."""
    with stage.Talkie(tmp_path_factory.mktemp("eager"), "--conf", "serve.keep_alive_seconds=0.2") as server:
        shutil.copy(media.long, server.media / "long.wav")
        shutil.copy(media.short, server.media / "short.wav")
        shutil.copy(media.portrait, server.media / "portrait.png")
        yield server


def long_body(server, **more):
    return {"audio_path": str(server.media / "long.wav"), "image_path": str(server.media / "portrait.png")} | more


def test_blanks_keep_a_client_with_a_short_timeout(eager):
    raw = Raw(
        eager.url("infinitetalk", "/api/generate-video"),
        "POST",
        json.dumps(long_body(eager, seed=1)).encode(),
        {"Content-Type": "application/json"},
        timeout=300,
    )
    assert raw.status == 200 and raw.headers["content-type"] == "application/json"
    pieces = list(raw.chunks())
    blanks = [(at, piece) for at, piece in pieces if not piece.strip()]
    assert len(blanks) >= 2 and blanks[0][0] < 5, pieces[:4]
    assert all(not piece.strip() for _, piece in pieces[:-1]), "JSON in one piece at the end"
    told = json.loads(b"".join(piece for _, piece in pieces))
    assert list(told)[0] == "video_path"
    # httpx's default of 5 s between bytes holds as well
    answer = httpx.post(eager.url("infinitetalk", "/api/generate-video"), json=long_body(eager, seed=2))
    assert answer.json()["metadata"]["seed"] == "2"


def jobs_of(server, **query):
    return server.jobs(dialect="infinitetalk", **query)


def test_hanging_up_does_not_lose_the_work(eager):
    before = {job["id"] for job in jobs_of(eager)}
    body = long_body(eager, seed=3, prompt="call me back")
    with pytest.raises(httpx.TimeoutException):
        httpx.post(eager.url("infinitetalk", "/api/generate-video"), json=body, timeout=httpx.Timeout(10, read=0.1))
    # the same request meets the work that goes on
    answer = generate(eager, body)
    assert answer.status_code == 200, answer.text
    made = [job for job in jobs_of(eager) if job["id"] not in before]
    assert len(made) == 1 and made[0]["state"] == "done", made
    again = generate(eager, body)
    assert again.json()["video_path"] == answer.json()["video_path"]
    assert len([job for job in jobs_of(eager) if job["id"] not in before]) == 1


def begin(server, body):
    """The request, after its first blank; the job behind it; the pieces to come."""
    headers = {"Content-Type": "application/json"}
    raw = Raw(server.url("infinitetalk", "/api/generate-video"), "POST", json.dumps(body).encode(), headers, timeout=120)
    pieces = raw.chunks()
    assert not next(pieces)[1].strip()
    running = [job for job in jobs_of(server) if job["state"] in ("queued", "running")]
    assert len(running) == 1, running
    return running[0]["id"], pieces


def breaks_off(pieces):
    with pytest.raises((EOFError, ConnectionError)):
        for _, piece in pieces:
            assert not piece.strip()


def test_failure_after_the_first_blank(eager):
    """The status is spent by then: the body ends without its last chunk, and the same request tells the true status."""
    body = long_body(eager, seed=4, prompt="to be failed")
    job, pieces = begin(eager, body)
    for attempt in (1, 2, 3):  # three deaths are the end of a job
        stage.until(
            lambda: (now := eager.api("GET", f"/jobs/{job}"))["state"] == "running" and now["attempt"] == attempt,
            30,
            what=f"attempt {attempt}",
        )  # noqa: B023
        for pid in eager.workers():
            os.kill(pid, signal.SIGKILL)
    breaks_off(pieces)
    answer = generate(eager, body)
    assert answer.status_code == 500 and answer.json()["detail"].startswith("Video generation failed: "), answer.text
    assert [one["id"] for one in jobs_of(eager)][0] == job, "answered from the record"


def test_canceling_after_the_first_blank(eager):
    job, pieces = begin(eager, long_body(eager, seed=5, prompt="to be canceled"))
    eager.api("POST", f"/jobs/{job}/cancel")
    breaks_off(pieces)
    assert eager.api("GET", f"/jobs/{job}")["state"] == "canceled"


def test_hanging_up_can_cancel(new_talkie, media):
    server = new_talkie("--conf", "infinitetalk.on_hangup=cancel")
    shutil.copy(media.long, server.media / "long.wav")
    shutil.copy(media.portrait, server.media / "portrait.png")
    raw_body = json.dumps(long_body(server)).encode()

    def send():
        with pytest.raises(httpx.TimeoutException):
            httpx.post(
                server.url("infinitetalk", "/api/generate-video"),
                content=raw_body,
                headers={"content-type": "application/json"},
                timeout=httpx.Timeout(10, read=1.0),
            )

    send()
    stage.until(lambda: [job["state"] for job in server.jobs()] == ["canceled"], 20, what="canceling")
    left = [path for path in server.data.rglob("*.mp4")]
    assert not left, left


def test_cross_site_pages_cannot_name_local_files(talkie, shared):
    """A web page must not have this machine's files read: FastAPI's `*` would let it."""
    for origin in ("http://example.org", "null"):
        answer = generate(talkie, shared, headers={"Origin": origin, "Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 403, answer.text
    for host in ("example.org", "example.org:8200", "127.0.0.1.example.org"):
        answer = requests.get(talkie.url("infinitetalk", "/api/health"), headers={"Host": host}, timeout=20)
        assert answer.status_code in (400, 403, 421), answer.text
    for host in ("localhost", f"localhost:{talkie.ports['infinitetalk']}", "127.0.0.1"):
        assert requests.get(talkie.url("infinitetalk", "/api/health"), headers={"Host": host}, timeout=20).status_code == 200


def test_starts_fast_and_loads_later(new_talkie):
    begun = time.monotonic()
    server = new_talkie(only=("infinitetalk",))
    assert time.monotonic() - begun < 10
    assert httpx.get(server.url("infinitetalk", "/api/health")).json()["status"] == "healthy"


def test_environment_of_the_original(new_talkie, media, tmp_path):
    """OUTPUT_DIR counts below the data folder only; CKPT_DIR and its kin that name no weights are told, not hidden."""
    port = stage.free_ports(1)[0]
    server = stage.Talkie(
        tmp_path / "env", only=("infinitetalk",), env={"PORT": str(port), "MOTION_FRAME": "5", "NUM_PERSISTENT_PARAM_IN_DIT": "0"}
    )
    command = [word for word in server.command() if not word.startswith("--port=infinitetalk=")]
    server.command = lambda: command
    server.ports["infinitetalk"] = port
    with server:
        assert httpx.get(server.url("infinitetalk", "/api/health")).status_code == 200, server.log()
        shutil.copy(media.short, server.media / "short.wav")
        shutil.copy(media.small, server.media / "p.png")
        told = generate(server, {"audio_path": str(server.media / "short.wav"), "image_path": str(server.media / "p.png")}).json()
        assert told["metadata"]["motion_frame"] == "5", "the default is the environment's"
        assert pathlib.Path(told["video_path"]).is_relative_to(server.data.resolve())


def test_weights_that_do_not_load_are_a_503_naming_them(new_talkie, media, tmp_path):
    server = new_talkie(only=("infinitetalk",), env={"CKPT_DIR": str(tmp_path / "no-checkpoint")})
    shutil.copy(media.short, server.media / "short.wav")
    shutil.copy(media.small, server.media / "p.png")
    answer = generate(server, {"audio_path": str(server.media / "short.wav"), "image_path": str(server.media / "p.png")})
    assert answer.status_code == 503 and "no-checkpoint" in answer.text, answer.text
