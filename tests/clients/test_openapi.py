"""Schemathesis against each dialect's own document: nothing it can think of gets a 500 or a status that the document does not name.

Quick and seeded by default; TALKIE_EXAMPLES=N asks for N examples of each operation.
"""

import os
import shutil
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
    document = httpx.get(talkie.url(dialect, "/openapi.json"))
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
            assert ("422" in mine["responses"]) >= ("422" in operation["responses"]), (path, method)


@pytest.mark.parametrize("dialect", stage.DIALECTS)
@pytest.mark.timeout(1200)
def test_no_500_and_no_undocumented_status(talkie, media, tmp_path, dialect):
    shutil.copy(media.short, talkie.media / "short.wav")
    shutil.copy(media.small, talkie.media / "p.png")
    environment = stage.clean_environment(tmp_path, PATH=os.environ["PATH"])
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            talkie.url(dialect, "/openapi.json"),
            "--max-examples",
            EXAMPLES,
            "--seed",
            SEED,
            "--checks",
            CHECKS,
            "--phases",
            "examples,coverage,fuzzing",
            "--request-timeout",
            "60",
            "--workers",
            "1",
            "--no-color",
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1100,
    )
    assert done.returncode == 0, done.stdout[-12000:] + done.stderr[-2000:]
    assert httpx.get(talkie.url("all", "/livez")).status_code == 200
