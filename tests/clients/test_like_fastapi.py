"""The same request to Talkie and to the same routes in FastAPI: status, body byte for byte, and the headers that clients look at."""

import json

import httpx
import pytest

from mjpeg import form

HEADERS = (
    "content-type",
    "allow",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-max-age",
    "access-control-allow-credentials",
)


CLIENT = httpx.Client(timeout=60, follow_redirects=False, trust_env=False, verify=False)


def check(talkie, peers, dialect, method, path, **request):
    answers = []
    for base in (talkie.url(dialect), peers[dialect]):
        answer = CLIENT.request(method, base + path, **request)
        headers = {name: answer.headers.get(name) for name in HEADERS}
        location = answer.headers.get("location")
        headers["location"] = location and location.replace(base, "BASE")
        body = answer.text.replace(base, "BASE")
        answers.append((answer.status_code, body, headers))
    ours, theirs = answers
    assert ours[0] == theirs[0], (ours[1], theirs[1])
    assert ours[1] == theirs[1]
    assert ours[2] == theirs[2]
    return ours


def posted(data, kind="application/json", **more):
    return {"content": data if isinstance(data, bytes) else data.encode(), "headers": {"content-type": kind, **more} if kind else more}


ROUTES = [
    ("infinitetalk", "GET", "/api/health", "POST", "/api/generate-video"),
    ("musetalk", "GET", "/avatars", "POST", "/avatars/preprocess"),
    ("musetalk-s3", "GET", None, "POST", "/inference"),
    ("svd", "GET", "/generations", "POST", "/generate-video"),
]


@pytest.mark.parametrize("dialect,_get,get_path,_post,post_path", ROUTES)
def test_wrong_ways_in(talkie, peers, dialect, _get, get_path, _post, post_path):
    check(talkie, peers, dialect, "GET", "/no/such/thing")
    check(talkie, peers, dialect, "POST", "/nothing", json={})
    check(talkie, peers, dialect, "GET", "/%2e%2e/secret")
    for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"):
        check(talkie, peers, dialect, method, post_path)
    check(talkie, peers, dialect, "POST", post_path + "/", json={"a": 1})
    if get_path:
        for method in ("POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"):
            check(talkie, peers, dialect, method, get_path)
        check(talkie, peers, dialect, "GET", get_path + "/")
        check(talkie, peers, dialect, "GET", get_path + "/?a=1&b=2")


BAD_JSON = [
    "",
    " ",
    "{",
    "{}",
    "[]",
    "[1]",
    "null",
    "7",
    '"text"',
    "true",
    "nope",
    "{'a':1}",
    '{"a":}',
    '{"a":1,}',
    '{"a" 1}',
    '{"a":1 "b":2}',
    '{"a":"x',
    "[1,2",
    "[1 2]",
    '{"a":1}}',
    '{"a":1} x',
    '{"a":"\n"}',
    '{"a":"\\q"}',
    '{"a":"\\u12"}',
    "{1:2}",
    "[,]",
    '{"a":01}',
    '{"a":-}',
    '{"a":.5}',
    '\n\n{"a":\n}',
    '{"é":}',
]
KINDS = [
    "application/json",
    "application/json; charset=utf-8",
    "application/problem+json",
    "application/x-www-form-urlencoded",
    "text/plain",
    None,
]
JSON_POSTS = [
    ("infinitetalk", "/api/generate-video"),
    ("musetalk-s3", "/inference?avatar_id=a&audio_id=b"),
    ("musetalk-s3", "/inference"),
    ("svd", "/generate-video"),
]


@pytest.mark.parametrize("dialect,path", JSON_POSTS)
@pytest.mark.parametrize("body", BAD_JSON)
def test_bodies_that_are_no_request(talkie, peers, dialect, path, body):
    check(talkie, peers, dialect, "POST", path, **posted(body))


@pytest.mark.parametrize("dialect,path", JSON_POSTS)
@pytest.mark.parametrize("kind", KINDS)
def test_content_types(talkie, peers, dialect, path, kind):
    check(talkie, peers, dialect, "POST", path, **posted('{"script": 1}', kind))
    check(talkie, peers, dialect, "POST", path, **posted("a=1&b=2", kind))


VALUES = [
    None,
    True,
    False,
    0,
    1,
    2,
    -1,
    7.0,
    7.5,
    1e300,
    "7",
    " 7 ",
    "7.0",
    "7.5",
    "-3",
    "+3",
    "1_000",
    "0x10",
    "",
    "x",
    "yes",
    "no",
    "on",
    "off",
    "True",
    "t",
    "n",
    "2",
    [],
    [1],
    {},
    {"a": 1},
    10**20,
]


