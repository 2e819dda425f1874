"""fal's protocol as its clients need it, request by request: what they cannot tell us themselves, they show by failing on it."""

import base64
import hashlib
import json
import os
import re
import signal
import socket

import httpx
import pytest
import websockets.sync.client

import fal_stage
import stage
from fal_stage import APP, PUPPET, completed, film_of
from mjpeg import Raw

URLS = ["response_url", "status_url", "cancel_url"]
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
LEVELS = {"INFO", "STDERR", "STDOUT", "ERROR", "WARN", "DEBUG"}
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def base(fal):
    return fal.url("all", "/fal")


@pytest.fixture(scope="module")
def web():
    """No redirect is followed: fal's SDK does not either."""
    with httpx.Client(timeout=60, follow_redirects=False, trust_env=False) as client:
        yield client


def submit(web, base, wish, app=APP, **options):
    told = web.post(f"{base}/queue/{app}", json=wish, **options)
    assert told.status_code in (200, 202), (told.status_code, told.text)
    return told


def number(answer):
    return answer.json()["request_id"]


def run(web, base, wish, app=APP, **options):
    return web.post(f"{base}/run/{app}", json=wish, **options)


def status(web, base, rid, query="", app=APP):
    return web.get(f"{base}/queue/{app}/requests/{rid}/status{query}")


def until_running(web, base, rid):
    return stage.until(lambda: (told := status(web, base, rid)).json()["status"] == "IN_PROGRESS" and told, 20, what=f"the start of {rid}")


def test_submit(web, base, fal, inputs):
    """Every key that a client reads, with the number in a header too; the addresses keep the way the request came by."""
    told = submit(web, base, inputs.wish())
    body = told.json()
    assert set(body) == {"status", "request_id", *URLS, "queue_position", "logs", "metrics"}, body
    assert body["status"] == "IN_QUEUE" and isinstance(body["queue_position"], int)
    assert body["logs"] is None and body["metrics"] == {}
    assert told.headers["x-fal-request-id"] == body["request_id"] and told.headers["content-type"] == "application/json"
    own = f"{base}/queue/{APP}/requests/{body['request_id']}"
    assert [body[name] for name in URLS] == [own, f"{own}/status", f"{own}/cancel"]


def test_addresses_keep_their_way(web, base, fal, inputs, ways):
    """By TLS they are https with the prefix of that port, by the proxy they are fal's own, behind a reverse proxy they are its."""
    tls, takeover = ways["tls"].web, ways["takeover"].web
    rows = [
        (tls, fal.url("fal", f"/queue/{APP}"), fal.url("fal", "/queue"), {}),
        (takeover, f"https://queue.fal.run/{APP}", "https://queue.fal.run", {}),
        (web, f"{base}/queue/{APP}", f"{base}/queue", {}),
        (
            web,
            f"{base}/queue/{APP}",
            f"https://127.0.0.1:9443{httpx.URL(base).path}/queue",
            {"x-forwarded-proto": "https", "x-forwarded-host": "127.0.0.1:9443"},
        ),
    ]
    for client, url, expected, headers in rows:
        told = client.post(url, json=inputs.wish(), headers=headers).json()
        rid = told["request_id"]
        assert [told[name] for name in URLS] == [f"{expected}/{APP}/requests/{rid}{tail}" for tail in ("", "/status", "/cancel")]


def test_the_path_below_an_app_is_dropped(web, base, fal, inputs):
    """Submitted below the app, asked for by owner and app alone: clients cut their addresses so."""
    wish = inputs.wish(video_url=fal_stage.data_uri(inputs.clip))
    told = submit(web, base, wish, app=f"{APP}/video-to-video").json()
    assert told["status_url"] == f"{base}/queue/{APP}/requests/{told['request_id']}/status"
    assert completed(fal, base, told["request_id"])["status"] == "COMPLETED"


def test_status_of_what_waits_runs_and_is_done(web, base, fal, inputs):
    """202 until it is completed, then 200: fal's SDK looks at nothing else. `logs` is a list for who asked, else null."""
    with fal.frozen():
        first, second, third = (number(submit(web, base, inputs.wish())) for _ in range(3))
        running = until_running(web, base, first)
        assert running.status_code == 202 and running.json()["logs"] is None and running.headers["x-fal-request-id"] == first
        for place, rid in enumerate((second, third)):
            told = status(web, base, rid)
            assert told.status_code == 202 and told.json()["status"] == "IN_QUEUE" and told.json()["queue_position"] == place, told.text
        for query in ("?logs=1", "?logs=true", "?logs=True"):
            assert isinstance(status(web, base, first, query).json()["logs"], list), query
        for query in ("?logs=0", "?logs=false", ""):
            assert not status(web, base, first, query).json()["logs"], query
    completed(fal, base, third)
    done = status(web, base, third, "?logs=1")
    assert done.status_code == 200 and done.json()["metrics"]["inference_time"] > 0
    body = done.json()
    assert body["request_id"] == third and all(body[name].startswith(f"{base}/queue/{APP}/requests/{third}") for name in URLS)
    assert body["logs"], "a job says what it does"
    for entry in body["logs"]:
        assert re.fullmatch(STAMP, entry["timestamp"]) and entry["level"] in LEVELS and entry["message"] and entry["source"], entry
    assert [entry["timestamp"] for entry in body["logs"]] == sorted(entry["timestamp"] for entry in body["logs"])
    assert "logs" in status(web, base, third).json(), "the key is there for who did not ask, too"
    assert "error" not in body or body["error"] is None


