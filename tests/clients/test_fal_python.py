"""fal's Python clients, unmodified: `fal_client` (sync and async) and the `fal` SDK, by every way that can carry them."""

import ast
import base64
import hashlib
import json
import os
import subprocess
import sys

import cv2
import numpy
import pytest

import fal_hooks
import fal_stage
import stage
from fal_stage import APP, PUPPET, by, film_of, refused

BOTH = ("python", "python-async")
EVERY = ("tls", "http", "takeover")
SDK = (("sdk", "tls"), ("sdk", "takeover"))
# uploads and tokens go to hosts that the client has built in
UPLOADS = ("http", "takeover")
LARGE = 101 << 20


def kinds(events):
    return [event["kind"] for event in events]


def until_kind(client, rid, kind, **options):
    return stage.until(
        lambda: (told := client.call("status", app=APP, rid=rid, **options))["kind"] == kind and told, 30, what=f"{kind} of {rid}"
    )


@pytest.mark.fal("run")
@by(*BOTH, ways=EVERY, also=SDK)
def test_run(client, inputs, tmp_path):
    """The answer is the output object: a film of 41 frames, which anybody can fetch by the URL in it, and the seed."""
    wish = inputs.wish()
    output = client.call("run", app=APP, arguments=wish)
    assert output["seed"] == wish["seed"]
    film_of(client.way, output, tmp_path)


@pytest.mark.fal("run with path, hint, headers")
@by(*BOTH, ways=EVERY)
def test_run_with_everything(client, inputs, tmp_path):
    """What stands behind the app is a part of its name, and headers that mean nothing here do no harm."""
    wish = inputs.wish(video_url=fal_stage.data_uri(inputs.clip))
    output = client.call("run", app=APP, arguments=wish, path="/video-to-video", hint="h1", headers={"x-fal-no-retry": "1"})
    film_of(client.way, output, tmp_path)


@pytest.mark.fal("submit, status, result")
@by(*BOTH, ways=EVERY, also=SDK)
def test_submit_status_result(client, fal, inputs, tmp_path):
    """What waits has a place in the queue, what runs has logs, what is completed has its result, for as often as it is asked for."""
    with fal.frozen():
        first, second = (client.call("submit", app=APP, arguments=inputs.wish())["request_id"] for _ in range(2))
        logs = "logs" if client.process.args[0] == str(fal_stage.SDK) else "with_logs"
        running = until_kind(client, first, "InProgress", **{logs: True})
        assert isinstance(running["logs"], list), running
        waiting = client.call("status", app=APP, rid=second)
        assert waiting == {"kind": "Queued", "position": 0}
    done = until_kind(client, second, "Completed", **{logs: True})
    assert done["error"] is None and done["logs"], done
    result = client.call("result", app=APP, rid=second)
    assert result == client.call("result", app=APP, rid=second)
    film_of(client.way, result, tmp_path)


@pytest.mark.fal("subscribe, with logs")
@by(*BOTH, ways=EVERY)
def test_subscribe(client, inputs, tmp_path):
    """Updates come until it is completed, their logs are lists of entries, and the result is the output object."""
    told = client.call(
        "subscribe", app=APP, arguments=inputs.wish(num_frames=60), with_logs=True, priority="low", hint="h1", start_timeout=30
    )
    assert len(told["enqueued"]) == 1 and told["enqueued"][0]
    seen = kinds(told["updates"])
    assert seen[-1] == "Completed" and seen.count("Completed") == 1 and "InProgress" in seen, seen
    last = told["updates"][-1]
    assert last["metrics"]["inference_time"] > 0 and last["error"] is None
    assert last["logs"] and all({"timestamp", "message", "level"} <= set(entry) for entry in last["logs"]), last["logs"]
    lengths = [len(update["logs"]) for update in told["updates"] if update["kind"] != "Queued"]
    assert lengths == sorted(lengths), "a poll tells every line so far"
    film_of(client.way, told["result"], tmp_path, frames=60)


@pytest.mark.fal("iter_events")
@by(*BOTH, ways=EVERY, also=SDK)
def test_iter_events(client, inputs):
    """The handle's own addresses lead to the status, and the loop ends."""
    told = client.call("follow", app=APP, arguments=inputs.wish())
    events = told["events"] + ([told["last"]] if "last" in told else [])
    assert kinds(events)[-1] == "Completed" and set(kinds(events)) <= {"Queued", "InProgress", "Completed"}
    assert told["result"]["video"]["url"]


