"""A webhook's receiver, as fal's documents tell people to write one: it checks the Ed25519 signature (with PyNaCl) against the published keys."""

import base64
import hashlib
import http.server
import json
import threading
import time

import nacl.exceptions
import nacl.signing

import stage

SKEW_S = 300


class Wrong(Exception):
    """The delivery is not what the holder of the keys signed."""


def verify(keys, headers, body, now):
    """As the documents have it: skew first, then any key of the set may have signed request, user, time and body."""
    told = {name.lower(): value for name, value in headers.items()}
    try:
        parts = [told[f"x-fal-webhook-{name}"] for name in ("request-id", "user-id", "timestamp")]
        signature = bytes.fromhex(told["x-fal-webhook-signature"])
    except (KeyError, ValueError) as error:
        raise Wrong(f"headers: {error}") from None
    if abs(now - int(parts[2])) > SKEW_S:
        raise Wrong(f"signed at {parts[2]}, now is {now}")
    message = "\n".join([*parts, hashlib.sha256(body).hexdigest()]).encode()
    for key in keys["keys"]:
        assert (key["kty"], key["crv"]) == ("OKP", "Ed25519") and key["kid"], key
        assert "=" not in key["x"], "base64url has no padding here"
        try:
            nacl.signing.VerifyKey(base64.urlsafe_b64decode(key["x"] + "=" * (-len(key["x"]) % 4))).verify(message, signature)
            return
        except nacl.exceptions.BadSignatureError:
            continue
    raise Wrong("no key of the set made this signature")


class Delivery:
    def __init__(self, path, headers, body):
        self.path, self.headers, self.body = path, headers, body
        self.at, self.monotonic = time.time(), time.monotonic()

    def json(self):
        return json.loads(self.body)


class Receiver:
    """Keeps what is delivered. `answers` are the statuses of the next deliveries, then 200; None: no answer until it is closed."""

    def __init__(self, port=0, host="127.0.0.1"):
        self.deliveries, self.answers, self.headers = [], [], {}
        self.lock, self.closed = threading.Lock(), threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                with outer.lock:
                    outer.deliveries.append(Delivery(self.path, dict(self.headers), body))
                    status = outer.answers.pop(0) if outer.answers else 200
                if status is None:
                    outer.closed.wait()
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((host, port), Handler)
        self.server.daemon_threads = True
        self.host, self.port = host, self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def url(self, path="/hook"):
        return f"http://{self.host}:{self.port}{path}"

    def of(self, rid):
        """The deliveries of a request."""
        with self.lock:
            return [one for one in self.deliveries if one.json()["request_id"] == rid]

    def wait(self, rid, count=1, limit=30):
        stage.until(lambda: len(self.of(rid)) >= count, limit, what=f"delivery {count} of {rid}")
        return self.of(rid)

    def close(self):
        self.closed.set()
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