def test_both_forms_of_a_path(web, base, fal, inputs):
    """With and without the last slash, and no redirect between them."""
    rid = number(submit(web, base, inputs.wish()))
    completed(fal, base, rid)
    own = f"{base}/queue/{APP}/requests/{rid}"
    for path, query in (("/status", "?logs=1"), ("", "")):
        plain, slashed = web.get(f"{own}{path}{query}"), web.get(f"{own}{path}/{query}")
        assert plain.status_code == slashed.status_code == 200 and plain.json() == slashed.json()
    for tail in ("/cancel", "/cancel/"):
        assert web.put(own + tail).status_code == 400
    assert web.post(f"{base}/queue/{APP}/", json=inputs.wish()).status_code in (200, 202)


def test_result_before_it_is_there(web, base, fal, inputs):
    """400 while it waits or runs, with the text that clients look for; then the output object, as it is."""
    with fal.frozen():
        first, second = (number(submit(web, base, inputs.wish())) for _ in range(2))
        until_running(web, base, first)
        for rid in (first, second):
            told = web.get(f"{base}/queue/{APP}/requests/{rid}")
            assert (told.status_code, told.json()) == (400, {"detail": "Request is still in progress"})
            assert told.headers["x-fal-request-id"] == rid
    completed(fal, base, second)
    told = web.get(f"{base}/queue/{APP}/requests/{second}")
    assert told.status_code == 200 and set(told.json()) >= {"video", "seed"} and told.headers["x-fal-request-id"] == second
    assert set(told.json()["video"]) == {"url", "content_type", "file_name", "file_size"}


@pytest.mark.parametrize("rid", [NOBODY, "nothing", "a%2Fb", "%00"])
def test_requests_that_nobody_made(web, base, rid):
    """404 with a reason, however it is asked for."""
    for path in ("/status", "", "/status/stream"):
        told = web.get(f"{base}/queue/{APP}/requests/{rid}{path}")
        assert told.status_code == 404 and isinstance(told.json()["detail"], str), (path, told.text)
    told = web.put(f"{base}/queue/{APP}/requests/{rid}/cancel")
    assert told.status_code == 404 and told.json().get("status", "NOT_FOUND") == "NOT_FOUND", told.text


def test_cancel(web, base, fal, inputs):
    """202 while there is something to cancel, 400 when it has ended, 404 where there is nothing; never 409, which clients try again."""
    with fal.frozen():
        first, second = (number(submit(web, base, inputs.wish())) for _ in range(2))
        until_running(web, base, first)
        for rid in (second, first):
            told = web.put(f"{base}/queue/{APP}/requests/{rid}/cancel", headers={"content-type": "application/json"})
            assert (told.status_code, told.json()) == (202, {"status": "CANCELLATION_REQUESTED"})
            assert told.headers["x-fal-request-id"] == rid
    for rid in (first, second):
        body = completed(fal, base, rid)
        assert isinstance(body["error"], str) and body["error"] and body["error_type"] == "client_cancelled"
        told = web.put(f"{base}/queue/{APP}/requests/{rid}/cancel")
        assert (told.status_code, told.json()) == (400, {"status": "ALREADY_COMPLETED"})
        result = web.get(f"{base}/queue/{APP}/requests/{rid}")
        assert (
            result.status_code == 499
            and set(result.json()) == {"detail", "error_type"}
            and result.json()["error_type"] == "client_cancelled"
        )
        assert result.headers["x-fal-error-type"] == "client_cancelled"
    told = web.put(f"{base}/queue/{APP}/requests/{NOBODY}/cancel")
    assert (told.status_code, told.json()) == (404, {"status": "NOT_FOUND"})


WRONG = [
    ({"num_frames": 3}, "num_frames", "greater_than_equal", {"ge": 41}, 3),
    ({"num_frames": 722}, "num_frames", "less_than_equal", {"le": 721}, 722),
    ({"num_frames": "many"}, "num_frames", "int_parsing", None, "many"),
    ({"resolution": "1080p"}, "resolution", "literal_error", {"expected": "'480p' or '720p'"}, "1080p"),
    ({"acceleration": "warp"}, "acceleration", "literal_error", {"expected": "'none', 'regular' or 'high'"}, "warp"),
    ({"prompt": 7}, "prompt", "string_type", None, 7),
]


@pytest.mark.parametrize("more, field, kind, ctx, given", WRONG)
def test_errors_of_the_model(web, base, fal, inputs, more, field, kind, ctx, given):
    """The first shape: a list, as pydantic has it, with a URL; it costs nothing; the queue's result says the same."""
    told = run(web, base, inputs.wish(**more))
    assert told.status_code == 422 and told.headers["x-fal-billable-units"] == "0" and told.headers["x-fal-request-id"]
    (error,) = told.json()["detail"]
    assert error["loc"] == ["body", field] and error["type"] == kind and error["msg"] and error["input"] == given, error
    assert error["url"].startswith("https://docs.fal.ai/errors") and error["url"].endswith(f"#{kind}"), error
    assert ctx is None or error["ctx"] == ctx, error


def test_missing_fields(web, base, fal):
    """All at once, and the queue tells them by its result: status COMPLETED with an error, then the 422."""
    told = run(web, base, {})
    assert told.status_code == 422
    assert [(one["loc"], one["type"]) for one in told.json()["detail"]] == [
        (["body", name], "missing") for name in ("image_url", "audio_url", "prompt")
    ]
    rid = number(submit(web, base, {}))
    body = completed(fal, base, rid)
    assert isinstance(body["error"], str) and body["error"], body
    result = web.get(f"{base}/queue/{APP}/requests/{rid}")
    assert result.status_code == 422 and result.json() == told.json() and result.headers["x-fal-billable-units"] == "0"