@pytest.mark.fal("cancel")
@by(*BOTH, ways=EVERY, also=SDK)
def test_cancel(client, fal, inputs):
    """Canceled while it waits, and while it runs: completed with an error for the loops that wait, 499 for who asks for the result."""
    with fal.frozen():
        first, second = (client.call("submit", app=APP, arguments=inputs.wish())["request_id"] for _ in range(2))
        until_kind(client, first, "InProgress")
        client.call("cancel", app=APP, rid=second)
        client.call("cancel", app=APP, rid=first)
    for rid in (first, second):
        done = until_kind(client, rid, "Completed")
        assert done["error"] and done["error_type"] == "client_cancelled", done
        assert refused(client, "result", app=APP, rid=rid)["status_code"] == 499
        assert refused(client, "cancel", app=APP, rid=rid)["status_code"] == 400
    assert refused(client, "cancel", app=APP, rid="0" * 32)["status_code"] == 404


@pytest.mark.fal("stream")
@by(*BOTH, ways=EVERY, also=SDK)
def test_stream(client, inputs, tmp_path):
    """Progress and previews while it is made, the output object last."""
    events = client.call("stream", app=APP, arguments=inputs.wish(num_frames=60))
    if isinstance(events[0], str):  # the SDK yields lines
        events = [json.loads(line.removeprefix("data:")) for line in events if line.startswith("data:")]
    types = [event.get("type") for event in events]
    assert types[-1] is None and {"progress", "preview"} <= set(types[:-1]) <= {"waiting", "progress", "preview"}, types
    progress = [event for event in events if event.get("type") == "progress"]
    assert all(event["stage"] and 0 <= event["done"] <= event["of"] for event in progress), progress
    preview = next(event for event in events if event.get("type") == "preview")
    kind, _, data = preview["image"]["url"].partition(";base64,")
    assert kind == "data:image/jpeg" and preview["image"]["content_type"] == "image/jpeg" and preview["frame"] >= 0
    assert cv2.imdecode(numpy.frombuffer(base64.b64decode(data), numpy.uint8), cv2.IMREAD_COLOR) is not None
    film_of(client.way, events[-1], tmp_path, frames=60)


@pytest.mark.fal("upload_file")
@by(*BOTH, ways=UPLOADS)
def test_upload_file(client, inputs, tmp_path):
    """What was uploaded is there under the URL that came back, as it was sent, and is an input by that URL."""
    picture, voice = (client.call("upload_file", path=str(path)) for path in (inputs.picture, inputs.voice))
    answer = client.way.fetch(voice)
    assert answer.content == inputs.voice.read_bytes() and answer.headers["content-type"] == "audio/mpeg"
    output = client.call("run", app=APP, arguments=inputs.wish(image_url=picture, audio_url=voice))
    film_of(client.way, output, tmp_path)


@pytest.mark.fal("upload, without a name")
@by(*BOTH, ways=UPLOADS)
def test_upload_bytes(client):
    """Bytes have a type and no name."""
    data = os.urandom(3000)
    url = client.call("upload", data=base64.b64encode(data).decode(), content_type="image/png")
    answer = client.way.fetch(url)
    assert answer.content == data and answer.headers["content-type"] == "image/png"


@pytest.mark.fal("upload_file, lifecycle")
@by(*BOTH, ways=UPLOADS)
def test_upload_with_a_lifecycle(client, inputs):
    """A wish for how long it is kept is taken."""
    url = client.call("upload_file", path=str(inputs.voice), expires="1h")
    assert client.way.fetch(url).content == inputs.voice.read_bytes()


