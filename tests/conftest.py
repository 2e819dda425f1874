"""Fixtures: one server for most tests, media made once, FastAPI peers to compare with."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import httpx
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import fal_stage  # noqa: E402
import stage  # noqa: E402

pytest_plugins = ["fal_matrix"]
PEERS = {"infinitetalk": "infinitetalk", "musetalk": "musetalk", "musetalk-s3": "musetalk_s3", "svd": "svd"}


@pytest.fixture(scope="session")
def media(tmp_path_factory):
    return stage.Media(tmp_path_factory.mktemp("media"))


@pytest.fixture(scope="session")
def talkie(tmp_path_factory):
    """A server with its defaults, for every test that does not kill or configure one."""
    if not stage.BINARY.exists():
        pytest.exit(f"{stage.BINARY} is not there: build it first (make build), or name another in TALKIE_BIN", returncode=2)
    server = stage.Talkie(tmp_path_factory.mktemp("stage"))
    with server:
        yield server
        assert server.process.poll() is None, f"the server died under the tests:\n{server.log()}"


@pytest.fixture(scope="session")
def inputs(tmp_path_factory, media):
    """What fal's apps are given: small, so that a take of the shortest length costs little."""
    return fal_stage.Inputs(tmp_path_factory.mktemp("inputs"), media)


@pytest.fixture
def http():
    with httpx.Client(timeout=120) as client:
        yield client


@pytest.fixture
def new_talkie(tmp_path):
    """Starts servers of a test's own; all are gone afterwards."""
    with contextlib.ExitStack() as stack:
        count = 0

        def start(*flags, wait=True, **options):
            nonlocal count
            count += 1
            server = stage.Talkie(tmp_path / f"stage{count}", *flags, **options)
            stack.callback(server.stop)
            return server.start(wait=wait)

        yield start


def start_peer(module, port, **env):
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", f"{module}:app", "--port", str(port), "--log-level", "warning", "--no-access-log"],
        cwd=stage.ROOT / "benches/http/peers",
        env=os.environ | env,
        start_new_session=True,
        preexec_fn=stage.die_with_parent,
    )

    def answers():
        with contextlib.suppress(OSError):
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=2).close()
            return True

    stage.until(answers, 30, what=f"the peer {module}")
    return process


@pytest.fixture(scope="session")
def peers():
    """name -> base URL of the same routes in FastAPI."""
    ports = dict(zip(PEERS, stage.free_ports(len(PEERS))))
    running = []
    try:
        for name, module in PEERS.items():
            running.append(start_peer(module, ports[name]))
        yield {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    finally:
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


@pytest.fixture(scope="session")
def avatar(talkie, media):
    """An avatar of the sample portrait, made once: its id."""
    with httpx.Client(timeout=120) as client, open(media.small, "rb") as picture:
        answer = client.post(
            talkie.url("musetalk", "/avatars/preprocess"),
            data={"avatar_id": "sample"},
            files={"video_file": ("portrait.png", picture, "image/png")},
        )
    assert answer.status_code == 200, answer.text
    return "sample"


@pytest.fixture(scope="module")
def fal(tmp_path_factory, inputs):
    """A server for a module of fal's clients: one job at a time, webhooks and inputs from this machine allowed."""
    flags = ["--conf", "serve.slots=1", "--conf", 'fetch.allowed_networks=["127.0.0.0/8"]']
    with stage.Talkie(tmp_path_factory.mktemp("fal"), *flags, fal=True) as server:
        # the first job starts the worker; later ones are what is looked at
        first = httpx.post(server.url("all", f"/fal/run/{fal_stage.APP}"), json=inputs.wish(), timeout=60)
        assert first.status_code == 200, (first.text, server.log())
        yield server
        assert server.process.poll() is None, f"the server died under the tests:\n{server.log()}"
    shutil.rmtree(server.data)


@pytest.fixture(scope="module")
def ways(fal):
    """Every way to that server, by name."""
    with fal_stage.Takeover(fal) as takeover:
        found = [fal_stage.tls(fal), fal_stage.plain(fal), fal_stage.proxy(fal), takeover.way()]
        yield {way.name: way for way in found}


@pytest.fixture(scope="module")
def clients(ways, tmp_path_factory):
    """fal's clients, each a process that is started when it is first wanted."""
    folder = tmp_path_factory.mktemp("clients")
    make = {
        "python": fal_stage.python_client("sync"),
        "python-async": fal_stage.python_client("async"),
        "sdk": fal_stage.sdk_client,
        "js": fal_stage.js_client,
    }
    running = {}

    def client(name, way):
        found = running.get((name, way))
        # one that a failed test left in the middle of a call would answer the next test with what was asked before
        if found is None or found.waiting:
            if found:
                found.stop()
            place = folder / f"{name}-{way}"
            place.mkdir(exist_ok=True)
            running[name, way] = make[name](ways[way], place)
        return running[name, way]

    yield client
    for one in running.values():
        one.stop()


@pytest.fixture
def client(request, clients):
    """The client of a cell of the matrix: a parameter (client, way)."""
    return clients(*request.param)