def with_missing_files(talkie, field, value):
    return json.dumps({"audio_path": f"{talkie.media}/none.wav", "image_path": f"{talkie.media}/none.png"} | {field: value})


@pytest.mark.parametrize(
    "field", ["audio_path", "prompt", "seed", "diffusion_steps", "text_guide_scale", "motion_frame", "use_color_correction"]
)
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_infinitetalk_fields(talkie, peers, field, value):
    # the files do not exist: where the value is taken, both ends say 404, each in its own words
    request = posted(with_missing_files(talkie, field, value))
    answers = [CLIENT.post(base + "/api/generate-video", **request) for base in (talkie.url("infinitetalk"), peers["infinitetalk"])]
    if answers[1].status_code == 404:
        # a limit of our own (steps of 0, a guide scale of 1e300) may be refused as FastAPI refuses what is out of range
        if answers[0].status_code == 422:
            kinds = {error["type"] for error in answers[0].json()["detail"]}
            assert kinds <= {"greater_than_equal", "less_than_equal", "greater_than", "finite_number"}, answers[0].text
        else:
            # a path that is not below a media root is refused with a reason of our own
            assert answers[0].status_code == (400 if field == "audio_path" else 404), answers[0].text
    else:
        assert (answers[0].status_code, answers[0].text) == (answers[1].status_code, answers[1].text)


@pytest.mark.parametrize("field", ["characterImageUrl", "script", "duration", "quality"])
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_svd_fields(talkie, peers, field, value):
    request = posted(json.dumps({"characterImageUrl": "/uploads/none.jpg", "script": "wave"} | {field: value}))
    ours, theirs = [CLIENT.post(base + "/generate-video", **request) for base in (talkie.url("svd"), peers["svd"])]
    if theirs.status_code == 200 and ours.status_code == 422:
        kinds = {error["type"] for error in ours.json()["detail"]}
        assert kinds <= {"greater_than_equal", "less_than_equal", "literal_error", "string_too_long"}, ours.text
    elif theirs.status_code == 200 and field == "quality" and ours.status_code == 400:
        # a quality that does not exist is no quality; FastAPI's model does not look
        assert ours.json()["detail"] == f"Unsupported quality: {value}. Use '512', '768' or '1024'"
    elif theirs.status_code == 200:
        assert ours.status_code == 200, ours.text
        mine, other = ours.json(), theirs.json()
        assert list(mine)[: len(other)] == list(other)  # what is ours comes behind
        assert {key: mine[key] for key in other if key not in ("id", "createdAt")} == {
            key: other[key] for key in other if key not in ("id", "createdAt")
        }
    else:
        assert (ours.status_code, ours.text) == (theirs.status_code, theirs.text)


CLIPS = {"video_path": "/nowhere/v.mp4", "audio_clips": {"b": "/nowhere/a.wav"}}
S3_BODIES = [
    {},
    {"avatars": {}},
    {"avatars": []},
    {"avatars": {"a": {}}},
    {"avatars": {"a": 1}},
    {"avatars": {"a": {"video_path": 1, "audio_clips": []}}},
    {"avatars": {"a": {"video_path": "v", "audio_clips": {"b": 1}}}},
    {"avatars": {"x": CLIPS}},
    {"avatars": {"a": CLIPS | {"audio_clips": {}}}},
    {"avatars": {"a": CLIPS | {"preparation": "maybe"}, "z": {"video_path": None}}},
    {"avatars": {"a": CLIPS}, "fps": "x"},
    {"avatars": {"a": CLIPS}, "fps": None},
    {"avatars": {"a": CLIPS}, "output_vid_name": 5},
    {"avatars": {"a": CLIPS}, "version": 15, "gpu_id": 1.5, "skip_save_images": "perhaps"},
    {"fps": "7.5", "batch_size": [], "avatars": None},
    {"avatars": {"a": CLIPS}, "s3_bucket": 3},
    {"avatars": {"a": CLIPS | {"bbox_shift": "up"}}},
]


@pytest.mark.parametrize("body", S3_BODIES, ids=lambda body: json.dumps(body)[:60])
@pytest.mark.parametrize(
    "query", ["", "?avatar_id=a", "?audio_id=b", "?avatar_id=a&audio_id=b", "?avatar_id=&audio_id=", "?avatar_id=a&avatar_id=x&audio_id=b"]
)
def test_musetalk_s3_bodies(talkie, peers, body, query):
    request = posted(json.dumps(body))
    ours, theirs = [CLIENT.post(base + "/inference" + query, **request) for base in (talkie.url("musetalk-s3"), peers["musetalk-s3"])]
    if theirs.status_code == 200:  # understood alike; then ours looks for files that are not there
        assert ours.status_code == 400 and "/nowhere/" in ours.json()["detail"], ours.text
    else:
        assert (ours.status_code, ours.text) == (theirs.status_code, theirs.text)


