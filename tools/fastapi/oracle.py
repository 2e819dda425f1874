"""Asks a real FastAPI what it answers, and writes the answers down as the tests' truth.

    python3 -m venv venv && venv/bin/pip install -r tools/fastapi/requirements.txt
    venv/bin/python tools/fastapi/oracle.py crates/dialects/tests/data

The app below has the models of the dialects and one of every kind of field; each row is a request, its status, its body
and the headers that clients look at. Bodies are base64 where they are not text.
"""

import base64
import json
import os
import pathlib
import sys
import tempfile
from typing import Dict, Optional

from fastapi import FastAPI, File, Form, HTTPException, UploadFile
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field

app = FastAPI()


class Thing(BaseModel):
    name: str
    count: int = Field(5, ge=1, le=9)
    ratio: float = 5.0
    flag: bool = True
    note: Optional[str] = None
    seed: int = 42


class Avatar(BaseModel):
    preparation: bool = True
    video_path: str
    bbox_shift: int = 0
    audio_clips: Dict[str, str]


class Config(BaseModel):
    fps: int = 25
    output_vid_name: Optional[str] = None
    avatars: Dict[str, Avatar]


@app.post("/json")
def of_json(thing: Thing):
    return thing


@app.post("/both")
def of_both(config: Config, avatar_id: str, audio_id: str):
    return {"avatar_id": avatar_id, "audio_id": audio_id, "config": config}


@app.post("/form")
async def of_form(
    avatar_id: str = Form(...),
    bbox_shift: int = Form(0),
    batch_size: Optional[int] = Form(None, ge=1, le=32),
    video_file: UploadFile = File(...),
):
    content = await video_file.read()
    return {
        "avatar_id": avatar_id,
        "bbox_shift": bbox_shift,
        "batch_size": batch_size,
        "filename": video_file.filename,
        "content_type": video_file.content_type,
        "bytes": len(content),
    }


@app.post("/file")
async def of_file(character: UploadFile = File(...)):
    return {"filename": character.filename, "bytes": len(await character.read())}


@app.get("/item/{item}")
def item(item: str):
    raise HTTPException(status_code=404, detail=f"Item {item} not found")


@app.get("/boom")
def boom():
    raise RuntimeError("boom")


here = pathlib.Path(tempfile.mkdtemp())
(here / "ok_x.mp4").write_bytes(bytes(range(256)) * 4)
os.utime(here / "ok_x.mp4", (1_700_000_000, 1_700_000_000))


@app.get("/take")
def take():
    return FileResponse(here / "ok_x.mp4", media_type="video/mp4", filename="ok_x.mp4")


@app.get("/take-umlaut")
def take_umlaut():
    return FileResponse(here / "ok_x.mp4", media_type="video/mp4", filename="größe 1.mp4")


@app.post("/take")
def take_by_post():
    return FileResponse(here / "ok_x.mp4", media_type="video/mp4", filename="ok_x.mp4")


app.mount("/videos", StaticFiles(directory=here), name="videos")
app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
client = TestClient(app, raise_server_exceptions=False, follow_redirects=False)

LOOKED_AT = ["content-type", "allow", "location", "content-range", "accept-ranges", "content-disposition",
             "content-length", "last-modified", "access-control-allow-origin", "access-control-allow-methods",
             "access-control-allow-headers", "access-control-max-age", "vary"]


def text_or_base64(content):
    try:
        return {"text": content.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}


def ask(method, path, headers=None, body=b""):
    body = body.encode() if isinstance(body, str) else body
    answer = client.request(method, path, headers=headers or {}, content=body or None)
    told = {name: answer.headers[name] for name in LOOKED_AT if name in answer.headers}
    return {
        "method": method, "path": path, "headers": headers or {}, "body": text_or_base64(body),
        "status": answer.status_code, "answer": text_or_base64(answer.content), "told": told,
    }


JSON = {"content-type": "application/json"}


