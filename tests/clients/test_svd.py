"""The video generator backend as curl and its web front end use it: upload, generate, poll, play, history, static files."""

import json
import re
import subprocess

import cv2
import httpx
import numpy
import pytest
import requests

import stage

UUID4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
KEYS = ["id", "characterImageUrl", "script", "duration", "quality", "videoUrl", "status", "createdAt"]


def curl(*words):
    return subprocess.run(["curl", "-sS", "-m", "60", *words], check=True, capture_output=True, timeout=70).stdout


def upload(talkie, path, kind="image/jpeg", name=None):
    with open(path, "rb") as picture:
        return requests.post(talkie.url("svd", "/upload-character"), files={"character": (name or path.name, picture, kind)}, timeout=60)


def generate(talkie, url, **more):
    return requests.post(talkie.url("svd", "/generate-video"), json={"characterImageUrl": url, "script": "wave"} | more, timeout=60)


def ended(talkie, generation, limit=120):
    def look():
        told = httpx.get(talkie.url("svd", f"/generation/{generation}"), timeout=30).json()
        return told if told["status"] in ("completed", "failed") else None

    return stage.until(look, limit, every=0.1, what="the generation's end")


@pytest.fixture(scope="module")
def picture(talkie, media):
    return upload(talkie, media.jpeg).json()["imageUrl"]


@pytest.fixture(scope="module")
def film(talkie, picture):
    """A finished generation."""
    told = generate(talkie, picture, duration=3, quality="512").json()
    return ended(talkie, told["id"])


def test_health(talkie, http):
    assert http.get(talkie.url("svd", "/health")).text == '{"status":"ok","service":"AI Video Generator API"}'


def test_the_documented_curl_calls(talkie, media):
    made = json.loads(curl("-X", "POST", talkie.url("svd", "/upload-character"), "-F", f"character=@{media.jpeg}"))
    assert list(made) == ["imageUrl"] and re.fullmatch(rf"/uploads/character_{UUID}\.jpg", made["imageUrl"])
    body = {
        "characterImageUrl": made["imageUrl"],
        "script": "The character waves hello and smiles at the camera",
        "duration": 5,
        "quality": "768",
    }
    told = json.loads(
        curl("-X", "POST", talkie.url("svd", "/generate-video"), "-H", "Content-Type: application/json", "-d", json.dumps(body))
    )
    assert list(told)[:8] == KEYS
    assert re.fullmatch(UUID4, told["id"]) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told["createdAt"])
    assert {key: told[key] for key in body} == body and told["status"] == "pending" and told["videoUrl"] is None
    seen = json.loads(curl(talkie.url("svd", f"/generation/{told['id']}")))
    assert list(seen)[:8] == KEYS and seen["status"] in ("pending", "processing", "completed")
    done = ended(talkie, told["id"])
    assert done["status"] == "completed" and done["videoUrl"] == f"/videos/video_{told['id']}.mp4"
    assert {key: done[key] for key in KEYS if key not in ("status", "videoUrl")} == {
        key: told[key] for key in KEYS if key not in ("status", "videoUrl")
    }


@pytest.mark.parametrize("duration,quality", [(3, "512"), (4, "768"), (10, "1024")])
def test_duration_and_quality(talkie, media, tmp_path, duration, quality):
    picture = upload(talkie, media.portrait, "image/png").json()["imageUrl"]  # larger than any quality: nothing is blown up
    done = ended(talkie, generate(talkie, picture, duration=duration, quality=quality).json()["id"])
    assert done["status"] == "completed", done
    path = tmp_path / "film.mp4"
    path.write_bytes(httpx.get(talkie.url("svd", done["videoUrl"]), timeout=60).content)
    seen = stage.streams(path)
    assert abs(float(seen["video"]["duration"]) - duration) < 0.1
    assert max(seen["video"]["width"], seen["video"]["height"]) == int(quality)
    assert "audio" not in seen, "there is no voice, so there is no sound track"


def test_the_idle_person_moves(talkie, film, tmp_path):
    path = tmp_path / "film.mp4"
    path.write_bytes(httpx.get(talkie.url("svd", film["videoUrl"])).content)
    reader = cv2.VideoCapture(str(path))
    frames = []
    while (got := reader.read())[0]:
        frames.append(got[1].astype(numpy.float32))
    assert max(float(numpy.abs(b - frames[0]).mean()) for b in frames[1:]) > 0.3