def test_inputs_that_cannot_be_had(web, base, fal, inputs):
    """What cannot be fetched or read is the user's error, at its field."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{nobody.getsockname()[1]}/a.png"
        rows = [
            ({"image_url": gone}, ["body", "image_url"], {"file_download_error"}),
            ({"image_url": f"{base}/cdn/files/none/none.png"}, ["body", "image_url"], {"file_download_error"}),
            ({"image_url": fal_stage.data_uri(inputs.text)}, ["body", "image_url"], {"image_load_error", "file_download_error"}),
            ({"audio_url": fal_stage.data_uri(inputs.text)}, ["body", "audio_url"], None),
            ({"image_url": "no url at all"}, ["body", "image_url"], None),
        ]
        for more, loc, kinds in rows:
            told = run(web, base, inputs.wish(**more))
            assert told.status_code == 422, (more, told.status_code, told.text)
            (error,) = told.json()["detail"]
            assert error["loc"] == loc and {"msg", "type"} <= set(error) and (kinds is None or error["type"] in kinds), (more, error)


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", ""])
def test_errors_of_the_request(web, base, inputs, value):
    """The second shape: flat, with its type in a header too."""
    for send in (run, submit):
        if send is submit:
            told = web.post(f"{base}/queue/{APP}", json=inputs.wish(), headers={"x-fal-request-timeout": value})
        else:
            told = run(web, base, inputs.wish(), headers={"x-fal-request-timeout": value})
        assert told.status_code == 400 and set(told.json()) == {"detail", "error_type"}, told.text
        assert told.json()["error_type"] == told.headers["x-fal-error-type"] == "bad_request"


def test_errors_of_the_path(web, base, inputs):
    """The third shape: a text."""
    told = run(web, base, inputs.wish(), app=f"{APP}/x")
    assert (told.status_code, told.json()) == (404, {"detail": "Path /x not found"})
    assert told.headers["x-fal-request-id"] and told.headers["x-fal-billable-units"] == "0"
    for app in ("fal-ai/nothing", "nobody/infinitalk", "workflows/fal-ai/infinitalk"):
        for send in (f"{base}/run/{app}", f"{base}/queue/{app}"):
            told = web.post(send, json=inputs.wish())
            assert told.status_code == 404 and isinstance(told.json()["detail"], str), (send, told.text)


def test_no_refusal_is_one_that_clients_try_again(web, base, inputs):
    """408, 409 and 429 are tried ten times by Python: what is the user's fault is none of them."""
    key = {"idempotency-key": "retry-1"}
    first = number(submit(web, base, inputs.wish(seed=1), headers=key))
    assert first
    rows = [
        web.post(f"{base}/queue/{APP}", json=inputs.wish(seed=2), headers=key),
        web.post(f"{base}/queue/{APP}", content=b"{", headers={"content-type": "application/json"}),
        web.post(f"{base}/run/{APP}", content=b"\xff\xfe"),
        web.post(f"{base}/run/{APP}", json=[1, 2]),
        web.put(f"{base}/queue/{APP}"),
        web.get(f"{base}/queue/{APP}/requests"),
    ]
    for told in rows:
        assert 400 <= told.status_code < 500 and told.status_code not in (408, 409, 429), (told.request.url, told.status_code, told.text)
        assert "detail" in told.json(), told.text
    assert rows[0].status_code == 422


def test_start_deadline(web, base, fal, inputs):
    """Not started in time: 504 with whose wish it was; in the queue it ends as completed with that error."""
    with fal.frozen():
        blocker = number(submit(web, base, inputs.wish()))
        until_running(web, base, blocker)
        queued = number(submit(web, base, inputs.wish(), headers={"x-fal-request-timeout": "0.3"}))
        told = run(web, base, inputs.wish(), headers={"x-fal-request-timeout": "0.3"})
        assert (told.status_code, told.json()) == (504, {"detail": "Request timed out", "error_type": "request_timeout"})
        assert told.headers["x-fal-request-timeout-type"] == "user" and told.headers["x-fal-error-type"] == "request_timeout"
        assert told.headers["x-fal-request-id"]
        assert completed(fal, base, queued)["error_type"] == "request_timeout"
        result = web.get(f"{base}/queue/{APP}/requests/{queued}")
        assert (result.status_code, result.json()) == (504, told.json()) and result.headers["x-fal-request-timeout-type"] == "user"
    assert completed(fal, base, blocker).get("error") is None, "what has started has all the time it needs"


def test_a_deadline_is_to_start_not_to_end(web, base, fal, inputs):
    """A job that started in time may take longer."""
    told = run(web, base, inputs.wish(num_frames=60), headers={"x-fal-request-timeout": "60.0"})
    assert told.status_code == 200, told.text


@pytest.fixture
def chatty(new_talkie, inputs):
    """A server whose held-open answers send blanks after half a second."""
    server = new_talkie("--conf", "serve.slots=1", "--conf", "serve.keep_alive_seconds=0.5")
    assert httpx.post(server.url("all", f"/fal/run/{APP}"), json=inputs.wish(), timeout=60).status_code == 200
    return server


def test_a_long_run_keeps_its_client(chatty, inputs):
    """Blanks before the JSON, for clients that give up after some seconds without a byte."""
    with chatty.frozen():
        with httpx.stream("POST", chatty.url("all", f"/fal/run/{APP}"), json=inputs.wish(), timeout=5) as answer:
            assert answer.status_code == 200 and answer.headers["x-fal-request-id"]
            pieces = answer.iter_raw()
            first = next(pieces)
            assert first and first.strip() == b"", first
            for pid in chatty.workers():
                os.kill(pid, signal.SIGCONT)
            output = json.loads(first + b"".join(pieces))
    assert output["video"]["url"]


