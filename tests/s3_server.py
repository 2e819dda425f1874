"""s3s-fs: an S3 server that checks signatures, on a folder; and a metadata service like the one on EC2."""

import contextlib
import http.server
import json
import signal
import subprocess
import threading

import boto3
from botocore.config import Config

import stage

ACCESS, SECRET = "talkie-test-key", "talkie-test-secret"


class S3:
    def __init__(self, folder, *buckets):
        self.folder = folder
        for bucket in buckets:
            (folder / bucket).mkdir(parents=True, exist_ok=True)
        self.port = stage.free_ports(1)[0]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        assert (stage.TOOLS / "s3s-fs").exists(), "s3s-fs is not there: scripts/setup.sh clients installs it"
        self.process = subprocess.Popen(
            [
                stage.TOOLS / "s3s-fs",
                "--host",
                "127.0.0.1",
                "--port",
                str(self.port),
                "--access-key",
                ACCESS,
                "--secret-key",
                SECRET,
                self.folder,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=stage.die_with_parent,
        )
        stage.until(self._listens, 20, what="s3s-fs")
        return self

    def _listens(self):
        import socket

        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)

    def pause(self):
        """Connections are taken, by the system, and nobody answers."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def client(self, secret=SECRET):
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS,
            aws_secret_access_key=secret,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )

    def environment(self, secret=SECRET):
        return {
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": self.endpoint,
        }


class Metadata:
    """What an EC2 instance with a role asks (IMDSv2): a token first, then the role's name, then its credentials."""

    def __init__(self):
        self.asked = []
        asked = self.asked

        class Handler(http.server.BaseHTTPRequestHandler):
            def reply(self, text, kind="text/plain"):
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def do_PUT(self):
                asked.append(("PUT", self.path))
                self.reply("a-token") if self.path == "/latest/api/token" else self.send_error(404)

            def do_GET(self):
                asked.append(("GET", self.path))
                role = "/latest/meta-data/iam/security-credentials/"
                if self.headers.get("X-aws-ec2-metadata-token") != "a-token":
                    self.send_error(401)
                elif self.path.rstrip("/") == role.rstrip("/"):
                    self.reply("talkie-role")
                elif self.path == role + "talkie-role":
                    self.reply(
                        json.dumps(
                            {
                                "Code": "Success",
                                "Type": "AWS-HMAC",
                                "AccessKeyId": ACCESS,
                                "SecretAccessKey": SECRET,
                                "Token": "session",
                                "LastUpdated": "2026-01-01T00:00:00Z",
                                "Expiration": "2099-01-01T00:00:00Z",
                            }
                        ),
                        "application/json",
                    )
                elif self.path == "/latest/meta-data/placement/region":
                    self.reply("us-east-1")
                else:
                    self.send_error(404)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
