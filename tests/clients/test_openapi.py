"""Schemathesis against each dialect's own document: nothing it can think of gets a 500 or a status that the document does not name.

Quick and seeded by default; TALKIE_EXAMPLES=N asks for N examples of each operation.
"""

import json
import os
import subprocess
import sys

import httpx
import pytest

import stage

EXAMPLES = os.environ.get("TALKIE_EXAMPLES", "12")
SEED = os.environ.get("TALKIE_SEED", "20261120")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.parametrize("dialect", stage.DIALECTS)
def test_documents(talkie, dialect):
    document = httpx.get(talkie.documents(dialect, "openapi.json"))
    assert document.status_code == 200 and document.headers["content-type"] == "application/json"
    told = document.json()
    assert told["openapi"] == "3.1.0" and told["paths"]
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            if method in ("get", "post", "put", "delete", "patch"):
                assert operation["responses"], (path, method)


@pytest.mark.parametrize("dialect", ["infinitetalk", "musetalk", "musetalk-s3", "svd"])
def test_validation_errors_are_documented_as_fastapi_does(talkie, peers, dialect):
    ours, theirs = [httpx.get(f"{base}/openapi.json").json() for base in (talkie.url(dialect), peers[dialect])]
    for name in ("HTTPValidationError", "ValidationError"):
        assert name in ours["components"]["schemas"]
    for path, methods in theirs["paths"].items():
        for method, operation in methods.items():
            assert path in ours["paths"] and method in ours["paths"][path], (path, method)
            mine = ours["paths"][path][method]
            takes_input = "requestBody" in operation or any(one["in"] == "query" for one in operation.get("parameters", []))
            assert "422" in mine["responses"] or not takes_input, (path, method)


@pytest.fixture(scope="module")
def victim(tmp_path_factory):
    """A server of its own: what is thrown at it may delete what other tests need."""
    with stage.Talkie(tmp_path_factory.mktemp("victim")) as server:
        yield server
        assert server.process.poll() is None, server.log()


def attack(talkie, folder, dialect, **known):
    """`known`: values for parameters of these names, where chance would only ever find what does not exist."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in known.items()]
    (folder / "schemathesis.toml").write_text("\n".join(["[parameters]", *lines, ""]))
    command = [sys.executable, "-m", "schemathesis.cli", "run", talkie.documents(dialect, "openapi.json")]
    command += ["--url", talkie.documents(dialect, "").rstrip("/"), "--max-examples", EXAMPLES, "--seed", SEED, "--checks", CHECKS]
    command += ["--phases", "examples,coverage,fuzzing", "--request-timeout", "60", "--workers", "1", "--no-color", "--warnings", "off"]
    environment = stage.clean_environment(folder, PATH=os.environ["PATH"])
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1100)
    assert done.returncode == 0, done.stdout[-12000:] + done.stderr[-2000:]
    assert httpx.get(talkie.url("all", "/livez")).status_code == 200


@pytest.mark.parametrize("dialect", stage.DIALECTS)
@pytest.mark.timeout(1200)
def test_no_500_and_no_undocumented_status(victim, tmp_path, dialect):
    attack(victim, tmp_path, dialect)


@pytest.mark.timeout(1200)
def test_the_same_for_an_avatar_that_exists(victim, tmp_path, media):
    with open(media.small, "rb") as picture:
        made = httpx.post(
            victim.url("musetalk", "/avatars/preprocess"),
            data={"avatar_id": "fuzzed"},
            files={"video_file": ("p.png", picture)},
            timeout=60,
        )
    assert made.status_code == 200, made.text
    attack(victim, tmp_path, "musetalk", avatar_id="fuzzed")


@pytest.mark.timeout(1200)
def test_the_same_for_a_generation_that_exists(victim, tmp_path, media):
    with open(media.jpeg, "rb") as picture:
        url = httpx.post(victim.url("svd", "/upload-character"), files={"character": ("p.jpg", picture, "image/jpeg")}).json()["imageUrl"]
    wish = {"characterImageUrl": url, "script": "x", "duration": 1}
    made = httpx.post(victim.url("svd", "/generate-video"), json=wish).json()["id"]
    stage.until(lambda: victim.api("GET", f"/jobs/{made}")["state"] == "done", 60)
    attack(victim, tmp_path, "svd", id=made, name=f"video_{made}.mp4")
    attack(victim, tmp_path, "all", id=made)