def test_static_files(talkie, film, picture, http):
    video = talkie.url("svd", film["videoUrl"])
    whole = http.get(video)
    assert whole.status_code == 200 and whole.headers["content-type"] == "video/mp4"
    assert whole.headers["accept-ranges"] == "bytes" and "content-disposition" not in whole.headers
    assert whole.headers["x-talkie-engine"].startswith("puppet")
    size = len(whole.content)
    assert int(whole.headers["content-length"]) == size
    etag, modified = whole.headers["etag"], whole.headers["last-modified"]
    assert re.fullmatch(r'"[^"]+"', etag)
    for words, first, last in [
        ("bytes=0-0", 0, 0),
        ("bytes=0-99", 0, 99),
        ("bytes=100-", 100, size - 1),
        ("bytes=-50", size - 50, size - 1),
        (f"bytes=10-{size * 2}", 10, size - 1),
    ]:
        part = http.get(video, headers={"Range": words})
        assert part.status_code == 206 and part.content == whole.content[first : last + 1], words
        assert part.headers["content-range"] == f"bytes {first}-{last}/{size}"
    for words in (f"bytes={size}-", f"bytes={size + 5}-{size + 9}"):
        refused = http.get(video, headers={"Range": words})
        assert refused.status_code == 416 and refused.headers["content-range"] in (f"*/{size}", f"bytes */{size}"), words
    for words in ("lines=1-2", "bytes=5-2", "bytes=", "bytes=a-b", "nonsense"):
        assert http.get(video, headers={"Range": words}).status_code in (200, 400, 416), words
    many = http.get(video, headers={"Range": "bytes=0-9,20-29"})
    assert many.status_code in (200, 206)
    if many.status_code == 206:
        assert many.headers["content-type"].startswith("multipart/byteranges")
        assert whole.content[:10] in many.content and whole.content[20:30] in many.content
    assert http.get(video, headers={"Range": "bytes=0-9", "If-Range": etag}).status_code == 206
    assert http.get(video, headers={"Range": "bytes=0-9", "If-Range": '"other"'}).status_code == 200
    for condition in ({"If-None-Match": etag}, {"If-None-Match": f'"x", {etag}'}, {"If-Modified-Since": modified}):
        fresh = http.get(video, headers=condition)
        assert fresh.status_code == 304 and fresh.content == b"" and fresh.headers["etag"] == etag, condition
    head = http.head(video)
    assert head.status_code == 200 and int(head.headers["content-length"]) == size and head.headers["etag"] == etag
    shown = http.get(talkie.url("svd", picture))
    assert shown.status_code == 200 and shown.headers["content-type"] == "image/jpeg" and shown.headers["etag"]
    assert cv2.imdecode(numpy.frombuffer(shown.content, numpy.uint8), cv2.IMREAD_COLOR).shape == (512, 512, 3)


def test_only_its_own_files_are_served(talkie, film, http):
    for path in (
        "/videos/none.mp4",
        "/videos/",
        "/videos",
        "/uploads/",
        "/uploads/none.jpg",
        "/videos/../talkie.db",
        "/videos/%2e%2e/talkie.db",
        "/uploads/..%2f..%2ftalkie.db",
        f"/videos/..%2fvideos%2f{film['videoUrl'].rpartition('/')[2]}",
        "/uploads/%00",
        "/uploads//etc/passwd",
        f"/uploads/{film['videoUrl'].rpartition('/')[2]}",
    ):
        answer = http.get(talkie.url("svd", path))
        assert answer.status_code in (404, 405, 400), (path, answer.status_code)


def test_uploads_are_made_anew(talkie, media, tmp_path, http):
    """Metadata (where a photo was taken) and whatever is hidden behind the picture do not reach the public folder."""
    path = tmp_path / "tagged.jpg"
    data = media.jpeg.read_bytes()
    comment = b"SECRET-PLACE" * 3
    path.write_bytes(data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:] + b"<script>SECRET-TAIL</script>")
    stored = http.get(talkie.url("svd", upload(talkie, path).json()["imageUrl"])).content
    assert b"SECRET" not in stored and cv2.imdecode(numpy.frombuffer(stored, numpy.uint8), cv2.IMREAD_COLOR).shape == (512, 512, 3)


