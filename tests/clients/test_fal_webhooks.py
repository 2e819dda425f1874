"""fal's webhooks: signed so that an independent library believes them, tried again until they arrive, sent nowhere they must not go."""

import pathlib
import time

import httpx
import pytest

import fal_hooks
import stage
from fal_stage import APP, completed

ALLOWED = ["--conf", 'fetch.allowed_networks=["127.0.0.1/32"]']
VECTOR = {
    "keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "test", "x": "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"}],
    "body": b'{"request_id":"r1","gateway_request_id":"r1","status":"OK","payload":{"seed":42}}',
    "headers": {
        "X-Fal-Webhook-Request-Id": "r1",
        "X-Fal-Webhook-User-Id": "user-1",
        "X-Fal-Webhook-Timestamp": "1700000000",
        "X-Fal-Webhook-Signature": "2d6de59251b3f3acc78b29ee547b0858ff3ec816bbf60f2ed689e8d5cf8607bb"
        "8a1123e8f82ce211d1e1be69f4abd42d0ac0025d6c9a3224991430d679c6be0d",
    },
}


@pytest.fixture(scope="module")
def server(tmp_path_factory, inputs):
    """One job at a time, receivers on 127.0.0.1, the first retry soon."""
    folder = tmp_path_factory.mktemp("hooks")
    with stage.Talkie(folder, "--conf", "fal.webhook_first_retry_seconds=0.2", "--conf", "serve.slots=1", *ALLOWED) as server:
        yield server
        assert server.process.poll() is None, server.log()


@pytest.fixture
def receiver():
    with fal_hooks.Receiver() as receiver:
        yield receiver


def submit(server, wish, hook):
    told = httpx.post(server.url("all", f"/fal/queue/{APP}"), params={"fal_webhook": hook}, json=wish, timeout=20)
    assert told.status_code in (200, 202), (told.status_code, told.text)
    return told.json()


def keys(server):
    return httpx.get(server.url("all", "/fal/rest/.well-known/jwks.json"), timeout=20).json()


def result(server, rid):
    return httpx.get(server.url("all", f"/fal/queue/{APP}/requests/{rid}"), timeout=20)