def json_rows():
    bodies = [
        "", "null", "{}", "[]", "3", '"x"', "true", '{"name":"a"}', '{"name":null}', '{"name":7}', '{"name":["a"]}',
        '{"name":"a","count":"7"}', '{"name":"a","count":7.0}', '{"name":"a","count":7.5}', '{"name":"a","count":"7.0"}',
        '{"name":"a","count":" 7 "}', '{"name":"a","count":"+7"}', '{"name":"a","count":"7_0"}', '{"name":"a","count":"0_7"}',
        '{"name":"a","count":"x"}', '{"name":"a","count":""}', '{"name":"a","count":true}', '{"name":"a","count":null}',
        '{"name":"a","count":[1]}', '{"name":"a","count":0}', '{"name":"a","count":10}', '{"name":"a","count":{}}',
        '{"name":"a","count":NaN}', '{"name":"a","count":Infinity}', '{"name":"a","seed":12345678901234567890123}',
        '{"name":"a","seed":-1}', '{"name":"a","seed":"-3"}', '{"name":"a","seed":1e3}', '{"name":"a","seed":1e300}', '{"name":"a","seed":"1e3"}',
        '{"name":"a","seed":"9999999999999999999999"}', '{"name":"a","seed":-0}', '{"name":"a","seed":"7."}', '{"name":"a","seed":"7.5"}', '{"name":"a","seed":"--7"}',
        '{"name":"a","seed":"0x10"}', '{"name":"a","seed":"1__0"}', '{"name":"a","seed":"_1"}', '{"name":"a","seed":"1_"}', '{"name":"a","seed":"- 7"}', '{"name":"a","seed":"007"}',
        '{"name":"a","ratio":4}', '{"name":"a","ratio":"4.5"}', '{"name":"a","ratio":"x"}', '{"name":"a","ratio":null}',
        '{"name":"a","ratio":true}', '{"name":"a","ratio":"1e2"}', '{"name":"a","ratio":" 1 "}', '{"name":"a","ratio":[]}', '{"name":"a","ratio":""}', '{"name":"a","ratio":"1_0"}', '{"name":"a","ratio":".5"}', '{"name":"a","ratio":"5."}',
        '{"name":"a","flag":"yes"}', '{"name":"a","flag":"TRUE"}', '{"name":"a","flag":1}', '{"name":"a","flag":0}',
        '{"name":"a","flag":2}', '{"name":"a","flag":1.0}', '{"name":"a","flag":0.5}', '{"name":"a","flag":"off"}', '{"name":"a","flag":"t"}',
        '{"name":"a","flag":"maybe"}', '{"name":"a","flag":""}', '{"name":"a","flag":null}', '{"name":"a","flag":[]}', '{"name":"a","flag":" yes "}', '{"name":"a","flag":"1"}',
        '{"name":"a","note":null}', '{"name":"a","note":"n"}', '{"name":"a","note":5}',
        '{"name":"a","other":{"deep":[1,2.5,-0.0,1e100,"\\u00fc\\ud83d\\ude00"]}}', '{"other":{"deep":[1,2.5,-0.0,1e100,1e16,1e-7,123456789.125,"ü😀\\n\\"\\\\/\\u0001"]}}',
        '{"name":"a","name":5}', '{"b":1,"name":5,"b":2}', '{"name":"ü"}', '{"name":"\\ud800"}', '{"count":"x","flag":"y","ratio":"z"}',
        '{name:"a"}', "{'name':1}", '{"name" "a"}', '{"name":}', '{"name":"a",}', '{"name":"a"', '{"name":"a" "b":1}', '{', '[1,2', '[1,]', '[1 2]', 'x', '{"name":"a"} x',
        '{"name":"a\nb"}', '{"name":"a\\qb"}', '{"name":"a\\u12"}', '{"name":"a', '{"a":01}', '{"a":-}', '{"a":.5}', '{"a":1.}', '{"a":1e}', '{"a":+1}',
        '{"a":tru}', '{"a":nul}', '  \n {"name": "a" , "count" : 3 } \n', '{"name":"ü" "b"}', '// c\n{"name":"a"}', '{"name":"a"} // c', '{"name":"a",\n // c\n "b":1}', '{"name": "\\ud83d\\ude00" x}', '{"a":-Infinity,"name":1}', '{"name":"a","ratio":NaN}', '{"name":"a","ratio":1e999}',
        '{,}', '{"a",}', '[', '[,]', '"', '"\\', '"\\u', '-', '{"a":1,"b"}', '{"a":1 ,,}', '\ufeff{"name":"a"}', "[" * 100_000, '{"a":"\x7f"}', '{"a":"\t"}',
    ]
    for body in bodies:
        yield ask("POST", "/json", JSON, body)
    yield ask("POST", "/json", JSON, b'{"name":"\xff"}')
    yield ask("POST", "/json", JSON, '{"name":"ü"}'.encode("utf-16"))
    yield ask("POST", "/json", JSON, '{"name":"ü"}'.encode("utf-16-le"))
    yield ask("POST", "/json", JSON, '{"name":"ü"}'.encode("utf-32"))
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/vnd.api+json", "application/json; charset=utf-8",
                 "APPLICATION/JSON", "application/jsonx", "nonsense", "text/json", "application/ld+json"]:
        yield ask("POST", "/json", {"content-type": kind}, '{"name":"a"}')
        yield ask("POST", "/json", {"content-type": kind}, "")
    yield ask("POST", "/json", {}, '{"name":"a"}')
    yield ask("POST", "/json", {"content-type": "text/plain"}, b"\xff\xfe\x00")
    for path in ["/both", "/both?avatar_id=a", "/both?audio_id=b", "/both?avatar_id=&audio_id=b", "/both?avatar_id=a&avatar_id=c&audio_id=%20b+c%zz",
                 "/both?avatar_id&audio_id=%ff"]:
        for body in ["", "{}", '{"avatars":{}}', '{"avatars":{"x":{}}}', '{"avatars":{"x":5}}', '{"avatars":[]}', '{"avatars":null}', "{"]:
            yield ask("POST", path, JSON, body)
    for avatar in ['{"video_path":"v","audio_clips":{"c":"d"}}', '{"video_path":5,"audio_clips":{"c":5,"e":null}}', '{"video_path":"v","audio_clips":[]}',
                   '{"video_path":"v","audio_clips":{},"preparation":"no","bbox_shift":"3"}', '{"preparation":"never","bbox_shift":2.5}']:
        yield ask("POST", "/both?avatar_id=a&audio_id=b", JSON, '{"fps":"x","avatars":{"x":%s,"y":%s}}' % (avatar, avatar))


