"""A stage for tests: a real `talkie serve` on free ports with a data folder of its own, and the media that clients bring."""

import contextlib
import ctypes
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
DIALECTS = ("infinitetalk", "musetalk", "musetalk-s3", "svd", "all")
BINARY = pathlib.Path(os.environ.get("TALKIE_BIN") or ROOT / "target/release/talkie")
TOOLS = pathlib.Path(os.environ.get("TALKIE_TOOLS") or ROOT / "target/tools/bin")
READY_S = 30.0


def free_ports(count):
    """Ports that nobody listens on now; held all at once, so that they differ."""
    with contextlib.ExitStack() as stack:
        held = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            sock.bind(("127.0.0.1", 0))
            held.append(sock.getsockname()[1])
    return held


def die_with_parent():
    """For `preexec_fn`: a test run that is killed leaves no server behind."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def clean_environment(home, **more):
    """What a program gets that must not see this machine's own settings, credentials or proxies."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
    kept |= {"HOME": str(home), "XDG_CONFIG_HOME": f"{home}/.config", "AWS_EC2_METADATA_DISABLED": "true", "RUST_BACKTRACE": "1"}
    return {name: value for name, value in (kept | more).items() if value is not None}


class Talkie:
    """One server. `folder` keeps its data from one start to the next. The port of fal's clients (TLS) is there if it is asked for."""

    def __init__(self, folder, *flags, env=None, cwd=None, only=(), fal=False):
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.media = self.folder / "media"
        self.flags, self.only = list(flags), tuple(only)
        self.home = self.folder / "home"
        for place in (self.data, self.media, self.home):
            place.mkdir(parents=True, exist_ok=True)
        self.env = clean_environment(self.home, **(env or {}))
        self.cwd = cwd or self.folder
        dialects = (*DIALECTS, "fal") if fal else DIALECTS
        self.ports = dict(zip(dialects, free_ports(len(dialects))))
        self.log_path = self.folder / "server.log"
        self.process = None

    def url(self, dialect, path=""):
        scheme = "https" if dialect == "fal" else "http"
        return f"{scheme}://127.0.0.1:{self.ports[dialect]}{path}"

    def documents(self, dialect, name):
        """`docs` or `openapi.json`. Those of the all port are those of Talkie's own API."""
        return self.url(dialect, f"/v1/{name}" if dialect == "all" else f"/{name}")

    def command(self):
        ports = [f"--port={name}={port}" for name, port in self.ports.items()]
        only = [f"--only={name}" for name in self.only]
        return [str(BINARY), "serve", f"--data={self.data}", f"--media-root={self.media}", *ports, *only, *self.flags]

    def start(self, wait=True):
        assert self.process is None or self.process.poll() is not None, "it runs already"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                cwd=self.cwd,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, limit=READY_S):
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"talkie ended with {self.process.returncode}:\n{self.log()}")
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(self.url("all", "/readyz"), timeout=2) as answer:
                    if answer.status == 200:
                        return
            time.sleep(0.005)
        raise AssertionError(f"talkie was not ready after {limit} s:\n{self.log()}")

    def log(self):
        return self.log_path.read_text(errors="replace")[-8000:] if self.log_path.exists() else ""

    def pids(self):
        """The server and everything below it."""
        return process_tree(self.process.pid)

    def workers(self):
        """Processes of talkie that are children of the server."""
        found = []
        for pid in children_of(self.process.pid):
            with contextlib.suppress(OSError):
                words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if b"worker" in words:
                    found.append(pid)
        return found

    @contextlib.contextmanager
    def frozen(self):
        """The workers stand still, with nothing to do: the next job begins and does not end, and what is behind it waits. Needs a job that was made before."""
        until(lambda: not [job for job in self.jobs() if job["state"] in ("queued", "running")], 60, what="the end of all jobs")
        workers = self.workers()
        assert workers, f"no worker to stop:\n{self.log()}"
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def memory(self):
        """MiB of the server itself that are in memory."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def peak(self):
        """MiB of the server itself that were in memory at the most."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def kill(self):
        """As a power cut would: SIGKILL to the server alone; its workers must go with it."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(20)

    def stop(self, limit=30):
        """SIGTERM and wait; the exit status, or None if it had to be killed."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def jobs(self, **query):
        """What the record knows, through the all port."""
        query.setdefault("limit", 1000)
        words = "&".join(f"{name}={value}" for name, value in query.items())
        return self.api("GET", f"/jobs?{words}")["jobs"]

    def api(self, method, path):
        request = urllib.request.Request(self.url("all", f"/v1{path}"), method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            body = json.load(answer)
        return body


@contextlib.contextmanager
def small_disk(folder, mib):
    """A disk of its own that is soon full; the test is skipped where nothing can be mounted."""
    folder.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no small disk to fill: mounting needs more rights than this run has ({done.stderr.strip()})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=False)