def test_a_deadline_is_told_by_its_status(chatty, inputs):
    """Who said until when it must start is answered with 504 when it has not, whatever blanks others get meanwhile."""
    with chatty.frozen():
        blocker = number(submit(httpx, chatty.url("all", "/fal"), inputs.wish()))
        until_running(httpx, chatty.url("all", "/fal"), blocker)
        told = httpx.post(chatty.url("all", f"/fal/run/{APP}"), json=inputs.wish(), headers={"x-fal-request-timeout": "1.2"}, timeout=20)
        assert told.status_code == 504 and told.headers["x-fal-request-timeout-type"] == "user", (told.status_code, told.text)


def test_low_priority_waits_for_normal(web, base, fal, inputs):
    """A place in the queue is told as it is."""
    with fal.frozen():
        until_running(web, base, number(submit(web, base, inputs.wish())))
        low = number(submit(web, base, inputs.wish(), headers={"x-fal-queue-priority": "low"}))
        normal = number(submit(web, base, inputs.wish(), headers={"x-fal-queue-priority": "normal"}))
        places = [status(web, base, rid).json()["queue_position"] for rid in (normal, low)]
        assert places == [0, 1]


def test_equal_requests_are_one(web, base, fal, inputs):
    """A client that tries again gets the job it has; who wants another says so with `"seed": null`."""
    wish = inputs.wish()
    first = submit(web, base, wish)
    assert number(submit(web, base, wish)) == number(first), "while it lives"
    completed(fal, base, number(first))
    assert number(submit(web, base, wish)) == number(first), "and a while after"
    assert run(web, base, wish).headers["x-fal-request-id"] == number(first), "run finds it too"
    other = submit(web, base, {**wish, "prompt": "Another."})
    assert number(other) != number(first)
    unseeded = {name: value for name, value in wish.items() if name != "seed"} | {"prompt": "No seed."}
    assert number(submit(web, base, unseeded)) == number(submit(web, base, {**unseeded, "seed": 42})), "omitted is 42"
    random = {**wish, "seed": None}
    twice = [number(submit(web, base, random)) for _ in range(2)]
    assert twice[0] != twice[1]
    for rid in twice:
        completed(fal, base, rid)
    seeds = [web.get(f"{base}/queue/{APP}/requests/{rid}").json()["seed"] for rid in twice]
    assert all(isinstance(seed, int) for seed in seeds) and seeds[0] != seeds[1], seeds


def test_idempotency_keys(web, base, inputs):
    """The key decides, for equal input; other input with it is refused."""
    wish = inputs.wish(seed=None)
    first, again = (number(submit(web, base, wish, headers={"idempotency-key": "mine-1"})) for _ in range(2))
    assert first == again
    told = web.post(f"{base}/queue/{APP}", json=inputs.wish(), headers={"idempotency-key": "mine-1"})
    assert told.status_code == 422 and told.json()["detail"], told.text


def test_the_router_of_hugging_face(web, base, fal, inputs):
    """`_subdomain=queue` instead of a host; of the answer's address it uses the path alone."""
    told = web.post(f"{base}/run/{APP}?_subdomain=queue", json=inputs.wish(), headers={"authorization": "Key hf"})
    assert told.status_code in (200, 202) and told.json()["status"] == "IN_QUEUE", told.text
    own = httpx.URL(base).copy_with(path=httpx.URL(told.json()["response_url"]).path)
    stage.until(lambda: web.get(f"{own}/status?_subdomain=queue").json()["status"] == "COMPLETED", 30, what="its end")
    result = web.get(f"{own}?_subdomain=queue").json()
    film = httpx.get(result["video"]["url"])
    assert film.status_code == 200, "fetched without a key"


def test_the_proxy_of_the_javascript_client(web, fal, base, inputs):
    """The header's host, path and query decide; without it, or for other hosts, nothing is asked anywhere."""
    for url in (fal.url("all", "/api/fal/proxy"), f"{base}/api/fal/proxy"):
        told = web.post(url, json=inputs.wish(), headers={"x-fal-target-url": f"https://queue.fal.run/{APP}"})
        assert told.status_code in (200, 202), told.text
        rid = number(told)
        seen = web.get(url, headers={"x-fal-target-url": f"https://queue.fal.run/{APP}/requests/{rid}/status?logs=1"})
        assert seen.json()["request_id"] == rid and (isinstance(seen.json().get("logs"), list) or seen.json()["status"] == "IN_QUEUE")
        missing = web.post(url, json={})
        assert missing.status_code == 400 and "Invalid request" in missing.text
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        stranger.settimeout(0.2)
        port = stranger.getsockname()[1]
        for target in (
            f"http://127.0.0.1:{port}/",
            f"https://127.0.0.1:{port}/",
            f"https://fal.run@127.0.0.1:{port}/",
            f"https://fal.run.localhost:{port}/x",
            "https://evil.example/",
            "file:///etc/passwd",
        ):
            told = web.post(url, json={}, headers={"x-fal-target-url": target})
            assert 400 <= told.status_code < 500, (target, told.status_code)
        with pytest.raises(TimeoutError):
            stranger.accept()