FILE = ("video_file", "v.mp4", "video/mp4", b"x")
AUDIO = ("audio_file", "a.wav", "audio/wav", b"x")
FORMS = [
    ("/avatars/preprocess", [], []),
    ("/avatars/preprocess", [("avatar_id", "a")], []),
    ("/avatars/preprocess", [], [FILE]),
    ("/avatars/preprocess", [("avatar_id", "")], [FILE]),
    ("/avatars/preprocess", [("avatar_id", "a"), ("video_file", "text")], []),
    ("/avatars/preprocess", [("avatar_id", "a"), ("bbox_shift", "x")], [FILE]),
    ("/avatars/preprocess", [("avatar_id", "a"), ("bbox_shift", "7.5")], [FILE]),
    ("/avatars/preprocess", [("bbox_shift", "x"), ("video_file", "text")], []),
    ("/inference/stream/nobody", [], []),
    ("/inference/stream/nobody", [("audio_file", "text")], []),
    ("/inference/stream/nobody", [], [AUDIO]),
    ("/inference/stream/nobody", [("batch_size", "0")], [AUDIO]),
    ("/inference/stream/nobody", [("batch_size", "33")], [AUDIO]),
    ("/inference/stream/nobody", [("batch_size", "x")], [AUDIO]),
    ("/inference/batch/nobody", [], []),
    ("/inference/batch/nobody", [], [AUDIO]),
    ("/inference/batch/nobody", [("batch_size", "99")], []),
]


@pytest.mark.parametrize("path,fields,files", FORMS)
def test_musetalk_forms(talkie, peers, path, fields, files):
    body, kind = form(fields, files)
    check(talkie, peers, "musetalk", "POST", path, **posted(body, kind))


@pytest.mark.parametrize("path", ["/avatars/preprocess", "/inference/stream/nobody", "/inference/batch/nobody"])
def test_musetalk_bodies_that_are_no_form(talkie, peers, path):
    rows = [
        (b"", None),
        (b"{}", "application/json"),
        (b"a=1", "application/x-www-form-urlencoded"),
        (b"--x--\r\n", "multipart/form-data; boundary=x"),
    ]
    for body, kind in rows:
        check(talkie, peers, "musetalk", "POST", path, **posted(body, kind))


def test_svd_upload_forms(talkie, peers):
    for fields, files in [([], []), ([("character", "text")], []), ([], [("picture", "p.png", "image/png", b"x")])]:
        body, kind = form(fields, files)
        check(talkie, peers, "svd", "POST", "/upload-character", **posted(body, kind))
    body, kind = form(files=[("character", "notes.txt", "text/plain", b"hello")])
    check(talkie, peers, "svd", "POST", "/upload-character", **posted(body, kind))


@pytest.mark.parametrize(
    "path", ["/generation/none", "/generation/6a1f1c9e-5d3e-4b8a-9d53-0c9f3f6f1a11", "/generation/", "/generation/a/b"]
)
def test_svd_unknown_generation(talkie, peers, path):
    check(talkie, peers, "svd", "GET", path)


CORS = [
    {"origin": "http://example.org"},
    {"origin": "http://localhost:5173"},
    {"origin": "null"},
]
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "content-type, x-own"}


@pytest.mark.parametrize("origin", CORS, ids=lambda origin: origin["origin"])
@pytest.mark.parametrize("dialect,path", [("svd", "/health"), ("svd", "/generation/none"), ("infinitetalk", "/")])
def test_cors(talkie, peers, dialect, path, origin):
    check(talkie, peers, dialect, "GET", path, headers=origin)


@pytest.mark.parametrize("origin", CORS, ids=lambda origin: origin["origin"])
def test_cors_preflight(talkie, peers, origin):
    for method in ("POST", "GET", "DELETE", "BREW"):
        check(talkie, peers, "svd", "OPTIONS", "/generate-video", headers=origin | PREFLIGHT | {"access-control-request-method": method})
    check(talkie, peers, "svd", "OPTIONS", "/upload-character", headers=origin | {"access-control-request-method": "POST"})


@pytest.mark.parametrize(
    "dialect,path", [("infinitetalk", "/api/health"), ("infinitetalk", "/"), ("svd", "/health"), ("musetalk", "/nothing")]
)
def test_bodies_of_get(talkie, peers, dialect, path):
    ours, theirs = [httpx.get(base + path) for base in (talkie.url(dialect), peers[dialect])]
    assert ours.status_code == theirs.status_code
    assert list(ours.json()) == list(theirs.json())
    assert {k: type(v) for k, v in ours.json().items()} == {k: type(v) for k, v in theirs.json().items()}
