"""The engine `huggingface` through the real program, against a server that speaks the documented protocol with its faults; and Hugging Face's own client with
our server as its provider."""

import base64
import json
import pathlib
import signal
import subprocess
import sys
import time

import fal_stage
import httpx
import pytest
import requests

import hf_provider
import stage
from hf_provider import HUB_ID, MODEL

TOKEN = "hf_Secret1x9"
LOOPBACK = {"TALKIE__FETCH__ALLOWED_NETWORKS": '["127.0.0.1", "::1"]'}


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """14 frames at 7 a second, with its index in front."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    words = "-f lavfi -i testsrc2=size=256x192:rate=7 -frames:v 14 -c:v libx264 -pix_fmt yuv420p -g 1 -movflags +faststart"
    stage.ffmpeg(*words.split(), path)
    return path.read_bytes()


@pytest.fixture
def provider(film):
    provider = hf_provider.Provider(film)
    yield provider
    provider.close()


def environment(home, provider, **more):
    settings = {"TALKIE__HUGGINGFACE__BASE_URL": provider.url, "TALKIE__HUGGINGFACE__HUB_URL": provider.url, "HF_TOKEN": TOKEN}
    return stage.clean_environment(home, **(settings | more))


class Made:
    def __init__(self, done, out):
        self.code, self.out = done.returncode, out
        self.said = json.loads(done.stdout) if done.stdout else None
        self.words = done.stdout + done.stderr
        assert TOKEN not in self.words

    @property
    def error(self):
        assert self.code == 1, self.words
        assert not self.out.exists(), "a take appears only when it is complete"
        return self.said["error"]

    @property
    def take(self):
        assert self.code == 0, self.words
        return self.said


def generate(folder, provider, picture, *flags, seconds=4, **env):
    out = folder / "take.mp4"
    command = [stage.BINARY, "generate", "--engine", "huggingface", "--image", picture, "--seconds", seconds, "--out", out, "--json", *flags]
    home = folder / "home"
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [str(word) for word in command], env=environment(home, provider, **env), capture_output=True, text=True, timeout=120, cwd=folder
    )
    return Made(done, out)


def test_generate(tmp_path, provider, media):
    made = generate(tmp_path, provider, media.portrait, "--prompt", "she waves", "--size", "768", "--seed", "11", "--set", "motion_bucket_id=90")
    take = made.take
    assert (take["engine"], take["frames"], take["fps"]) == ("huggingface", 14, 7.0)
    assert take["weights"] == [{"name": f"{MODEL}@hf-inference (remote)", "sha256": ""}]
    assert take["size"] == {"width": 256, "height": 192} and "audio" not in stage.streams(made.out)
    warning = {w["code"]: w["message"] for w in take["warnings"]}["shorter_than_asked"]
    assert "2.00 s" in warning and "4.00 s" in warning
    (sent,) = provider.requests
    assert sent.path == f"/hf-inference/models/{MODEL}" and sent.headers["authorization"] == f"Bearer {TOKEN}"
    assert sent.headers["accept"] == "video/mp4" and sent.headers["x-wait-for-model"] == "true"
    body = json.loads(sent.body)
    assert base64.b64decode(body["inputs"]).startswith(b"\xff\xd8")
    parameters = body["parameters"]
    size = parameters.pop("target_size")
    assert max(size.values()) == 768 and min(size.values()) % 64 == 0
    assert parameters == {"prompt": "she waves", "num_frames": 25, "fps": 8, "seed": 11, "motion_bucket_id": 90}


def test_generate_in_the_form_of_the_original(tmp_path, provider, media):
    take = generate(tmp_path, provider, media.small, "--conf", "huggingface.form=classic", seconds=2).take
    assert take["frames"] == 14 and not take["warnings"]
    (sent,) = provider.requests
    assert sent.path == f"/models/{MODEL}" and sent.headers["content-type"].startswith("multipart/form-data")
    assert b'name="inputs"; filename="character.jpg"' in sent.body and b'{"fps":8,"num_frames":16,"seed":' in sent.body


def test_faults_that_pass(tmp_path, provider, media, film):
    faults = [hf_provider.loading(), hf_provider.reset, hf_provider.loading(), hf_provider.status(429, {"error": "slow down"}, **{"Retry-After": "1"})]
    provider.faults = [*faults, hf_provider.slow(film)]
    begun = time.monotonic()
    take = generate(tmp_path, provider, media.small).take
    assert time.monotonic() - begun > 3, "two waits for the model, one that was asked for"
    assert take["frames"] == 14 and len(provider.posts()) == 5
    assert [w["code"] for w in take["warnings"]] == ["provider_loading", "provider_retry", "provider_retry", "shorter_than_asked"]


def faults(film):
    echo = {"error": f"Invalid \x1b[31mcredentials {TOKEN}"}
    gated = {"error": f"Access to model {MODEL} is restricted and you are not in the authorized list. Visit the page to ask for access."}
    return {
        "401": (hf_provider.status(401, echo), "token_refused", "HF_TOKEN", 1),
        "gated": (hf_provider.status(403, gated), "gated", "not in the authorized list", 1),
        "404": (hf_provider.status(404, {"error": "Not Found"}), "model_not_served", MODEL, 1),
        "429": (hf_provider.status(429, {"error": "Rate limit"}, **{"Retry-After": "0"}), "rate_limited", "tried 3 times", 3),
        "busy for hours": (hf_provider.status(429, {"error": "Rate limit"}, **{"Retry-After": "7200"}), "rate_limited", "again in 720", 1),
        "500": (hf_provider.page(500, "Oops"), "provider_failed", "`Oops`", 3),
        "reset": (hf_provider.reset, "provider_unreachable", "tried 3 times", 3),
        "html": (hf_provider.page(), "answer_is_html", "`Hugging Face`", 1),
        "json": (hf_provider.status(200, {"error": "nope"}), "answer_is_json", "`nope`", 1),
        "empty": (hf_provider.bytes_of(b""), "answer_is_empty", "empty body", 1),
        "cut off": (hf_provider.bytes_of(film[:3000], length=len(film)), "answer_cut_off", "broke off after 3000 of", 3),
        "half": (hf_provider.bytes_of(film[: len(film) // 2]), "answer_cut_off", "should have 14 frames", 1),
        "no video": (hf_provider.bytes_of(b"GIF89a" * 9, "image/gif"), "answer_not_video", "image/gif", 1),
        "noise": (hf_provider.bytes_of(bytes(range(7, 250)) * 50, "application/octet-stream"), "answer_unreadable", "no whole video", 1),
        "too large": (hf_provider.bytes_of(b"", length=2 << 20), "answer_too_large", "2097152 bytes", 1),
        "hanging": (hf_provider.hang, "provider_timeout", "within 6 s", 1),
        "loading for ever": (hf_provider.loading(100), "provider_loading", "100 s", 1),
    }


@pytest.mark.parametrize("name", list(faults(b"")))
def test_faults_that_stay(tmp_path, provider, media, film, name):
    fault, code, told, posts = faults(film)[name]
    provider.faults = [fault] * 9
    flags = ("--conf=huggingface.answer_mib=1", "--conf=huggingface.deadline_seconds=6")
    error = generate(tmp_path, provider, media.small, *flags).error
    assert error["code"] == code and told in error["message"] + error["hint"] and error["hint"], error
    assert "\x1b" not in error["message"] and len(provider.posts()) == posts, (error, provider.requests)


def test_a_redirect_does_not_lead_the_token_to_another_host(tmp_path, provider, media):
    provider.faults = [hf_provider.redirect(f"{provider.files}/models")]
    error = generate(tmp_path, provider, media.small).error
    assert error["code"] == "provider_redirects" and "localhost" in error["message"]
    assert provider.elsewhere == [], "neither the token nor the picture went there"


def test_without_a_token_nothing_is_sent(tmp_path, provider, media):
    hosts = {"TALKIE__HUGGINGFACE__BASE_URL": None, "TALKIE__HUGGINGFACE__HUB_URL": None, "HTTPS_PROXY": provider.url}
    error = generate(tmp_path, provider, media.small, HF_TOKEN=None, **hosts).error
    assert error["code"] == "no_token" and "HF_TOKEN" in error["hint"]
    error = generate(tmp_path, provider, media.small, "--conf", f"huggingface.token={TOKEN}").error
    assert error["code"] == "bad_config" and "HF_TOKEN" in error["hint"]
    assert provider.requests == []


def test_what_the_engine_does_not_take(tmp_path, provider, media):
    error = generate(tmp_path, provider, media.small, "--set", "crop=face").error
    assert error["code"] == "unknown_setting" and "motion_bucket_id" in error["hint"]
    error = generate(tmp_path, provider, media.text).error
    assert "notes.txt" in error["message"]
    out = tmp_path / "spoken.mp4"
    command = [stage.BINARY, "generate", "--engine", "huggingface", "--image", media.small, "--audio", media.short, "--out", out, "--json"]
    done = subprocess.run(command, env=environment(tmp_path, provider), capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["error"]["code"] == "too_many_voices"
    assert provider.requests == []


def test_a_take_can_be_left(tmp_path, provider, media):
    provider.faults = [hf_provider.hang]
    out = tmp_path / "take.mp4"
    command = [stage.BINARY, "generate", "--engine", "huggingface", "--image", media.small, "--seconds", "2", "--out", out, "--quiet"]
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    running = subprocess.Popen(command, env=environment(tmp_path, provider, TMPDIR=str(temporary)), preexec_fn=stage.die_with_parent)
    stage.until(lambda: provider.posts(), what="the request")
    begun = time.monotonic()
    running.send_signal(signal.SIGINT)
    assert running.wait(10) == 130 and time.monotonic() - begun < 3
    assert not out.exists() and not list(temporary.iterdir()), "nothing is left behind"


def fal_settings(provider):
    return ("--conf=huggingface.form=fal-ai", f"--conf=huggingface.model={HUB_ID}")


def test_a_provider_behind_the_router(tmp_path, provider, media):
    take = generate(tmp_path, provider, media.small, *fal_settings(provider), **LOOPBACK).take
    assert take["weights"][0]["name"] == f"{HUB_ID}@fal-ai (remote)" and take["frames"] == 14
    asked = [(seen.method, seen.path) for seen in provider.requests]
    place = "/fal-ai/fal-ai/ltx-video/requests/r1"
    assert asked == [
        ("GET", f"/api/models/{HUB_ID}?expand=inferenceProviderMapping"),
        ("POST", "/fal-ai/fal-ai/ltx-video/image-to-video?_subdomain=queue"),
        *[("GET", f"{place}/status?_subdomain=queue")] * 3,
        ("GET", f"{place}?_subdomain=queue"),
    ]
    assert all(seen.headers["authorization"] == f"Bearer {TOKEN}" for seen in provider.requests)
    body = json.loads(provider.posts()[0].body)
    assert body["image_url"].startswith("data:image/jpeg;base64,") and body["num_frames"] == 32
    (fetched,) = provider.elsewhere
    assert "authorization" not in fetched.headers and TOKEN not in str(fetched.headers)


def test_a_providers_address_is_under_the_guard(tmp_path, provider, media):
    """What a provider answers may not make this machine ask its own network."""
    error = generate(tmp_path, provider, media.small, *fal_settings(provider)).error
    assert error["code"] == "url_not_allowed" and "allowed_networks" in error["hint"]
    assert provider.elsewhere == []


def test_doctor(tmp_path, provider):
    def look(**env):
        done = subprocess.run([stage.BINARY, "doctor", "--json"], env=environment(tmp_path, provider, **env), capture_output=True, text=True)
        assert TOKEN not in done.stdout + done.stderr
        return next(check for check in json.loads(done.stdout)["checks"] if check["name"] == "huggingface")

    there = look()
    assert there["verdict"] == "ok" and MODEL in there["detail"] and "token of HF_TOKEN" in there["detail"]
    none = {"TALKIE__HUGGINGFACE__BASE_URL": None, "TALKIE__HUGGINGFACE__HUB_URL": None, "HF_TOKEN": None}
    assert look(**none)["verdict"] == "without" and "HF_TOKEN" in look(**none)["remedy"]
    assert look(TALKIE__HUGGINGFACE__FORM="grpc")["verdict"] == "broken"
    assert provider.requests == []


def cards(folder, provider, **env):
    done = subprocess.run([stage.BINARY, "engines", "--json"], env=environment(folder, provider, **env), capture_output=True, check=True)
    return json.loads(done.stdout)["engines"]


def test_the_card_says_that_it_is_remote(tmp_path, provider):
    (card,) = [card for card in cards(tmp_path, provider) if card["name"] == "huggingface"]
    assert card["device"] == "remote" and card["weights"] == [] and card["subjects"] == ["picture"] and card["persons"] == 0
    done = subprocess.run([stage.BINARY, "engines"], env=environment(tmp_path, provider), capture_output=True, text=True, check=True)
    assert "huggingface: sends a picture" in done.stdout and TOKEN not in done.stdout


# the dialect that the original backend has


def web_client(server, picture, **wish):
    """What the page of the original does: upload, generate, poll, play, history."""
    base = server.url("svd")
    with requests.Session() as page:
        with open(picture, "rb") as data:
            told = page.post(f"{base}/upload-character", files={"character": ("me.jpg", data, "image/jpeg")}, timeout=60)
        body = {"characterImageUrl": told.json()["imageUrl"], "script": "The character waves", "duration": 3, "quality": "768"} | wish
        generation = page.post(f"{base}/generate-video", json=body, timeout=60).json()
        assert generation["status"] == "pending"

        def look():
            seen = page.get(f"{base}/generation/{generation['id']}", timeout=60).json()
            return seen if seen["status"] in ("completed", "failed") else None

        ended = stage.until(look, 90, every=0.1, what="the generation's end")
        history = page.get(f"{base}/generations", timeout=60).json()
        assert history[0]["id"] == generation["id"]
        film = page.get(f"{base}{ended['videoUrl']}", timeout=60) if ended["videoUrl"] else None
    return ended, film


def serving(provider, **more):
    """Environment of a server whose SVD dialect is played by the engine."""
    settings = {"TALKIE__HUGGINGFACE__BASE_URL": provider.url, "TALKIE__HUGGINGFACE__HUB_URL": provider.url, "HF_TOKEN": TOKEN}
    return settings | {"TALKIE__SERVE__ENGINES__SVD": "huggingface"} | more


def nowhere_to_be_found(server):
    """The token is in nothing that the server keeps, logs or shows of its processes."""
    assert TOKEN not in server.log_path.read_text(errors="replace")
    for pid in server.pids():
        assert TOKEN.encode() not in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    for path in server.data.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path
    assert TOKEN not in json.dumps(server.jobs())


def test_the_web_clients_calls(new_talkie, provider, media, tmp_path):
    provider.faults = [hf_provider.loading()]
    server = new_talkie(env=serving(provider))
    ended, film = web_client(server, media.jpeg)
    assert ended["status"] == "completed", (ended, server.log())
    assert film.status_code == 200 and film.headers["x-talkie-engine"] == f"huggingface; weights={MODEL}@hf-inference (remote)"
    path = tmp_path / "film.mp4"
    path.write_bytes(film.content)
    seen = stage.streams(path)["video"]
    assert (seen["width"], seen["height"], int(seen["nb_read_packets"])) == (256, 192, 14)
    sent = json.loads(provider.posts()[-1].body)["parameters"]
    assert sent["num_frames"] == 24 and sent["fps"] == 8 and sent["target_size"] == {"width": 768, "height": 768}
    nowhere_to_be_found(server)

    provider.faults = [hf_provider.status(403, {"error": f"{TOKEN} is not in the authorized list"})]
    ended, film = web_client(server, media.jpeg, duration=4)
    assert ended["status"] == "failed" and film is None and "not in the authorized list" in ended["error"]
    nowhere_to_be_found(server)


def test_a_job_can_be_canceled_while_the_provider_computes(new_talkie, provider, media):
    provider.faults = [hf_provider.hang]
    server = new_talkie(env=serving(provider))
    with open(media.jpeg, "rb") as data:
        told = requests.post(server.url("svd", "/upload-character"), files={"character": ("me.jpg", data, "image/jpeg")}, timeout=60)
    body = {"characterImageUrl": told.json()["imageUrl"], "script": "wave", "duration": 3}
    generation = requests.post(server.url("svd", "/generate-video"), json=body, timeout=60).json()
    stage.until(lambda: provider.posts(), what="the request")
    begun = time.monotonic()
    httpx.post(server.url("all", f"/v1/jobs/{generation['id']}/cancel"), timeout=20)
    stage.until(lambda: server.jobs()[0]["state"] == "canceled", 10, what="the end of the job")
    assert time.monotonic() - begun < 3


def test_a_token_alone_sends_no_picture_away(new_talkie, provider, media):
    env = serving(provider) | {"TALKIE__SERVE__ENGINES__SVD": None, "HUGGING_FACE_TOKEN": TOKEN}
    server = new_talkie(env=env, only=("svd",))
    ended, _ = web_client(server, media.jpeg)
    assert ended["status"] == "completed" and ended["engine"] == "puppet"
    assert provider.requests == [] and provider.elsewhere == []
    nowhere_to_be_found(server)


def test_fals_app_is_played_by_it_too(new_talkie, provider, inputs):
    server = new_talkie(env=serving(provider))
    wish = {"image_url": inputs.picture_uri, "seconds": 2, "size": 512}
    told = httpx.post(server.url("all", "/fal/run/talkie/svd"), json=wish, timeout=90)
    assert told.status_code == 200 and told.json()["engine"] == "huggingface", told.text
    assert len(provider.posts()) == 1


# Hugging Face's own client, with our server as its provider

CLIENT = """
import os, sys
from huggingface_hub import InferenceClient
client = InferenceClient(provider="fal-ai", api_key=os.environ["FAL_KEY"])
video = client.image_to_video(sys.argv[1], model=sys.argv[2], seed=5, prompt="a person who looks around")
open(sys.argv[3], "wb").write(video)
"""


def test_the_hubs_client_and_our_server_as_its_provider(fal, film, media, tmp_path):
    """Unmodified: fal's hosts end at `talkie takeover`, and the hub's list of providers, HF_ENDPOINT, names our app."""
    hub = hf_provider.Provider(film, provider_id="talkie/svd")
    out = tmp_path / "video.mp4"
    try:
        with fal_stage.Takeover(fal) as takeover:
            env = stage.clean_environment(tmp_path, **takeover.env) | {"HF_ENDPOINT": hub.url, "NO_PROXY": "127.0.0.1"}
            command = [sys.executable, "-c", CLIENT, str(media.jpeg), HUB_ID, str(out)]
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=150)
            assert done.returncode == 0, done.stderr + takeover.log()
    finally:
        hub.close()
    seen = stage.streams(out)["video"]
    assert abs(float(seen["duration"]) - 4) < 0.1, "the app's usual length"
    assert f"/api/models/{HUB_ID}" in [entry.path.partition("?")[0] for entry in hub.requests]
    assert hub.posts() == [] and hub.elsewhere == [], "the hub is asked who serves the model, and nothing else of the work"
    job = fal.jobs()[0]
    assert job["dialect"] == "fal" and job["state"] == "done"