def test_pages_of_other_sites(web, base, fal, inputs):
    """Browsers may ask from anywhere and read the headers that the client reads; what they ask beforehand is granted."""
    origin = {"origin": "https://app.example"}
    told = run(web, base, inputs.wish(), headers=origin)
    assert told.status_code == 200 and told.headers["access-control-allow-origin"] in ("*", "https://app.example")
    exposed = {name.strip().lower() for name in told.headers["access-control-expose-headers"].split(",")}
    assert exposed == {"*"} or {"x-fal-request-id", "x-fal-billable-units", "x-fal-error-type"} <= exposed, exposed
    wrong = run(web, base, {}, headers=origin)
    assert wrong.status_code == 422 and "access-control-allow-origin" in wrong.headers
    for path, method in ((f"/queue/{APP}", "POST"), (f"/queue/{APP}/requests/{NOBODY}/cancel", "PUT"), (f"/run/{APP}", "GET")):
        asked = {
            "access-control-request-method": method,
            "access-control-request-headers": "authorization,content-type,x-fal-queue-priority",
        }
        told = web.options(base + path, headers=origin | asked)
        assert told.status_code in (200, 204) and told.headers["access-control-allow-origin"] in ("*", "https://app.example")
        allowed = {name.strip().lower() for name in told.headers["access-control-allow-headers"].split(",")}
        assert allowed == {"*"} or {"authorization", "content-type", "x-fal-queue-priority"} <= allowed, allowed
        methods = {name.strip() for name in told.headers["access-control-allow-methods"].split(",")}
        assert methods == {"*"} or {"GET", "POST", "PUT"} <= methods, methods


@pytest.mark.parametrize(
    "more, frames, units", [({}, 41, "1.64000000"), ({"resolution": "720p"}, 41, "3.28000000"), ({"num_frames": 50}, 50, "2")]
)
def test_what_it_would_cost(web, base, media, inputs, ways, tmp_path, more, frames, units):
    """Billable units are seconds, twice that at 720p; whole numbers are plain, others have eight digits."""
    wish = inputs.wish(image_url=fal_stage.data_uri(media.portrait), **more)
    told = run(web, base, wish)
    assert told.status_code == 200 and told.headers["x-fal-billable-units"] == units
    seen = film_of(ways["http"], told.json(), tmp_path, frames)
    assert min(seen["video"]["width"], seen["video"]["height"]) >= (400 if units != "3.28000000" else 640), seen["video"]
    result = web.get(f"{base}/queue/{APP}/requests/{told.headers['x-fal-request-id']}")
    assert result.headers["x-fal-billable-units"] == units and result.json() == told.json()


def test_who_made_it(web, base, inputs):
    """The engine that stands in is named."""
    assert run(web, base, inputs.wish()).headers["x-talkie-engine"].startswith("puppet; weights=")


def test_length_is_the_shorter_of_frames_and_voice(web, base, ways, inputs, tmp_path):
    """Asked for 145 frames (the default), a voice of two and a half seconds gives 63: the last is begun."""
    wish = inputs.wish()
    del wish["num_frames"]
    film_of(ways["http"], run(web, base, wish).json(), tmp_path, frames=63)


def test_every_app(web, base, fal, ways, inputs, tmp_path):
    """Each has its own input and answers with a film and a seed."""
    clip = fal_stage.data_uri(inputs.clip)
    rows = [
        (
            f"{APP}/single-text",
            {"image_url": inputs.picture_uri, "text_input": "Hello, I am a picture.", "voice": "Aria", "prompt": "", "num_frames": 41},
        ),
        (f"{APP}/video-to-video", {"video_url": clip, "audio_url": inputs.voice_uri, "prompt": "", "num_frames": 41}),
        (PUPPET, {"image_url": inputs.picture_uri, "audio_url": inputs.voice_uri}),
        (PUPPET, inputs.idle()),
        ("talkie/musetalk", {"video_url": clip, "audio_url": inputs.voice_uri}),
        ("talkie/svd", {"image_url": inputs.picture_uri, "seconds": 1, "size": 256}),
    ]
    for app, wish in rows:
        told = run(web, base, wish, app=app)
        assert told.status_code == 200, (app, told.text)
        assert isinstance(told.json()["seed"], int)
        film = ways["http"].fetch(told.json()["video"]["url"])
        path = tmp_path / "film.mp4"
        path.write_bytes(film.content)
        assert stage.streams(path)["video"]["codec_name"] == "h264", app


def test_takes_as_inputs(new_talkie, inputs):
    """A take of this server can be named as an input: it is copied, and no copy stays that no job needs."""
    server = new_talkie()
    base = server.url("all", "/fal")
    take = httpx.post(f"{base}/run/{PUPPET}", json=inputs.idle(), timeout=60).json()["video"]["url"]

    def copies():
        return len(list(server.data.glob("**/uploads/*/take.mp4")))

    wish = {"image_url": take, "seconds": 1, "seed": next(fal_stage.seeds)}
    told = [httpx.post(f"{base}/queue/{PUPPET}", json=wish, timeout=60) for _ in range(3)]
    assert len({number(one) for one in told}) == 1
    stage.until(lambda: copies() == 1, 10, what="one copy for one job")
    wrong = httpx.post(f"{base}/run/talkie/musetalk", json={"video_url": take, "audio_url": "ftp://nowhere/a.wav"}, timeout=60)
    assert wrong.status_code == 422, wrong.text
    stage.until(lambda: copies() == 1, 10, what="no copy for what is refused")


def test_bodies_without_a_type(web, base, fal, inputs):
    """curl's examples may name none; JavaScript names JSON where there is no body at all."""
    told = web.post(f"{base}/queue/{APP}", content=json.dumps(inputs.wish()))
    assert told.status_code in (200, 202), told.text
    raw = Raw(f"{base}/queue/{APP}", "POST", json.dumps(inputs.wish()).encode(), {"Content-Type": "application/x-www-form-urlencoded"})
    assert raw.status in (200, 202)
    raw.close()
    rid = number(told)
    completed(fal, base, rid)
    typed = {"content-type": "application/json"}
    assert web.get(f"{base}/queue/{APP}/requests/{rid}", headers=typed).status_code == 200
    assert web.get(f"{base}/queue/{APP}/requests/{rid}/status", headers=typed).status_code == 200