def part(name, value, filename=None, kind=None):
    head = f'Content-Disposition: form-data; name="{name}"'
    if filename is not None:
        head += f'; filename="{filename}"'
    if kind:
        head += f"\r\nContent-Type: {kind}"
    return head.encode() + b"\r\n\r\n" + value


def multipart(*parts, close=True):
    body = b"".join(b"--XX\r\n" + p + b"\r\n" for p in parts)
    return body + (b"--XX--\r\n" if close else b"")


def form_rows():
    form = {"content-type": "multipart/form-data; boundary=XX"}
    video = part("video_file", b"\x00\x01", "v.mp4", "video/mp4")
    bodies = [
        multipart(part("avatar_id", b"a"), video), multipart(video, part("avatar_id", b"a"), part("bbox_shift", b"5")),
        multipart(video), multipart(part("avatar_id", b"a")), multipart(part("avatar_id", b""), video),
        multipart(part("avatar_id", b"a"), part("bbox_shift", b"x"), video), multipart(part("avatar_id", b"a"), part("bbox_shift", b""), video),
        multipart(part("avatar_id", b"a"), part("bbox_shift", b"1.0"), video), multipart(part("avatar_id", b"a"), part("bbox_shift", b"1.5"), video),
        multipart(part("avatar_id", b"a"), part("batch_size", b"0"), video), multipart(part("avatar_id", b"a"), part("batch_size", b"33"), video),
        multipart(part("avatar_id", b"a"), part("batch_size", b""), video), multipart(part("avatar_id", b"a"), part("batch_size", b"8"), video),
        multipart(part("avatar_id", b"a"), part("video_file", b"text")), multipart(part("avatar_id", b"a"), part("video_file", b"")),
        multipart(part("avatar_id", b"a"), part("avatar_id", b"b"), video), multipart(part("avatar_id", b"a"), part("video_file", b"\x00", "v", None)),
        multipart(part("avatar_id", b"a"), part("video_file", b"", "", "application/octet-stream")), multipart(part("avatar_id", b"a"), part("video_file", b"", "e.mp4")),
        multipart(part("other", b"a"), part("avatar_id", "ü".encode()), video), multipart(part("avatar_id", b"a"), part("video_file", b"1", "a.mp4"), part("video_file", b"22", "b.mp4")),
        multipart(part("avatar_id", b"\xff"), video),
        multipart(), b"",
    ]
    for body in bodies:
        yield ask("POST", "/form", form, body)
    for body in [b"garbage", multipart(part("avatar_id", b"a"), video, close=False), multipart(part("avatar_id", b"a"), video)[:-12],
                 b"--XX\r\n\r\nno headers\r\n--XX--\r\n", b"--XX\r\nContent-Disposition: form-data\r\n\r\nx\r\n--XX--\r\n"]:
        yield ask("POST", "/form", form, body)
    yield ask("POST", "/form", {"content-type": "multipart/form-data"}, multipart(video))
    yield ask("POST", "/form", {"content-type": "application/json"}, "{}")
    yield ask("POST", "/form", {"content-type": "text/plain"}, "x")
    yield ask("POST", "/form", {}, "")
    urlencoded = {"content-type": "application/x-www-form-urlencoded"}
    yield ask("POST", "/form", urlencoded, "avatar_id=a&video_file=x&bbox_shift=q")
    yield ask("POST", "/form", urlencoded, "avatar_id=&video_file=")
    yield ask("POST", "/file", form, multipart(part("character", b"x", "c.png", "image/png")))
    yield ask("POST", "/file", form, multipart(part("character", b"x")))
    yield ask("POST", "/file", form, multipart())
    yield ask("POST", "/file", form, multipart(part("else", b"x", "c.png", "image/png")))
    yield ask("POST", "/file", {}, "")


