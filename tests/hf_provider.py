"""A server that speaks what the engine `huggingface` is documented to call: Hugging Face's inference API in its classic and its router form, the hub's
list of a model's providers, and fal's queue behind the router. Faults are put before the usual answers, one for each request that carries a picture.
A second port, under another host name, is where videos lie and where redirects lead. Every request is noted."""

import http.server
import json
import socket
import struct
import threading
import time

HUB_ID = "Lightricks/LTX-Video"
MODEL = "stabilityai/stable-video-diffusion-img2vid-xt"


class Seen:
    def __init__(self, method, path, headers, body):
        self.method, self.path, self.body = method, path, body
        self.headers = {name.lower(): value for name, value in headers}

    def __repr__(self):
        return f"{self.method} {self.path} ({len(self.body)} bytes)"


class Provider:
    def __init__(self, film, provider_id="fal-ai/ltx-video/image-to-video", polls=2):
        self.film, self.provider_id = film, provider_id
        self.faults = []  # functions of a handler, taken off one by one
        self.requests = []  # of the first port
        self.elsewhere = []  # of the second
        self.polls = polls
        self.left = self.polls
        self.over = threading.Event()  # a test that is over ends every hanging answer
        self.lock = threading.Lock()
        self.first = self._serve(self.requests, self._answer)
        self.second = self._serve(self.elsewhere, lambda handler, _: handler.video(self.film))
        self.url = f"http://127.0.0.1:{self.first.server_address[1]}"
        self.files = f"http://localhost:{self.second.server_address[1]}"

    def posts(self):
        return [seen for seen in self.requests if seen.method == "POST"]

    def close(self):
        self.over.set()
        for server in (self.first, self.second):
            server.shutdown()
            server.server_close()

    def _answer(self, handler, seen):
        path = seen.path.partition("?")[0]
        if seen.method == "POST":
            with self.lock:
                fault = self.faults.pop(0) if self.faults else None
                self.left = self.polls
            if fault:
                return fault(handler)
            if path in (f"/models/{MODEL}", f"/hf-inference/models/{MODEL}"):
                return handler.video(self.film)
            if path == f"/fal-ai/{self.provider_id}":
                url = f"https://queue.fal.run/{'/'.join(self.provider_id.split('/')[:2])}/requests/r1"
                return handler.json(200, {"request_id": "r1", "status": "IN_QUEUE", "response_url": url, "queue_position": 0})
        if path == f"/api/models/{HUB_ID}":
            offer = {"status": "live", "providerId": self.provider_id, "task": "image-to-video"}
            return handler.json(200, {"_id": "1", "id": HUB_ID, "modelId": HUB_ID, "inferenceProviderMapping": {"fal-ai": offer}})
        if path.endswith("/requests/r1/status"):
            with self.lock:
                self.left -= 1
                done = self.left < 0
            return handler.json(200 if done else 202, {"status": "COMPLETED" if done else "IN_PROGRESS", "request_id": "r1"})
        if path.endswith("/requests/r1"):
            return handler.json(200, {"video": {"url": f"{self.files}/film.mp4", "content_type": "video/mp4"}, "seed": 1})
        return handler.json(404, {"error": "Not Found"})

    def _serve(self, notes, answer):
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def handle_one(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                seen = Seen(self.command, self.path, self.headers.items(), body)
                notes.append(seen)
                self.over = provider.over
                answer(self, seen)

            do_GET = do_POST = handle_one

            def say(self, status, headers, body, length=None):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = True

            def json(self, status, value, **headers):
                self.say(status, {"Content-Type": "application/json"} | headers, json.dumps(value).encode())

            def video(self, film):
                self.say(200, {"Content-Type": "video/mp4"}, film)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server


# what can go wrong, as functions of a handler


def status(code, value, **headers):
    return lambda handler: handler.json(code, value, **headers)


def loading(seconds=0.1):
    return status(503, {"error": f"Model {MODEL} is currently loading", "estimated_time": seconds})


def page(code=200, title="Hugging Face"):
    html = f"<!DOCTYPE html><html><head><title>{title}</title></head></html>".encode()
    return lambda handler: handler.say(code, {"Content-Type": "text/html; charset=utf-8"}, html)


def bytes_of(body, kind="video/mp4", length=None):
    return lambda handler: handler.say(200, {"Content-Type": kind}, body, length)


def redirect(to, code=307):
    return lambda handler: handler.say(code, {"Location": to}, b"")


def reset(handler):
    """The connection ends as if the machine were gone."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def hang(handler):
    """Headers, and nothing more while anybody listens."""
    handler.send_response(200)
    handler.send_header("Content-Type", "video/mp4")
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.flush()
    handler.over.wait(60)
    handler.close_connection = True


def slow(film, pause=0.3, pieces=5):
    def send(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "video/mp4")
        handler.send_header("Content-Length", str(len(film)))
        handler.end_headers()
        step = -(-len(film) // pieces)
        for at in range(0, len(film), step):
            handler.wfile.write(film[at : at + step])
            handler.wfile.flush()
            time.sleep(pause)
        handler.close_connection = True

    return send