def test_unknown_fields_and_headers_are_taken(web, base, inputs):
    """As pydantic does by default, and with every header that the platform knows."""
    headers = {
        "x-fal-no-retry": "yes",
        "x-fal-store-io": "0",
        "x-fal-object-lifecycle-preference": '{"expiration_duration_seconds": 3600}',
        "x-fal-runner-hint": "h",
        "x-fal-client-proxy": "@fal-ai/server-proxy/nextjs",
    }
    told = run(web, base, inputs.wish(guidance_scale=5), headers=headers)
    assert told.status_code == 200, told.text


def events_of(answer):
    """The `data:` of each event; anything but data and comments is wrong."""
    found = []
    for line in answer.iter_lines():
        assert not line or line.startswith(("data:", ":")), line
        if line.startswith("data:"):
            found.append(json.loads(line[5:]))
    return found


def test_status_stream(web, base, fal, inputs):
    """An event at once, one at each change with the new lines alone, COMPLETED, the end."""
    with fal.frozen():
        until_running(web, base, number(submit(web, base, inputs.wish())))
        rid = number(submit(web, base, inputs.wish()))
        raw = Raw(f"{base}/queue/{APP}/requests/{rid}/status/stream?logs=1", headers={"Accept": "application/json, text/event-stream"})
        assert raw.status == 200 and raw.headers["content-type"].startswith("text/event-stream") and raw.headers["x-fal-request-id"] == rid
        chunks = raw.chunks()
        _, first = next(chunks)
        assert b'"IN_QUEUE"' in first, "an event at once"
    rest = b"".join(data for _, data in chunks)
    raw.close()
    told = [json.loads(line[5:]) for line in (first + rest).decode().splitlines() if line.startswith("data:")]
    assert told[-1]["status"] == "COMPLETED" and told[-1]["metrics"]["inference_time"] > 0
    lines = [json.dumps(entry) for event in told for entry in event.get("logs") or []]
    whole = [json.dumps(entry) for entry in status(web, base, rid, "?logs=1").json()["logs"]]
    assert len(set(lines)) == len(lines), "a line came twice"
    assert [line for line in lines if line in whole] == whole, "every line that is kept, in its order"
    with web.stream("GET", f"{base}/queue/{APP}/requests/{rid}/status/stream") as answer:
        (only,) = events_of(answer)
    assert only["status"] == "COMPLETED"


def test_stream_of_events(web, base, inputs):
    """Progress, previews, and the output object last; an input that is wrong is a 422 before anything is streamed."""
    with web.stream("POST", f"{base}/run/{APP}/stream", json=inputs.wish()) as answer:
        assert (
            answer.status_code == 200
            and answer.headers["content-type"].startswith("text/event-stream")
            and answer.headers["x-fal-request-id"]
        )
        told = events_of(answer)
    assert {event.get("type") for event in told[:-1]} <= {"waiting", "progress", "preview"} and set(told[-1]) >= {"video", "seed"}
    wrong = web.post(f"{base}/run/{APP}/stream", json={})
    assert wrong.status_code == 422 and wrong.headers["content-type"] == "application/json"


def test_tokens(web, base):
    """A bare JSON string for realtime; for uploads an object whose time has an offset that Python 3.10 can read."""
    for path in ("/rest/tokens/", "/rest/tokens"):
        told = web.post(base + path, json={"allowed_apps": ["puppet"], "token_expiration": 120})
        assert told.status_code in (200, 201) and isinstance(told.json(), str) and told.json(), told.text
    for wish in ({"allowed_apps": "puppet"}, {"allowed_apps": [3]}, {"token_expiration": "soon"}, []):
        told = web.post(f"{base}/rest/tokens/", json=wish)
        assert told.status_code == 400 and "no wish for a token" in told.json()["detail"], (wish, told.text)
    told = web.post(f"{base}/rest/storage/auth/token?storage_type=fal-cdn-v3", json={}).json()
    assert set(told) == {"token", "token_type", "base_url", "expires_at"} and told["token_type"] == "Bearer"
    assert told["base_url"] == f"{base}/cdn" and told["expires_at"].endswith("+00:00"), told
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}|\.\d{6})?\+00:00", told["expires_at"]), told


def cdn_token(web, base):
    told = web.post(f"{base}/rest/storage/auth/token?storage_type=fal-cdn-v3", json={}).json()
    return {"authorization": f"{told['token_type']} {told['token']}"}


def test_uploads(web, base):
    """One request to the CDN, or initiate and PUT: no empty answer calls itself JSON, which JavaScript would try to read."""
    headers = cdn_token(web, base) | {"content-type": "audio/x-wav", "x-fal-file-name": "up one.wav"}
    told = web.post(f"{base}/cdn/files/upload", content=b"RIFF1234", headers=headers)
    assert told.status_code == 200 and set(told.json()) == {"access_url"}, told.text
    assert web.get(told.json()["access_url"]).content == b"RIFF1234"
    for kind in ("fal-cdn-v3", "gcs"):
        begun = web.post(
            f"{base}/rest/storage/upload/initiate?storage_type={kind}", json={"file_name": "a.wav", "content_type": "audio/wav"}
        )
        assert begun.status_code == 200 and set(begun.json()) == {"upload_url", "file_url"}, begun.text
        put = web.put(begun.json()["upload_url"], content=b"RIFF5678", headers={"content-type": "audio/wav"})
        assert put.status_code == 200 and "json" not in put.headers.get("content-type", ""), put.headers
        seen = web.get(begun.json()["file_url"])
        assert seen.content == b"RIFF5678" and seen.headers["content-type"] == "audio/wav"


