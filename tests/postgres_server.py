"""A real Postgres of a test's own, on a Unix socket, that can be stopped and started again."""

import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile

import stage


def programs():
    """The newest version's `bin`; `scripts/setup.sh clients` installs one."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    assert found, "these tests need a real Postgres: scripts/setup.sh clients"
    return found[-1].parent


class Postgres:
    def __init__(self):
        # below /tmp itself: a socket's path is short, and the user who runs it must get there
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="talkie-pg-", dir="/tmp"))
        self.bin = programs()
        self.as_user = {}
        if os.geteuid() == 0:
            # it does not run as root: then it runs as the user that its package made
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self.as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self.process = None
        self.run("initdb", "--username=talkie", "--auth=trust", "--encoding=UTF8", "--no-sync", "-D", self.folder / "data")
        self.url = f"postgres://talkie@localhost/postgres?host={self.folder}"

    def run(self, program, *words):
        subprocess.run([self.bin / program, *words], check=True, capture_output=True, cwd="/", env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"}, **self.as_user)

    def start(self):
        words = ["-D", self.folder / "data", "-k", self.folder, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=32MB"]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [self.bin / "postgres", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                **self.as_user,
            )
        stage.until(self.answers, 30, every=0.05, what=f"Postgres in {self.folder}")
        return self

    def answers(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()
        return subprocess.run([self.bin / "pg_isready", "-q", "-h", self.folder, "-t", "1"], check=False).returncode == 0

    def stop(self):
        """At once, whoever is connected, as when its machine is restarted."""
        if self.process and self.process.poll() is None:
            self.run("pg_ctl", "stop", "-m", "immediate", "-D", self.folder / "data")
            self.process.wait(20)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
