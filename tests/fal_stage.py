"""What fal's clients meet: their ways to a server, small inputs for its apps, and the clients themselves as processes that are told what to call."""

import base64
import contextlib
import dataclasses
import itertools
import json
import mimetypes
import os
import pathlib
import queue
import shlex
import shutil
import signal
import ssl
import subprocess
import threading

import httpx
import pytest

import stage

APP = "fal-ai/infinitalk"
PUPPET = "talkie/puppet"
FPS = 25
NODE = stage.ROOT / "target/fal_js/node_modules/.bin/node"
SDK = stage.ROOT / "target/fal_sdk/bin/python"
PYTHON = stage.ROOT / "tests/fal_python"
SCRIPTS = stage.ROOT / "tests/fal_js"
CALL_S = 90.0
# a client that does not do what its way tells it to asks nobody, least of all the real hosts
NOWHERE = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1", "NODE_USE_ENV_PROXY": "1", "FAL_KEY": "any:thing"}
# equal inputs with equal seeds are one job for a minute: a test that wants a job of its own takes a seed of its own
seeds = itertools.count(1000)


def data_uri(path):
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(pathlib.Path(path).read_bytes()).decode()}"


class Inputs:
    """A small picture, and two seconds and a half of speech, as files and as data: URIs."""

    def __init__(self, folder, media):
        folder.mkdir(parents=True, exist_ok=True)
        self.picture = folder / "face.jpg"
        stage.ffmpeg("-i", media.small, "-vf", "scale=320:320", "-q:v", "4", self.picture)
        self.voice = folder / "voice.mp3"
        stage.ffmpeg("-t", "2.5", "-i", stage.ROOT / "assets/speech.wav", "-ac", "1", "-b:a", "64k", self.voice)
        self.clip = media.clip
        self.text = media.text
        pcm = folder / "voice.pcm"
        stage.ffmpeg("-t", "2.5", "-i", stage.ROOT / "assets/speech.wav", "-ac", "1", "-ar", "16000", "-f", "s16le", pcm)
        self.pcm = pcm.read_bytes()
        self.picture_uri, self.voice_uri = data_uri(self.picture), data_uri(self.voice)

    def wish(self, **more):
        """Input of `fal-ai/infinitalk` for its shortest take, which nobody has asked for before."""
        wish = {"image_url": self.picture_uri, "audio_url": self.voice_uri, "prompt": "A woman talks.", "num_frames": 41}
        return wish | {"seed": next(seeds)} | more

    def spoiled(self):
        """Input that is well formed and fails soon: its picture is none."""
        return self.wish(image_url=data_uri(self.text))

    def idle(self, seconds=1.0, **more):
        """Input of `talkie/puppet` that needs no voice."""
        return {"image_url": self.picture_uri, "seconds": seconds, "size": 256, "seed": next(seeds)} | more


def trusted(path):
    return ssl.create_default_context(cafile=str(path))


@dataclasses.dataclass
class Way:
    """How a client gets to the server: its environment, what it is told at its start, and how to fetch what it was given."""

    name: str
    env: dict
    setup: dict
    web: httpx.Client

    def fetch(self, url, **options):
        return self.web.get(url, **options)


def tls(server):
    """`--port fal=N`: the hosts in the environment, a path with them."""
    host, ca = f"127.0.0.1:{server.ports['fal']}", server.data / "tls/ca.pem"
    env = {"FAL_RUN_HOST": f"{host}/run", "FAL_QUEUE_RUN_HOST": f"{host}/queue", "SSL_CERT_FILE": str(ca)}
    return Way("tls", NOWHERE | env, {}, httpx.Client(verify=trusted(ca), timeout=60, trust_env=False))


def plain(server):
    """The all port: the client's own constants (Python) or a middleware (JavaScript) lead to the prefixes."""
    return Way("http", NOWHERE, {"base": server.url("all", "/fal")}, httpx.Client(timeout=60, trust_env=False))


def proxy(server):
    """`proxyUrl` of the JavaScript client."""
    setup = {"proxy": server.url("all", "/api/fal/proxy")}
    return Way("proxy", NOWHERE, setup, httpx.Client(timeout=60, trust_env=False))


class Takeover:
    """`talkie takeover` in front of a server; `env` is what it tells a shell to export, and nothing else."""

    def __init__(self, server):
        self.server = server
        self.data = server.folder / "an operator's own"  # as it may be called: a shell reads what is printed of it
        self.log_path = server.folder / "takeover.log"
        self.process = None
        self.env = {}

    def start(self):
        command = [stage.BINARY, "takeover", f"--data={self.data}", f"--server={self.server.url('all')}", "--listen=127.0.0.1:0"]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self.server.env,
                cwd=self.server.folder,
                preexec_fn=stage.die_with_parent,
            )
        lines = Lines(self.process.stdout)
        wanted = {"HTTPS_PROXY", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "NODE_USE_ENV_PROXY", "FAL_KEY"}
        while not wanted <= set(self.env):
            line = lines.next(stage.READY_S)
            assert line is not None, f"takeover ended before it had told {wanted - set(self.env)}:\n{self.log()}"
            for word in shlex.split(line, comments=True)[1:] if line.startswith("export ") else []:
                name, _, value = word.partition("=")
                self.env[name] = value
        return self

    def log(self):
        return self.log_path.read_text(errors="replace")[-4000:] if self.log_path.exists() else ""

    @property
    def address(self):
        host, _, port = self.env["HTTPS_PROXY"].removeprefix("http://").rstrip("/").partition(":")
        return host, int(port)

    def way(self):
        web = httpx.Client(proxy=self.env["HTTPS_PROXY"], verify=trusted(self.data / "takeover/ca.pem"), timeout=60, trust_env=False)
        return Way("takeover", dict(self.env), {}, web)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            self.process.kill()
        if self.process:
            self.process.wait(10)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