def test_uploads_in_parts(web, base):
    """Each part's answer has an ETag and is JSON (one client reads this, the other that); parts come in any order, a missing one is told."""
    small = b"x" * 1000
    parts = {1: b"a" * 5000, 2: b"b" * 5000, 3: small}
    token = cdn_token(web, base)
    begun = web.post(
        f"{base}/cdn/files/upload/multipart", headers=token | {"x-fal-file-name": "l.bin", "content-type": "text/plain"}
    ).json()
    assert set(begun) == {"access_url", "uploadId"}
    own = f"{begun['access_url']}/multipart/{begun['uploadId']}"
    etags = {}
    for part in (3, 1, 2):
        told = web.put(f"{own}/{part}", content=parts[part], headers=token)
        assert told.status_code == 200 and told.headers["content-type"] == "application/json"
        etags[part] = told.headers["etag"]
        assert told.json() == {"partNumber": part, "etag": told.headers["etag"]}
    incomplete = {"parts": [{"partNumber": n, "etag": etags.get(n, '"none"')} for n in (1, 2, 3, 4)]}
    assert web.post(f"{own}/complete", json=incomplete, headers=token).status_code in (400, 404, 422)
    done = web.post(f"{own}/complete", json={"parts": [{"partNumber": n, "etag": etags[n]} for n in (2, 3, 1)]}, headers=token)
    assert done.status_code == 200, done.text
    assert web.get(begun["access_url"]).content == parts[1] + parts[2] + parts[3]
    begun = web.post(
        f"{base}/rest/storage/upload/initiate-multipart?storage_type=fal-cdn-v3", json={"file_name": "a.bin", "content_type": "text/plain"}
    ).json()
    url = httpx.URL(begun["upload_url"])
    path = url.path
    answers = [web.put(url.copy_with(path=f"{path}/{n}"), content=parts[n]).json() for n in (1, 2)]
    done = web.post(url.copy_with(path=f"{path}/complete"), json={"parts": answers})
    assert done.status_code == 200 and web.get(begun["file_url"]).content == parts[1] + parts[2]


def test_files_of_the_cdn(web, base, inputs):
    """Public, with ranges and an ETag; what is not there is a 404, and no path leads elsewhere."""
    url = run(web, base, inputs.wish()).json()["video"]["url"]
    whole = web.get(url)
    assert whole.headers["content-type"] == "video/mp4" and whole.headers["accept-ranges"] == "bytes" and whole.headers["etag"]
    part = web.get(url, headers={"range": "bytes=100-199"})
    assert part.status_code == 206 and part.content == whole.content[100:200]
    assert web.get(url, headers={"if-none-match": whole.headers["etag"]}).status_code == 304
    head = web.head(url)
    assert head.status_code == 200 and int(head.headers["content-length"]) == len(whole.content)
    for path in (
        "/files/none/none.mp4",
        "/files/..%2f..%2ftalkie.db",
        "/files/../../talkie.db",
        "/files/%2e%2e/talkie.db",
        "/files/",
        "/files",
    ):
        raw = Raw(f"{base}/cdn{path}")
        assert raw.status in (400, 404), path
        raw.close()


def test_documents(web, base, fal, ways):
    """OpenAPI as fal publishes it, for each app, and the list of models that n8n's node reads."""
    for app, name in ((APP, "Infinitalk"), (PUPPET, "Puppet"), ("talkie/musetalk", "MuseTalk"), ("talkie/svd", "Svd")):
        told = web.get(f"{base}/api/openapi/queue/openapi.json", params={"endpoint_id": app})
        assert told.status_code == 200, told.text
        document = told.json()
        assert document["openapi"].startswith("3.") and document["info"]["x-fal-metadata"]["endpointId"] == app
        assert {"category", "playgroundUrl", "documentationUrl"} <= set(document["info"]["x-fal-metadata"])
        schemas = document["components"]["schemas"]
        assert {f"{name}Input", f"{name}Output", "QueueStatus", "File"} <= set(schemas), list(schemas)
        order = schemas[f"{name}Input"]["x-fal-order-properties"]
        assert set(order) == set(schemas[f"{name}Input"]["properties"])
        assert {
            f"/{app}",
            f"/{app}/requests/{{request_id}}/status",
            f"/{app}/requests/{{request_id}}",
            f"/{app}/requests/{{request_id}}/cancel",
        } <= set(document["paths"])
        assert document["servers"], document
        models = web.get(f"{base}/v1/models", params={"endpoint_id": app, "expand": "openapi-3.0"}).json()
        assert set(models) >= {"models", "next_cursor", "has_more"} and models["has_more"] is False
        (model,) = models["models"]
        assert model["endpoint_id"] == app and {"display_name", "category", "description", "status"} <= set(model["metadata"])
        read = [
            schema for schema in model["openapi"]["components"]["schemas"] if schema.endswith(("Input", "Output")) and "Queue" not in schema
        ]
        assert read == [f"{name}Input", f"{name}Output"]
    schema = web.get(f"{base}/api/openapi/queue/openapi.json", params={"endpoint_id": APP}).json()["components"]["schemas"][
        "InfinitalkInput"
    ]
    frames = schema["properties"]["num_frames"]
    assert (frames["minimum"], frames["maximum"], frames["default"]) == (41, 721, 145)
    assert schema["required"] == ["image_url", "audio_url", "prompt"] and schema["properties"]["seed"]["default"] == 42
    assert web.get(f"{base}/api/openapi/queue/openapi.json", params={"endpoint_id": "a/b"}).status_code == 404
    for host in ("https://fal.ai/api/openapi/queue/openapi.json", "https://api.fal.ai/v1/models"):
        assert ways["takeover"].fetch(host, params={"endpoint_id": APP}).status_code == 200


def test_the_keys_of_the_webhooks(web, base, ways):
    """Where receivers look for them, and where those that know fal alone do."""
    own = web.get(f"{base}/rest/.well-known/jwks.json").json()
    assert own["keys"] and all(len(base64.urlsafe_b64decode(key["x"] + "=")) == 32 for key in own["keys"])
    assert ways["takeover"].fetch("https://rest.fal.ai/.well-known/jwks.json").json() == own


