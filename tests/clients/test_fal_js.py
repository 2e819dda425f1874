"""fal's JavaScript client, unmodified, in Node 24: by a middleware to plain HTTP, by `proxyUrl`, and by `talkie takeover`."""

import base64
import re
import subprocess

import cv2
import numpy
import pytest

import fal_hooks
import fal_stage
import stage
from fal_stage import APP, NODE, PUPPET, by, film_of, refused

EVERY = ("http", "proxy", "takeover")
ORDER = ("IN_QUEUE", "IN_PROGRESS", "COMPLETED")
LARGE = 91 << 20


def statuses(events):
    return [event["status"] for event in events]


def submitted(client, inputs, **options):
    return client.call("submit", app=APP, input=inputs.wish(), **options)["request_id"]


def until_status(client, rid, status, **options):
    return stage.until(
        lambda: (told := client.call("status", app=APP, requestId=rid, **options))["status"] == status and told,
        30,
        what=f"{status} of {rid}",
    )


def check_logs(updates):
    """Each update has every line so far, none of them twice."""
    seen = [[(entry["timestamp"], entry["message"]) for entry in update["logs"]] for update in updates if update.get("logs")]
    assert seen, updates
    for before, after in zip(seen, seen[1:]):
        assert after[: len(before)] == before, "lines that were told are gone"
    assert len(set(seen[-1])) == len(seen[-1]), f"a line came twice: {seen[-1]}"


@pytest.mark.fal("run")
@by("js", ways=EVERY)
def test_run(client, inputs, tmp_path):
    """`data` is the output object, `requestId` its number."""
    wish = inputs.wish()
    told = client.call("run", app=APP, input=wish, storageSettings={"expiresIn": "1h"})
    assert told["requestId"] and told["data"]["seed"] == wish["seed"]
    film_of(client.way, told["data"], tmp_path)


@pytest.mark.fal("run, files in the input")
@by("js", ways=EVERY)
def test_files_in_the_input(client, inputs, tmp_path):
    """The client uploads what is a file, straight to the address it is told, and puts the URLs in its place."""
    told = client.call("runWithFiles", app=APP, picture=str(inputs.picture), voice=str(inputs.voice), input=inputs.wish())
    film_of(client.way, told["data"], tmp_path)


@pytest.mark.fal("queue.submit, status, result")
@by("js", ways=EVERY)
def test_submit_status_result(client, fal, inputs, tmp_path):
    """What waits has a place, what runs has logs, what is completed has a result and its number."""
    with fal.frozen():
        first = submitted(client, inputs)
        told = client.call("submit", app=APP, input=inputs.wish(), priority="low", hint="h1", headers={"X-Mine": "1"})
        assert told["status"] == "IN_QUEUE" and told["response_url"]
        second = told["request_id"]
        assert until_status(client, first, "IN_PROGRESS", logs=True)["logs"] is not None
        waiting = client.call("status", app=APP, requestId=second)
        assert waiting["status"] == "IN_QUEUE" and waiting["queue_position"] == 0, waiting
    done = until_status(client, second, "COMPLETED", logs=True)
    assert done["logs"] and done["metrics"]["inference_time"] > 0, done
    told = client.call("result", app=APP, requestId=second)
    assert told["requestId"] == second
    film_of(client.way, told["data"], tmp_path)


@pytest.mark.fal("subscribe, polling, with logs")
@by("js", ways=EVERY)
def test_subscribe_polling(client, inputs, tmp_path):
    """Updates until it is completed."""
    told = client.call("subscribe", app=APP, input=inputs.wish(num_frames=60), logs=True, pollInterval=50, mode="polling")
    assert statuses(told["updates"])[-1] == "COMPLETED" and "IN_PROGRESS" in statuses(told["updates"]), statuses(told["updates"])
    assert told["enqueued"] == [told["result"]["requestId"]]
    check_logs(told["updates"])
    film_of(client.way, told["result"]["data"], tmp_path, frames=60)


@pytest.mark.fal("subscribe, streaming, with logs")
@by("js", ways=EVERY)
def test_subscribe_streaming(client, inputs, tmp_path):
    """The status stream has only new lines in each event: the client adds them up."""
    told = client.call("subscribe", app=APP, input=inputs.wish(num_frames=60), logs=True, mode="streaming", connectionMode="server")
    assert statuses(told["updates"])[-1] == "COMPLETED"
    check_logs(told["updates"])
    film_of(client.way, told["result"]["data"], tmp_path, frames=60)


@pytest.mark.fal("queue.streamStatus")
@by("js", ways=EVERY)
def test_stream_status(client, fal, inputs):
    """One event at once, one at each change, the last is COMPLETED and the stream ends."""
    with fal.frozen():
        first, second = submitted(client, inputs), submitted(client, inputs)
        until_status(client, first, "IN_PROGRESS")
        client.begin("streamStatus", app=APP, requestId=second, logs=True)
    told = client.end()
    seen = statuses(told["events"])
    assert seen[-1] == told["last"]["status"] == "COMPLETED" and seen.count("COMPLETED") == 1, seen
    ranks = [ORDER.index(status) for status in seen]
    assert ranks == sorted(ranks), seen
    lines = [(entry["timestamp"], entry["message"]) for event in told["events"] for entry in event.get("logs") or []]
    assert lines and len(set(lines)) == len(lines), lines
    assert all(event["request_id"] == second and event["response_url"] for event in told["events"])


