"""A server that speaks the Hugging Face hub's protocol, and a second one as the host its large files are redirected to. Both
misbehave on request. Large files (`lfs`) answer HEAD with X-Linked-Etag (SHA-256) and X-Linked-Size and redirect; small ones are
sent by the hub itself under git's name of the blob. Every request is noted."""

import dataclasses
import hashlib
import http.server
import json
import threading
import time
import urllib.parse


def git_name(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclasses.dataclass
class File:
    data: bytes
    lfs: bool = True
    etag: str = ""  # of the content, as the hub tells it
    sent: bytes | None = None  # what is sent in its place, once for each of `wrong_times`
    wrong_times: int = 0

    def __post_init__(self):
        self.etag = self.etag or (hashlib.sha256(self.data).hexdigest() if self.lfs else git_name(self.data))


@dataclasses.dataclass
class Faults:
    """Counters run down; 0 is none. What concerns bytes happens at the second host."""

    cut_after: int = 0  # bytes of an answer after which the connection is cut
    cuts: int = 0
    statuses: list = dataclasses.field(default_factory=list)  # (status, headers) for the next requests of the hub
    byte_statuses: list = dataclasses.field(default_factory=list)  # for the next requests of bytes
    ranges: bool = True
    claim_more: int = 0  # bytes that the second host's Content-Length lies by
    linked_size: int | None = None
    gated: bool = False
    slow_s: float = 0.0  # before each 256 kB
    hang: bool = False  # sends half and then nothing
    expire: int = 0  # signed addresses that are refused
    plain_headers: bool = False  # a mirror that keeps the X- headers to itself
    tree_extra: list = dataclasses.field(default_factory=list)  # entries of the listing that are not there
    tree_page: int = 1000


class Hub:
    COMMIT = "0123456789abcdef0123456789abcdef01234567"

    def __init__(self):
        self.repositories = {}  # "owner/name" -> {path: File}
        self.faults = Faults()
        self.requests = []  # (host, method, path, headers)
        self.lock = threading.Lock()
        self.running = self.most_at_once = 0
        self.open = threading.Event()  # a test that is over ends every hanging answer
        self.hub = self._serve(self._hub_handler())
        self.bytes = self._serve(self._bytes_handler())
        self.url = f"http://127.0.0.1:{self.hub.server_address[1]}"
        # another host by name, so that clients see another origin even if they ignore ports
        self.bytes_url = f"http://localhost:{self.bytes.server_address[1]}"

    def add(self, repository, path, data, **more):
        file = File(data, **more)
        self.repositories.setdefault(repository, {})[path] = file
        return file

    def asked(self, host=None, method=None, path=""):
        return [r for r in self.requests if (host or r[0]) == r[0] and (method or r[1]) == r[1] and path in r[2]]

    def close(self):
        self.open.set()
        for server in (self.hub, self.bytes):
            server.shutdown()
            server.server_close()

    def _serve(self, handler):
        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # clients of these tests hang up

        server = Server(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def _handler(self, host):
        stage = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def note(self):
                with stage.lock:
                    stage.requests.append((host, self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))

            def answer(self, status, headers=(), body=b""):
                self.send_response(status)
                for name, value in dict(headers).items():
                    self.send_header(name, str(value))
                if not any(name.lower() == "content-length" for name in dict(headers)):
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def fault(self, queue):
                with stage.lock:
                    told = queue.pop(0) if queue else None
                if told:
                    self.answer(told[0], told[1], b"later")
                return bool(told)

            def do_HEAD(self):
                self.do_GET()

        return Handler

    def _hub_handler(self):
        stage, base = self, self._handler("hub")

        class Handler(base):
            def do_GET(self):
                self.note()
                faults = stage.faults
                if self.fault(faults.statuses):
                    return
                if faults.gated:
                    headers = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to this model is restricted."}
                    if self.headers.get("Authorization") != "Bearer hf_good":
                        status = 403 if self.headers.get("Authorization") else 401
                        return self.answer(status, headers)
                url = urllib.parse.urlsplit(self.path)
                parts = [urllib.parse.unquote(part) for part in url.path.strip("/").split("/")]
                if parts[:2] == ["api", "models"] and parts[4] == "tree":
                    return self.tree("/".join(parts[2:4]), parts[6:], urllib.parse.parse_qs(url.query))
                if parts[:2] == ["api", "models"] and parts[4:5] == ["revision"]:
                    return self.info("/".join(parts[2:4]))
                repository, path = "/".join(parts[:2]), "/".join(parts[4:])
                file = stage.repositories.get(repository, {}).get(path) if parts[2:3] == ["resolve"] else None
                if file is None:
                    code = "EntryNotFound" if repository in stage.repositories else "RepoNotFound"
                    return self.answer(404, {"X-Error-Code": code, "X-Error-Message": "Entry not found"})
                headers = {} if faults.plain_headers else {"X-Repo-Commit": stage.COMMIT}
                if not file.lfs:
                    return self.answer(200, headers | {"ETag": f'"{file.etag}"', "Content-Length": len(file.data)}, file.data)
                if not faults.plain_headers:
                    size = len(file.data) if faults.linked_size is None else faults.linked_size
                    headers |= {"X-Linked-Etag": f'"{file.etag}"', "X-Linked-Size": size}
                place = urllib.parse.quote(f"{repository}/{path}")
                self.answer(302, headers | {"Location": f"{stage.bytes_url}/{place}?Signature=s{len(stage.requests)}"})

            def info(self, repository):
                files = stage.repositories.get(repository, {})
                body = {"id": repository, "sha": stage.COMMIT, "siblings": [{"rfilename": path} for path in files]}
                self.answer(200, {"Content-Type": "application/json"}, json.dumps(body).encode())

            def tree(self, repository, folder, query):
                inside = "/".join(folder)
                entries = [
                    {"type": "file", "path": path, "size": len(file.data), "oid": git_name(file.data)}
                    | ({"lfs": {"oid": file.etag, "size": len(file.data)}} if file.lfs else {})
                    for path, file in stage.repositories.get(repository, {}).items()
                    if path.startswith(f"{inside}/" if inside else "")
                ]
                entries += stage.faults.tree_extra
                at, page = int(query.get("cursor", ["0"])[0]), stage.faults.tree_page
                headers = {"Content-Type": "application/json"}
                if at + page < len(entries):
                    headers["Link"] = f'<{stage.url}{self.path.split("?")[0]}?recursive=true&cursor={at + page}>; rel="next"'
                self.answer(200, headers, json.dumps(entries[at : at + page]).encode())

        return Handler

    def _bytes_handler(self):
        stage, base = self, self._handler("bytes")

        class Handler(base):
            def do_GET(self):
                self.note()
                with stage.lock:
                    stage.running += 1
                    stage.most_at_once = max(stage.most_at_once, stage.running)
                try:
                    self.send()
                finally:
                    with stage.lock:
                        stage.running -= 1

            def send(self):
                faults = stage.faults
                if self.fault(faults.byte_statuses):
                    return
                with stage.lock:
                    expired = faults.expire > 0
                    faults.expire -= expired
                if expired:
                    return self.answer(403, {}, b"Request has expired")
                parts = [urllib.parse.unquote(part) for part in urllib.parse.urlsplit(self.path).path.strip("/").split("/")]
                file = stage.repositories["/".join(parts[:2])]["/".join(parts[2:])]
                data = file.data
                with stage.lock:
                    if file.wrong_times > 0 and file.sent is not None:
                        data = file.sent
                entity = f'"{file.etag[:16]}-host"'
                begin, end, status = 0, len(data), 200
                wish = self.headers.get("Range")
                if wish and faults.ranges and self.headers.get("If-Range", entity) == entity:
                    first, _, last = wish.removeprefix("bytes=").partition("-")
                    begin, end, status = int(first), min(len(data), int(last or len(data)) + 1), 206
                if end == len(data) and self.command == "GET":
                    with stage.lock:
                        file.wrong_times -= file.wrong_times > 0
                self.send_response(status)
                self.send_header("ETag", entity)
                self.send_header("Content-Length", str(end - begin + faults.claim_more))
                if faults.ranges:
                    self.send_header("Accept-Ranges", "bytes")
                if status == 206:
                    self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(data)}")
                self.end_headers()
                if self.command == "HEAD":
                    return
                with stage.lock:
                    cut = faults.cut_after if faults.cuts > 0 else 0
                    faults.cuts -= faults.cuts > 0
                stop = min(end, begin + cut) if cut else end
                if faults.hang:
                    stop = (begin + end) // 2
                for at in range(begin, stop, 1 << 18):
                    if faults.slow_s:
                        time.sleep(faults.slow_s)  # what makes this server slow
                    self.wfile.write(data[at : min(stop, at + (1 << 18))])
                if faults.hang:
                    self.wfile.flush()
                    stage.open.wait(60)
                if stop < end or faults.claim_more:
                    self.close_connection = True

        return Handler