def fill(disk, leave=0):
    """Takes all the room there is, but for `leave` bytes; the file that takes it."""
    filler = disk / "filler"
    with open(filler, "wb") as out, contextlib.suppress(OSError):
        while True:
            out.write(bytes(1 << 16))
            out.flush()
    if leave:
        os.truncate(filler, filler.stat().st_size - leave)
    return filler


def children_of(pid):
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # the name in parentheses may hold anything; the parent's number is the second word after it
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return sorted(found)


def process_tree(pid):
    tree, todo = [], [pid]
    while todo:
        at = todo.pop()
        tree.append(at)
        todo += children_of(at)
    return tree


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def until(check, limit=30.0, every=0.02, what="it"):
    """Waits for `check()` to be something true, and returns that."""
    end = time.monotonic() + limit
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < end, f"{what} did not happen within {limit} s"
        time.sleep(every)


def ffmpeg(*words):
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, words)], check=True, timeout=120)


def probe(path):
    """What ffprobe says, every packet counted."""
    out = subprocess.run(
        ["ffprobe", "-v", "error", "-count_packets", "-show_streams", "-show_format", "-of", "json", str(path)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return json.loads(out.stdout)


def streams(path):
    return {stream["codec_type"]: stream for stream in probe(path)["streams"]}


def speak(text, path, voice="en"):
    """A voice that nobody recorded: espeak-ng reads `text` into `path` (WAV, or whatever ffmpeg makes of the name)."""
    path = pathlib.Path(path)
    wav = path.with_suffix(".espeak.wav")
    subprocess.run(["espeak-ng", "-v", voice, "-w", str(wav), text], check=True, timeout=60)
    ffmpeg("-i", wav, path)
    wav.unlink()
    return path


class Media:
    """Pictures, a clip and voices, made once in a run."""

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.portrait = ROOT / "assets/portrait.png"
        self.small = folder / "portrait_512.png"
        ffmpeg("-i", self.portrait, "-vf", "crop=1024:1024:0:60,scale=512:512", self.small)
        self.jpeg = folder / "portrait_512.jpg"
        ffmpeg("-i", self.small, "-q:v", "3", self.jpeg)
        self.clip = folder / "video.mp4"
        ffmpeg(
            "-loop",
            "1",
            "-i",
            self.small,
            "-t",
            "2",
            "-r",
            "25",
            "-pix_fmt",
            "yuv420p",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            self.clip,
        )
        self.short = speak("Hello, this is me.", folder / "short.wav")
        self.mp3 = speak("My lips move with every sound.", folder / "voice.mp3")
        self.long = folder / "long.wav"
        ffmpeg("-stream_loop", "5", "-i", ROOT / "assets/speech.wav", "-t", "45", self.long)
        self.text = folder / "notes.txt"
        self.text.write_text("This is neither a picture nor a voice.\n")

    def seconds(self, path):
        return float(probe(path)["format"]["duration"])