@pytest.mark.fal("queue.cancel")
@by("js", ways=EVERY)
def test_cancel(client, fal, inputs):
    """Waiting or running, it ends as completed with an error; the result's status is the reason."""
    with fal.frozen():
        first, second = submitted(client, inputs), submitted(client, inputs)
        until_status(client, first, "IN_PROGRESS")
        client.call("cancel", app=APP, requestId=second)
        client.call("cancel", app=APP, requestId=first)
    for rid in (first, second):
        assert until_status(client, rid, "COMPLETED")["error_type"] == "client_cancelled"
        told = refused(client, "result", app=APP, requestId=rid)
        assert told["status"] == 499 and told["body"]["error_type"] == "client_cancelled" and told["requestId"] == rid, told
        assert refused(client, "cancel", app=APP, requestId=rid)["body"]["status"] == "ALREADY_COMPLETED"


@pytest.mark.fal("stream")
@by("js", ways=EVERY)
def test_stream(client, inputs, tmp_path):
    """Progress and previews while it is made; `done()` is the output object."""
    told = client.call("stream", app=APP, input=inputs.wish(num_frames=60))
    types = [event.get("type") for event in told["events"]]
    assert types[-1] is None and {"progress", "preview"} <= set(types[:-1]) <= {"waiting", "progress", "preview"}, types
    assert told["requestId"] and told["last"] == told["events"][-1]
    film_of(client.way, told["last"], tmp_path, frames=60)


@pytest.mark.fal("storage.upload")
@by("js", ways=EVERY)
def test_upload(client, inputs):
    """What was uploaded is there under the URL that came back, as it was sent."""
    url = client.call("upload", path=str(inputs.voice), type="audio/mpeg", lifecycle={"expiresIn": "1h"})
    answer = client.way.fetch(url)
    assert answer.content == inputs.voice.read_bytes() and answer.headers["content-type"] == "audio/mpeg"


@pytest.mark.fal("storage.upload, multipart over 90 MiB")
@by("js", ways=EVERY)
def test_upload_in_parts(client):
    """Ten parts, one after the other; the file is whole."""
    url = client.call("uploadLarge", bytes=LARGE)
    with client.way.web.stream("GET", url) as answer:
        assert answer.status_code == 200 and int(answer.headers["content-length"]) == LARGE
        assert all(piece.count(7) == len(piece) for piece in answer.iter_bytes())


@pytest.mark.fal("realtime")
@by("js", ways=("takeover",))
def test_realtime(client, inputs):
    """A token, a WebSocket, sound in, pictures out; the server closes when the voice has ended."""
    pcm = inputs.pcm[: int(1.6 * 32000)]
    told = client.call("realtime", app=PUPPET, image=inputs.picture_uri, pcm=base64.b64encode(pcm).decode())
    assert told["code"] == 1000 and told["kinds"] == ["Uint8Array"], told
    assert cv2.imdecode(numpy.frombuffer(base64.b64decode(told["first"]), numpy.uint8), cv2.IMREAD_COLOR) is not None
    numbers = told["numbers"]
    assert numbers[0] == 0 and numbers == sorted(set(numbers)) and 0.6 * 40 <= len(numbers) <= 43, numbers
    assert told["done"]["frames"] > numbers[-1]


@pytest.mark.fal("submit, webhookUrl")
@by("js", ways=EVERY)
def test_webhook(client, inputs):
    """The result comes to the webhook."""
    with fal_hooks.Receiver() as receiver:
        rid = submitted(client, inputs, webhookUrl=receiver.url("/hook?a=b"))
        delivery = receiver.wait(rid)[0]
        assert delivery.path == "/hook?a=b" and delivery.json()["payload"]["video"]["url"]


@pytest.mark.fal("startTimeout")
@by("js", ways=EVERY)
def test_start_timeout(client, fal, inputs):
    """What cannot start in time is a 504 that the client knows for its user's wish, and does not try again."""
    with fal.frozen():
        blocker = submitted(client, inputs)
        until_status(client, blocker, "IN_PROGRESS")
        told = refused(client, "run", app=APP, input=inputs.wish(), startTimeout=1.05)
    assert told["status"] == 504 and told["isUserTimeout"] is True, told
    assert told["body"] == {"detail": "Request timed out", "error_type": "request_timeout"}, told


@pytest.mark.fal("errors of the input")
@by("js", ways=EVERY)
def test_errors(client, inputs):
    """A ValidationError with the fields that are wrong, from run and from the queue."""
    for call in ("run", "subscribe"):
        told = refused(client, call, app=APP, input=inputs.wish(num_frames=3))
        assert told["type"] == "ValidationError" and told["status"] == 422 and told["requestId"], told
        assert [one["loc"] for one in told["fieldErrors"]] == [["body", "num_frames"]], told


@pytest.mark.fal("the example of the model's page")
@by("js", ways=("takeover",))
def test_the_example_of_the_page(client, inputs, tmp_path):
    """Word for word but for the two files, with what `talkie takeover` prints as the only change to the environment."""
    text = (fal_stage.SCRIPTS / "example.mjs").read_text()
    for name, path, kind in (("image_url", inputs.picture, "image/jpeg"), ("audio_url", inputs.voice, "audio/mpeg")):
        url = next(line for line in text.splitlines() if name in line).split('"')[1]
        text = text.replace(url, client.call("upload", path=str(path), type=kind))
    script = fal_stage.scripts() / "example.mjs"
    script.write_text(text)
    env = stage.clean_environment(tmp_path, **client.way.env)
    done = subprocess.run([NODE, script], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "https://v3.fal.media/" in done.stdout and re.search(r"seed: 42\b", done.stdout), done.stdout
    assert re.fullmatch(r"[0-9a-f-]{32,36}", done.stdout.splitlines()[-1]), done.stdout