def test_the_verifier_itself():
    """It believes the vector that other verifiers were checked with, and nothing that differs from it by one bit."""
    now = 1700000100
    fal_hooks.verify({"keys": VECTOR["keys"]}, VECTOR["headers"], VECTOR["body"], now)
    other = {**VECTOR["keys"][0], "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    fal_hooks.verify({"keys": [other, *VECTOR["keys"]]}, VECTOR["headers"], VECTOR["body"], now)
    rows = [
        ([other], VECTOR["headers"], VECTOR["body"], now),
        (VECTOR["keys"], VECTOR["headers"], VECTOR["body"].replace(b"42", b"43"), now),
        (VECTOR["keys"], VECTOR["headers"], VECTOR["body"], now + 300),
        *((VECTOR["keys"], VECTOR["headers"] | {name: "1"}, VECTOR["body"], now) for name in VECTOR["headers"]),
    ]
    for known, headers, body, at in rows:
        with pytest.raises(fal_hooks.Wrong):
            fal_hooks.verify({"keys": known}, headers, body, at)


def test_a_result_is_delivered_and_signed(server, receiver, inputs):
    """The result under the number that was told, believed by PyNaCl with the published keys; once."""
    told = submit(server, inputs.wish(), receiver.url("/hook?id=7&x=%20y"))
    rid = told["request_id"]
    (delivery,) = receiver.wait(rid)
    body = delivery.json()
    assert set(body) == {"request_id", "gateway_request_id", "status", "payload"}, body
    assert body["gateway_request_id"] == told["gateway_request_id"] and body["status"] == "OK"
    assert body["payload"] == result(server, rid).json() and set(body["payload"]) >= {"video", "seed"}
    told_headers = {name.lower(): value for name, value in delivery.headers.items()}
    assert told_headers["content-type"] == "application/json" and told_headers["x-fal-webhook-request-id"] == rid
    assert delivery.path == "/hook?id=7&x=%20y", "the query is the receiver's own"
    fal_hooks.verify(keys(server), delivery.headers, delivery.body, delivery.at)
    with pytest.raises(fal_hooks.Wrong):
        fal_hooks.verify(keys(server), delivery.headers, delivery.body.replace(rid.encode(), b"0" * len(rid)), delivery.at)
    # a later job's delivery has come, and no second one of the first
    later = submit(server, inputs.wish(), receiver.url())["request_id"]
    receiver.wait(later)
    assert len(receiver.of(rid)) == 1


def test_the_address_a_client_can_fetch(server, receiver, inputs):
    """The film's URL in the payload is the way's own, as in the result."""
    rid = submit(server, inputs.wish(), receiver.url())["request_id"]
    url = receiver.wait(rid)[0].json()["payload"]["video"]["url"]
    assert url.startswith(server.url("all", "/fal/cdn/")) and httpx.get(url).status_code == 200


def test_errors_are_delivered_too(server, receiver, inputs):
    """Of the input, whether found in its file or in its fields: ERROR, its status in words, its body as payload."""
    for wish in (inputs.spoiled(), inputs.wish(num_frames=3)):
        rid = submit(server, wish, receiver.url())["request_id"]
        (delivery,) = receiver.wait(rid)
        body = delivery.json()
        assert body["status"] == "ERROR" and body["error"] == "Invalid status code: 422", body
        refused = result(server, rid)
        assert refused.status_code == 422 and body["payload"] == refused.json() and isinstance(body["payload"]["detail"], list)
        fal_hooks.verify(keys(server), delivery.headers, delivery.body, delivery.at)


def test_tried_again_until_it_is_taken(server, receiver, inputs):
    """500, 404, then 204: three tries, each signed anew for its own time, and then no more."""
    receiver.answers = [500, 404, 204]
    rid = submit(server, inputs.wish(), receiver.url())["request_id"]
    tries = receiver.wait(rid, 3)
    assert len({one.body for one in tries}) == 1, "the same, byte for byte"
    for one in tries:
        fal_hooks.verify(keys(server), one.headers, one.body, one.at)
    gaps = [b.monotonic - a.monotonic for a, b in zip(tries, tries[1:])]
    assert gaps[0] >= 0.1 and gaps[1] > gaps[0] * 1.3, f"each wait is twice the one before: {gaps}"
    later = submit(server, inputs.wish(), receiver.url())["request_id"]
    receiver.wait(later)
    assert len(receiver.of(rid)) == 3


def test_ten_tries_and_no_more(tmp_path, inputs, receiver):
    """A receiver that never takes it is left alone after ten tries; the result stays where it is."""
    flags = ["--conf", "fal.webhook_first_retry_seconds=0.004", *ALLOWED]
    with stage.Talkie(tmp_path / "ten", *flags) as server:
        receiver.answers = [503] * 1000
        rid = submit(server, inputs.spoiled(), receiver.url("/never"))["request_id"]
        receiver.wait(rid, 10, limit=40)
        tries = receiver.of(rid)
        gap = tries[9].monotonic - tries[8].monotonic
        end = time.monotonic() + 2.5 * gap
        stage.until(lambda: time.monotonic() > end, 60, what="the time of another try")
        assert len(receiver.of(rid)) == 10
        assert result(server, rid).status_code == 422


def test_nobody_listens_yet(server, inputs):
    """The receiver comes up after the first tries have failed."""
    port = stage.free_ports(1)[0]
    rid = submit(server, inputs.wish(), f"http://127.0.0.1:{port}/late")["request_id"]
    completed(server, server.url("all", "/fal"), rid)
    with fal_hooks.Receiver(port) as receiver:
        (delivery,) = receiver.wait(rid)
        fal_hooks.verify(keys(server), delivery.headers, delivery.body, delivery.at)


def test_one_that_hangs_holds_nobody_up(server, inputs):
    """A receiver that takes the request and never answers: others get theirs meanwhile."""
    with fal_hooks.Receiver() as hanging, fal_hooks.Receiver() as other:
        hanging.answers = [None] * 20
        stuck = [submit(server, inputs.spoiled(), hanging.url())["request_id"] for _ in range(12)]
        hanging.wait(stuck[0])
        for rid in stuck:
            completed(server, server.url("all", "/fal"), rid)
        rid = submit(server, inputs.spoiled(), other.url())["request_id"]
        other.wait(rid, limit=10)


LIBFAKETIME = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


def test_down_for_an_hour_and_a_power_cut(tmp_path, inputs):
    """The receiver is down when the job ends, the server dies; an hour later both are there, and what was due is delivered.
    The keys are the ones that were published before."""
    assert LIBFAKETIME, "libfaketime is not there: scripts/setup.sh clients installs it"
    clock = tmp_path / "clock"
    clock.write_text("+0")
    environment = {
        "LD_PRELOAD": str(LIBFAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with fal_hooks.Receiver() as receiver, stage.Talkie(tmp_path / "hour", *ALLOWED, env=environment) as server:
        receiver.answers = [503]
        rid = submit(server, inputs.wish(), receiver.url())["request_id"]
        receiver.wait(rid)
        before, output = keys(server), result(server, rid).json()
        server.kill()
        clock.write_text("+1h")
        server.start()
        first, second = receiver.wait(rid, 2, limit=20)
        assert first.body == second.body and second.json()["payload"] == output
        fal_hooks.verify(before, second.headers, second.body, second.at + 3600)
        assert keys(server) == before


def test_a_job_that_ends_after_the_restart(tmp_path, inputs, receiver):
    """The webhook is a part of the job's row: killed before it ran, delivered after."""
    with stage.Talkie(tmp_path / "cut", "--conf", "serve.slots=1", *ALLOWED) as server:
        base = server.url("all", "/fal")
        completed(server, base, submit(server, inputs.wish(), receiver.url())["request_id"])
        with server.frozen():
            rids = [submit(server, inputs.wish(), receiver.url())["request_id"] for _ in range(2)]
            server.kill()
        server.start()
        for rid in rids:
            (delivery,) = receiver.wait(rid)
            assert delivery.json()["status"] == "OK"
            fal_hooks.verify(keys(server), delivery.headers, delivery.body, delivery.at)


HOSTILE = [
    "http://10.0.0.1/hook",
    "http://192.168.1.1/hook",
    "http://172.16.0.1/hook",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::1]:1/hook",
    "http://[fe80::1]/hook",
    "http://[::ffff:10.0.0.1]/hook",
    "http://[64:ff9b::a00:1]/hook",
    "http://0.0.0.0/hook",
    "http://0/hook",
    "http://167772161/hook",
    "http://0xa.0.0.1/hook",
    "http://012.0.0.1/hook",
    "http://100.64.0.1/hook",
    "http://224.0.0.1/hook",
    "file:///etc/passwd",
    "ftp://example.com/hook",
    "gopher://example.com/_",
    "javascript:alert(1)",
    "data:text/plain,x",
    "//example.com/hook",
    "/hook",
    "hook",
    "http://",
    "http:///hook",
    "http://example.com:99999/",
    "http://exa mple.com/",
    "http://example.com/" + "a" * 60_000,
]


@pytest.mark.parametrize("hook", HOSTILE, ids=lambda hook: hook[:30])
def test_hostile_addresses(server, inputs, hook):
    """Refused when they are given, with 400 and a reason: no private network but those that are allowed, no other scheme, nothing that is no URL."""
    before = len(server.jobs(dialect="fal"))
    told = httpx.post(server.url("all", f"/fal/queue/{APP}"), params={"fal_webhook": hook}, json=inputs.wish(), timeout=20)
    assert told.status_code in ((400, 414) if len(hook) > 10_000 else (400,)), (told.status_code, told.text)
    if told.status_code == 400:
        assert isinstance(told.json()["detail"], str) and told.headers["x-fal-error-type"] == told.json()["error_type"] == "bad_request"
    assert len(server.jobs(dialect="fal")) == before, "no job was made"


def test_loopback_is_private_by_default(tmp_path, inputs, receiver):
    """Without a word in the configuration this machine's own services get nothing."""
    with stage.Talkie(tmp_path / "default") as server:
        for hook in (receiver.url(), receiver.url().replace("127.0.0.1", "localhost"), receiver.url().replace("127.0.0.1", "127.1")):
            told = httpx.post(server.url("all", f"/fal/queue/{APP}"), params={"fal_webhook": hook}, json=inputs.wish(), timeout=20)
            assert told.status_code == 400, (hook, told.text)
    assert not receiver.deliveries


def test_a_receiver_cannot_send_it_elsewhere(server, receiver, inputs):
    """Redirects are no deliveries, and are not followed to where it may not go."""
    with fal_hooks.Receiver(host="127.0.0.2") as private:
        receiver.answers, receiver.headers = [302, 307], {"location": private.url()}
        rid = submit(server, inputs.spoiled(), receiver.url())["request_id"]
        receiver.wait(rid, 3)
        assert not private.deliveries
