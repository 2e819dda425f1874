"""Reads `multipart/x-mixed-replace` as the original server writes it, byte for byte, and HTTP chunk for chunk."""

import socket
import time
import urllib.parse

OPENING = b"--frame\r\nContent-Type: image/jpeg\r\n"
SOI, EOI = b"\xff\xd8", b"\xff\xd9"


class Raw:
    """One HTTP/1.1 exchange on a bare socket: what a client library hides (chunks and their times) is what is wanted here."""

    def __init__(self, url, method="GET", body=b"", headers=None, timeout=60, window=None):
        """`window`: bytes that the system takes for a reader who does not read."""
        parts = urllib.parse.urlsplit(url)
        self.sock = socket.socket()
        self.sock.settimeout(timeout)
        if window:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.sock.connect((parts.hostname, parts.port))
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        self.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        self.sent = time.monotonic()
        self.buffer = b""
        head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        self.status = int(head[0].split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        self.head_after = time.monotonic() - self.sent

    def _more(self):
        data = self.sock.recv(1 << 16)
        if not data:
            raise EOFError("the connection was closed")
        self.buffer += data

    def _until(self, mark):
        while mark not in self.buffer:
            self._more()
        found, _, self.buffer = self.buffer.partition(mark)
        return found + mark

    def _take(self, count):
        while len(self.buffer) < count:
            self._more()
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    def chunks(self):
        """(seconds since the request was sent, bytes) of each chunk; EOFError if the last one never comes."""
        assert self.headers.get("transfer-encoding") == "chunked", self.headers
        while True:
            size = int(self._until(b"\r\n").split(b";")[0], 16)
            if size == 0:
                self._until(b"\r\n")
                return
            data = self._take(size)
            at = time.monotonic() - self.sent
            assert self._take(2) == b"\r\n"
            yield at, data

    def body(self):
        if self.headers.get("transfer-encoding") == "chunked":
            return b"".join(data for _, data in self.chunks())
        return self._take(int(self.headers.get("content-length", "0")))

    def close(self):
        self.sock.close()


def jpeg_of(part):
    """The picture in one part, after checking every byte around it."""
    assert part.startswith(OPENING), part[:80]
    rest = part[len(OPENING) :]
    head, blank, picture = rest.partition(b"\r\n")
    if head:  # a Content-Length is harmless and helps strict readers; nothing else may stand there
        name, _, value = head.partition(b":")
        assert name.lower() == b"content-length", head
        assert picture.startswith(b"\r\n"), picture[:8]
        picture = picture[2:]
        assert len(picture) == int(value) + 2
    assert blank and picture.endswith(b"\r\n")
    picture = picture[:-2]
    assert picture.startswith(SOI) and picture.endswith(EOI), (picture[:4], picture[-4:])
    return picture


def form(fields=(), files=()):
    """(body, content type). `fields`: (name, text); `files`: (name, file name, type or None, bytes)."""
    boundary = "talkie-tests-7f3a"
    parts = []
    for name, text in fields:
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + str(text).encode() + b"\r\n")
    for name, file_name, kind, data in files:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{file_name}"\r\n'
        if kind:
            head += f"Content-Type: {kind}\r\n"
        parts.append(head.encode() + b"\r\n" + data + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