def test_keys(new_talkie, inputs):
    """With keys configured: 401 without one or with a wrong one, results are nobody else's, films are anybody's."""
    hashes = {name: hashlib.sha256(f"id:{name}".encode()).hexdigest() for name in ("anna", "bert")}
    flags = [word for name, value in hashes.items() for word in ("--conf", f"keys.{name}=sha256:{value}")]
    server = new_talkie(*flags)
    base = server.url("all", "/fal")
    wish = inputs.wish()
    for headers in ({}, {"authorization": "Key nonsense"}):
        for method, path in (
            ("POST", f"/queue/{APP}"),
            ("POST", f"/run/{APP}"),
            ("POST", "/rest/tokens/"),
            ("GET", f"/queue/{APP}/requests/{NOBODY}"),
        ):
            told = httpx.request(method, base + path, json=wish if method == "POST" else None, headers=headers)
            assert told.status_code == 401 and isinstance(told.json()["detail"], str), (path, told.status_code, told.text)
    for scheme in ("Key", "Bearer"):
        told = httpx.post(f"{base}/run/{APP}", json=wish, headers={"authorization": f"{scheme} id:anna"}, timeout=60)
        assert told.status_code == 200, told.text
    assert httpx.get(told.json()["video"]["url"]).status_code == 200
    other = {"authorization": "Key id:bert"}
    rid = told.headers["x-fal-request-id"]
    assert httpx.get(f"{base}/queue/{APP}/requests/{rid}", headers=other).status_code == 404
    assert httpx.put(f"{base}/queue/{APP}/requests/{rid}/cancel", headers=other).status_code == 404
    anna = {"authorization": "Key id:anna"}
    assert httpx.get(f"{base}/queue/{APP}/requests/{rid}", headers=anna).status_code == 200
    # a token for one app is none for the requests of another
    for what, method in (("", "GET"), ("/status", "GET"), ("/status/stream", "GET"), ("/cancel", "PUT")):
        told = httpx.request(method, f"{base}/queue/{PUPPET}/requests/{rid}{what}", headers=anna)
        assert told.status_code == 404, f"{what}: {told.status_code} {told.text}"
    token = httpx.post(f"{base}/rest/tokens/", json={"allowed_apps": ["puppet"], "token_expiration": 120}, headers=other).json()
    place = base.replace("http", "ws", 1) + f"/run/{PUPPET}/realtime"
    with websockets.sync.client.connect(f"{place}?fal_jwt_token={token}") as ok:
        ok.send(json.dumps({"image_url": inputs.picture_uri}))
        ok.send(json.dumps({"end": True}))
        assert json.loads(ok.recv(20))
    bearer = {"authorization": f"Bearer {token}"}
    for path in ("/rest/tokens/", "/rest/storage/auth/token", "/rest/storage/upload/initiate", f"/run/{APP}"):
        told = httpx.post(base + path, json={"token_expiration": 86400}, headers=bearer)
        assert told.status_code == 401, f"a token of one app opens {path}: {told.status_code} {told.text}"
    told = httpx.post(f"{base}/rest/tokens/", json={"allowed_apps": ["talkie/puppet"]}, headers=other)
    told = httpx.post(f"{base}/queue/{PUPPET}?fal_jwt_token={told.json()}", json={"seconds": 1})
    assert told.status_code == 200, told.text
    for query in ("", "?fal_jwt_token=wrong"):
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            websockets.sync.client.connect(place + query)
        assert refused.value.response.status_code == 401


def test_realtime_in_json(fal, base, inputs):
    """Who sends text is answered with text, pictures in base64, and gets the number of its request back."""
    with websockets.sync.client.connect(base.replace("http", "ws", 1) + f"/run/{PUPPET}/realtime", max_size=None) as socket_:
        socket_.send(json.dumps({"image_url": inputs.picture_uri, "request_id": "r-1"}))
        sound = base64.b64encode(inputs.pcm[:32000]).decode()
        socket_.send(json.dumps({"audio": sound, "sample_rate": 16000, "request_id": "r-2"}))
        socket_.send(json.dumps({"end": True}))
        answers = []
        with pytest.raises(websockets.exceptions.ConnectionClosedOK) as closed:
            while True:
                message = socket_.recv(20)
                assert isinstance(message, str)
                answers.append(json.loads(message))
        assert closed.value.rcvd.code == 1000
    frames = [answer for answer in answers if "image" in answer]
    assert base64.b64decode(frames[0]["image"]["content"])[:2] == b"\xff\xd8" and frames[0]["image"]["content_type"] == "image/jpeg"
    assert {frame.get("request_id") for frame in frames} <= {"r-1", "r-2"} and "request_id" in frames[-1], frames[-1].keys()
    last = [answer for answer in answers if answer.get("done")]
    assert last and last[0]["frames"] >= len(frames) > 10


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
def test_the_rate_of_a_voice_that_arrives(base, inputs, rate):
    """It stands beside the sound: one second of it is 25 frames, at any rate."""
    with websockets.sync.client.connect(base.replace("http", "ws", 1) + f"/run/{PUPPET}/realtime", max_size=None) as socket_:
        socket_.send(json.dumps({"image_url": inputs.picture_uri}))
        sound = base64.b64encode(inputs.pcm[: 2 * rate]).decode()
        socket_.send(json.dumps({"audio": sound, "sample_rate": rate}))
        socket_.send(json.dumps({"end": True}))
        last = {}
        while not last.get("done"):
            last = json.loads(socket_.recv(20))
    assert abs(last["frames"] - 25) <= 1, last