@pytest.mark.fal("upload_file, repository fal")
@by(*BOTH, ways=UPLOADS)
def test_upload_by_the_other_repository(client, inputs):
    """The storage that the client falls back to: initiate, then PUT."""
    url = client.call("upload_file", path=str(inputs.voice), repository="fal")
    answer = client.way.fetch(url)
    assert answer.content == inputs.voice.read_bytes() and answer.headers["content-type"] == "audio/mpeg"


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Over 100 MiB, no part like another: (path, sha256)."""
    path = tmp_path_factory.mktemp("large") / "large.bin"
    digest = hashlib.sha256()
    with open(path, "wb") as out:
        for at in range(0, LARGE, 1 << 20):
            piece = hashlib.sha256(b"%d" % at).digest() * (1 << 15)
            digest.update(piece)
            out.write(piece)
    yield path, digest.hexdigest()
    path.unlink()


@pytest.mark.fal("upload_file, multipart over 100 MiB")
@by(*BOTH, ways=UPLOADS)
def test_upload_in_parts(client, large):
    """Parts come at once and in any order; the file is whole."""
    path, expected = large
    url = client.call("upload_file", path=str(path))
    digest = hashlib.sha256()
    with client.way.web.stream("GET", url) as answer:
        assert answer.status_code == 200
        for piece in answer.iter_bytes():
            digest.update(piece)
    assert digest.hexdigest() == expected


def check_realtime(told, seconds, kind="bytes"):
    picture = cv2.imdecode(numpy.frombuffer(base64.b64decode(told["first"]), numpy.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and told["kinds"] == [kind], told["kinds"]
    numbers = told["numbers"]
    assert numbers[0] == 0 and numbers == sorted(set(numbers)), numbers
    # a reader that is late loses frames, not time
    assert 0.6 * seconds * 25 <= len(numbers) <= seconds * 25 + 3, (len(numbers), seconds)
    assert told["done"]["done"] is True and told["done"]["frames"] > numbers[-1], (told["done"], numbers[-1])


def realtime(client, inputs, **options):
    pcm = inputs.pcm[: int(1.6 * 32000)]
    told = client.call("realtime", app=PUPPET, image=inputs.picture_uri, pcm=base64.b64encode(pcm).decode(), **options)
    check_realtime(told, 1.6)
    assert told["first"] != told["last"], "nothing moves"


@pytest.mark.fal("realtime, with the key")
@by(*BOTH, ways=EVERY)
def test_realtime_with_a_key(client, inputs):
    """Sound goes in by pieces, pictures come out, and the connection ends by itself."""
    realtime(client, inputs, use_jwt=False)


@pytest.mark.fal("realtime, with a token")
@by(*BOTH, ways=UPLOADS)
def test_realtime_with_a_token(client, inputs):
    """The same with a token fetched before, and buffering asked for."""
    realtime(client, inputs, max_buffering=5)


@pytest.mark.fal("encode_file")
@by(*BOTH, ways=EVERY)
def test_encode_file(client, inputs, tmp_path):
    """data: URIs as the client makes them are inputs."""
    voice = client.call("encode_file", path=str(inputs.voice))
    film_of(client.way, client.call("run", app=APP, arguments=inputs.wish(audio_url=voice)), tmp_path)


@pytest.mark.fal("submit, webhook_url")
@by(*BOTH, ways=EVERY)
def test_webhook(client, inputs):
    """The result comes to the webhook, with the number that the client was told."""
    with fal_hooks.Receiver() as receiver:
        rid = client.call("submit", app=APP, arguments=inputs.wish(), webhook_url=receiver.url("/hook?a=b&c=%2F"))["request_id"]
        delivery = receiver.wait(rid)[0]
        assert delivery.path == "/hook?a=b&c=%2F" and delivery.json()["status"] == "OK"
        assert delivery.json()["payload"] == client.call("result", app=APP, rid=rid)


@pytest.mark.fal("start_timeout")
@by(*BOTH, ways=EVERY)
def test_start_timeout(client, fal, inputs):
    """What cannot start in time is a 504 that the client does not try again."""
    with fal.frozen():
        blocker = client.call("submit", app=APP, arguments=inputs.wish())["request_id"]
        until_kind(client, blocker, "InProgress")
        told = refused(client, "run", app=APP, arguments=inputs.wish(), start_timeout=1.05)
    assert (told["status_code"], told["error_type"]) == (504, "request_timeout"), told
    assert told["headers"]["x-fal-request-timeout-type"] == "user", told


@pytest.mark.fal("client_timeout")
@by(*BOTH, ways=EVERY)
def test_client_timeout(client, fal, inputs):
    """Who stops waiting cancels."""
    with fal.frozen():
        told = refused(client, "subscribe", app=APP, arguments=inputs.wish(), client_timeout=1.1)
        assert told["type"] == "FalClientTimeoutError" and told["request_id"], told
    done = until_kind(client, told["request_id"], "Completed")
    assert done["error_type"] in ("client_cancelled", "request_timeout"), done


@pytest.mark.fal("errors of the input")
@by(*BOTH, ways=EVERY)
def test_errors(client, inputs):
    """The client's exception has the list of what is wrong, from run and from the queue, and nothing is tried twice."""
    wrong = inputs.wish(num_frames=3)
    for call in ("run", "subscribe"):
        told = refused(client, call, app=APP, arguments=wrong)
        assert told["status_code"] == 422 and told["type"] == "FalClientHTTPError", told
        assert [(one["loc"], one["type"]) for one in told["message"]] == [(["body", "num_frames"], "greater_than_equal")]
        assert told["headers"]["x-fal-request-id"] and told["headers"]["x-fal-billable-units"] == "0"


@pytest.mark.fal("the example of the model's page")
@by("python", ways=("takeover",))
def test_the_example_of_the_page(client, inputs, tmp_path):
    """Word for word but for the two files, with what `talkie takeover` prints as the only change to the environment."""
    text = (fal_stage.PYTHON / "example.py").read_text()
    for name, path in (("image_url", inputs.picture), ("audio_url", inputs.voice)):
        url = next(line for line in text.splitlines() if name in line).split('"')[3]
        text = text.replace(url, client.call("upload_file", path=str(path)))
    script = tmp_path / "example.py"
    script.write_text(text)
    env = stage.clean_environment(tmp_path, **client.way.env)
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    output = ast.literal_eval(lines[-1])
    assert output["seed"] == 42 and output["video"]["url"].startswith("https://v3.fal.media/")
    film_of(client.way, output, tmp_path, frames=63)