class Lines:
    """Lines of a pipe, each within a time."""

    def __init__(self, pipe):
        self.found = queue.Queue()
        threading.Thread(target=self._read, args=(pipe,), daemon=True).start()

    def _read(self, pipe):
        for line in pipe:
            self.found.put(line)
        self.found.put(None)

    def next(self, limit):
        try:
            return self.found.get(timeout=limit)
        except queue.Empty:
            raise AssertionError(f"nothing was said for {limit} s") from None


class Refusal(Exception):
    """The client raised: `told` is what a program that caught it could read."""

    def __init__(self, told):
        super().__init__(json.dumps(told)[:2000])
        self.told = told


class Client:
    """A client's process: one line of JSON in, one out."""

    def __init__(self, command, way, folder):
        self.way = way
        self.log_path = folder / f"{pathlib.Path(command[-1]).stem}-{way.name}.log"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*map(str, command), json.dumps(way.setup)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=stage.clean_environment(folder, **way.env),
                cwd=folder,
                preexec_fn=stage.die_with_parent,
            )
        self.lines = Lines(self.process.stdout)
        self.waiting = False

    def begin(self, name, **arguments):
        self.waiting = True
        self.process.stdin.write(json.dumps({"call": name, "with": arguments}) + "\n")
        self.process.stdin.flush()

    def end(self, limit=CALL_S):
        line = self.lines.next(limit)
        assert line is not None, f"the client ended: {self.log_path.read_text()[-3000:]}"
        self.waiting = False
        told = json.loads(line)
        if "raised" in told:
            raise Refusal(told["raised"])
        return told["value"]

    def call(self, name, **arguments):
        self.begin(name, **arguments)
        return self.end()

    def stop(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.kill()
        self.process.wait(10)


def python_client(kind):
    return lambda way, folder: Client([os.sys.executable, PYTHON / "client.py", kind], way, folder)


def sdk_client(way, folder):
    return Client([SDK, PYTHON / "sdk.py"], way, folder)


def scripts():
    """The scripts beside the packages that they import."""
    assert NODE.exists(), f"{NODE} is not there: scripts/setup.sh clients installs it"
    place = stage.ROOT / "target/fal_js"
    for script in SCRIPTS.glob("*.mjs"):
        shutil.copy(script, place / script.name)
    return place


def js_client(way, folder):
    return Client([NODE, scripts() / "client.mjs"], way, folder)


def by(*names, ways, also=()):
    """Parametrizes a test with cells of the matrix: every one of these clients by every one of these ways, and some more cells."""
    cells = [(name, way) for name in names for way in ways] + list(also)
    return pytest.mark.parametrize("client", cells, indirect=True, ids="-".join)


def refused(client, name, **arguments):
    """What the client's exception tells."""
    with pytest.raises(Refusal) as found:
        client.call(name, **arguments)
    return found.value.told


def completed(server, base, rid, limit=60.0, app=APP):
    """Polls until the request is COMPLETED: that status."""

    def asked():
        told = httpx.get(f"{base}/queue/{app}/requests/{rid}/status?logs=1", timeout=20)
        assert told.status_code in (200, 202), (told.status_code, told.text, server.log())
        return told.json() if told.json()["status"] == "COMPLETED" else None

    return stage.until(asked, limit, every=0.05, what=f"the end of {rid}")


def check_film(path, frames):
    """A film of so many frames, with its sound."""
    seen = stage.streams(path)
    assert int(seen["video"]["nb_read_packets"]) == frames and seen["video"]["r_frame_rate"] == f"{FPS}/1", seen["video"]
    assert seen["audio"]["codec_name"] == "aac"
    return seen


def film_of(way, output, tmp_path, frames=41):
    """Fetches the film that an output names, as that client's user would, and looks at it."""
    video = output["video"]
    assert set(video) >= {"url", "content_type", "file_name", "file_size"}, video
    answer = way.fetch(video["url"])
    assert answer.status_code == 200 and answer.headers["content-type"] == video["content_type"], (video, answer.status_code)
    assert len(answer.content) == video["file_size"] and video["file_name"].endswith(".mp4"), video
    path = tmp_path / "film.mp4"
    path.write_bytes(answer.content)
    return check_film(path, frames)