@pytest.mark.parametrize(
    "name,kind",
    [
        ("me.png", "image/png"),
        ("me", "image/png"),
        ("../../me.jpg", "image/jpeg"),
        ("me.php", "image/png"),
        ("m\u00e9 \u4f60.PNG", "image/png"),
    ],
)
def test_names_of_uploads(talkie, media, name, kind):
    """What is stored is a JPEG made anew, and is called so, whatever it was called before."""
    answer = upload(talkie, media.small, kind, name)
    assert answer.status_code == 200, answer.text
    url = answer.json()["imageUrl"]
    assert re.fullmatch(rf"/uploads/character_{UUID}\.jpg", url), url
    assert requests.get(talkie.url("svd", url), timeout=20).headers["content-type"] == "image/jpeg"


def test_uploads_that_are_no_pictures(talkie, media):
    answer = upload(talkie, media.text, "text/plain")
    assert (answer.status_code, answer.json()) == (400, {"detail": "File must be an image"})
    for data, kind in (
        (b"", "image/png"),
        (b"nothing of the kind", "image/jpeg"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"),
    ):
        answer = requests.post(talkie.url("svd", "/upload-character"), files={"character": ("x.png", data, kind)}, timeout=60)
        assert answer.status_code == 400 and isinstance(answer.json()["detail"], str), answer.text


def test_large_uploads(talkie):
    answer = requests.post(
        talkie.url("svd", "/upload-character"), files={"character": ("x.png", b"\x89PNG" + bytes(11 << 20), "image/png")}, timeout=60
    )
    assert answer.status_code == 413 and "10" in answer.json()["detail"], answer.text


def test_a_missing_picture_fails_later(talkie):
    told = generate(talkie, "/uploads/character_none.jpg")
    assert told.status_code == 200 and told.json()["status"] == "pending"
    assert ended(talkie, told.json()["id"])["status"] == "failed"


def test_no_local_files_and_no_private_addresses(talkie):
    for url in (
        "/etc/passwd",
        "../talkie.db",
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data/",
        f"http://127.0.0.1:{talkie.ports['all']}/metrics",
        "http://[::ffff:127.0.0.1]/",
        "s3://bucket/key",
    ):
        told = generate(talkie, url)
        assert told.status_code in (200, 400, 403), told.text
        if told.status_code == 200:
            assert ended(talkie, told.json()["id"])["status"] == "failed", url


def test_history_is_the_newest_ten(talkie, picture):
    made = [generate(talkie, picture, duration=1, script=f"number {n}").json()["id"] for n in range(12)]
    told = httpx.get(talkie.url("svd", "/generations")).json()
    assert [one["id"] for one in told] == made[:1:-1]
    assert all(list(one)[:8] == KEYS for one in told)
    for one in made:
        assert ended(talkie, one)["status"] == "completed"


def test_history_survives_a_restart(new_talkie, media):
    server = new_talkie(only=("svd",))
    done = ended(server, generate(server, upload(server, media.jpeg).json()["imageUrl"], duration=1).json()["id"])
    server.stop()
    server.start()
    assert httpx.get(server.url("svd", "/generations")).json() == [done]
    assert httpx.get(server.url("svd", done["videoUrl"])).status_code == 200


def test_a_browser_front_end_from_elsewhere(talkie, picture):
    """CORS is open as in the original: its React client runs on another port."""
    origin = {"Origin": "http://localhost:5173"}
    for answer in (
        requests.get(talkie.url("svd", "/generations"), headers=origin, timeout=20),
        generate(talkie, picture, duration=1),
        requests.get(talkie.url("svd", picture), headers=origin, timeout=20),
    ):
        if "Origin" in answer.request.headers:
            assert answer.headers["access-control-allow-origin"] == "*"


def test_tokens_of_the_original(new_talkie, media):
    """A Hugging Face token is neither needed nor shown; PORT counts when this dialect is served alone."""
    port = stage.free_ports(1)[0]
    server = new_talkie(only=("svd",), env={"HUGGING_FACE_TOKEN": "hf_secret_one", "HF_TOKEN": "hf_secret_two"})
    assert httpx.get(server.url("svd", "/health")).status_code == 200 and "hf_secret" not in server.log()
    server.stop()
    server.env["PORT"] = str(port)
    command = [word for word in server.command() if not word.startswith("--port=svd=")]
    server.command = lambda: command
    server.start()
    assert httpx.get(f"http://127.0.0.1:{port}/health").json()["status"] == "ok"