def route_rows():
    for method, path in [("GET", "/"), ("GET", "/nothing"), ("GET", "/json"), ("PUT", "/json"), ("HEAD", "/item/x"), ("POST", "/item/x"), ("GET", "/item/x"),
                         ("GET", "/item/%C3%BC"), ("GET", "/item/a/b"), ("GET", "/item/"), ("GET", "/item/x/"), ("POST", "/json/"), ("POST", "/json/?a=b"), ("GET", "/json/"), ("OPTIONS", "/json"), ("GET", "/boom"),
                         ("DELETE", "/take"), ("GET", "/videos/none.mp4"), ("GET", "/videos/"), ("GET", "/videos/../x"), ("POST", "/videos/ok_x.mp4"), ("GET", "//json")]:
        yield ask(method, path)
    origin = {"origin": "http://page.example"}
    yield ask("GET", "/item/x", origin)
    yield ask("GET", "/boom", origin)
    yield ask("GET", "/nothing", origin)
    yield ask("GET", "/item/x", {**origin, "cookie": "a=b"})
    for extra in [{}, {"access-control-request-headers": "content-type, x-a"}]:
        for method in ["POST", "DELETE", "get", "NONSENSE"]:
            yield ask("OPTIONS", "/json", {**origin, "access-control-request-method": method, **extra})
    yield ask("OPTIONS", "/nothing", {**origin, "access-control-request-method": "GET"})
    yield ask("OPTIONS", "/json", {"access-control-request-method": "GET"})
    yield ask("OPTIONS", "/json", origin)


def file_rows():
    ranges = ["bytes=0-9", "bytes=10-", "bytes=-5", "bytes=-5000", "bytes=0-0", "bytes=1023-1023", "bytes=1023-5000", "bytes=1024-", "bytes=5000-6000",
              "bytes=9-5", "bytes=", "bytes=a-b", "items=0-5", "bytes=0-1,5-6", "bytes=0-5,3-8", "bytes=0-1, 4000-5000", "bytes=-0", "bytes= 0 - 4 ", "bytes", "0-5", "bytes=--5", "BYTES=0-5", "bytes=5-6,0-1", "bytes=0-3,4-9"]
    dated = "Tue, 14 Nov 2023 22:13:20 GMT"
    for path in ["/take", "/videos/ok_x.mp4"]:
        yield ask("GET", path)
        yield ask("HEAD", path)
        for value in ranges:
            row = ask("GET", path, {"range": value})
            kind = row["told"].get("content-type", "")
            if "boundary=" in kind:      # drawn by lot
                boundary = kind.split("boundary=")[1]
                row = json.loads(json.dumps(row).replace(boundary, "BOUNDARY"))
            yield row
        yield ask("GET", path, {"range": "bytes=0-9", "if-range": dated})
        yield ask("GET", path, {"range": "bytes=0-9", "if-range": '"other"'})
        yield ask("GET", path, {"range": "bytes=0-9", "if-range": "Tue, 14 Nov 2023 22:13:21 GMT"})
        yield ask("GET", path, {"if-modified-since": dated})
        yield ask("GET", path, {"if-modified-since": "Tue, 14 Nov 2023 22:13:19 GMT"})
        yield ask("GET", path, {"if-none-match": '"other"'})
        etag = client.get(path).headers["etag"]
        for name, value in [("if-none-match", "ETAG"), ("if-none-match", 'W/ETAG, "b"'), ("if-none-match", "*")]:
            row = ask("GET", path, {name: value.replace("ETAG", etag)})
            row["headers"][name] = value
            yield row
        row = ask("GET", path, {"range": "bytes=0-9", "if-range": etag})
        row["headers"]["if-range"] = "ETAG"
        yield row
    yield ask("GET", "/take-umlaut")
    yield ask("POST", "/take", {"range": "bytes=0-9"})


def main(folder):
    for name, rows in [("json", json_rows), ("form", form_rows), ("routes", route_rows), ("files", file_rows)]:
        rows = list(rows())
        lines = ",\n".join(json.dumps(row, ensure_ascii=True, separators=(",", ":")) for row in rows)
        (pathlib.Path(folder) / f"{name}.json").write_text("[\n" + lines + "\n]\n")
        print(name, len(rows))


main(sys.argv[1])
