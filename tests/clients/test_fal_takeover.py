"""`talkie takeover`: a proxy for fal's hosts and no others, on this machine and for nobody else, whose certificates are worth nothing elsewhere."""

import socket
import ssl
import stat
import subprocess

import httpx
import pytest

import fal_stage
import stage

HOSTS = ["fal.run", "queue.fal.run", "rest.fal.ai", "v3.fal.media", "falrun.com", "queue.falrun.com", "fal.ai", "api.fal.ai"]


@pytest.fixture(scope="module")
def takeover(fal):
    with fal_stage.Takeover(fal) as takeover:
        yield takeover
        assert takeover.process.poll() is None, takeover.log()


def ask(takeover, head):
    """The first line of the answer."""
    with socket.create_connection(takeover.address, 10) as sock:
        sock.sendall(head.encode())
        with sock.makefile("rb") as answer:
            return answer.readline().decode()


def connect(takeover, target):
    return ask(takeover, f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")


@pytest.mark.parametrize("host", HOSTS)
def test_hosts_of_fal(takeover, host):
    """Each is answered under its own name, by a certificate that the printed bundle trusts."""
    with socket.create_connection(takeover.address, 10) as sock:
        sock.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
        assert sock.recv(4096).startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))
        with fal_stage.trusted(takeover.env["SSL_CERT_FILE"]).wrap_socket(sock, server_hostname=host) as tls:
            names = {name for kind, name in tls.getpeercert()["subjectAltName"] if kind == "DNS"}
            assert host in names or f"*.{host.partition('.')[2]}" in names, names
            tls.sendall(f"GET /nothing HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            assert tls.recv(4096).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    "target",
    [
        "example.com:443",
        "fal.run.example.com:443",
        "xfal.run:443",
        "evil-fal.run:443",
        "fal.run:22",
        "fal.run:80",
        "127.0.0.1:443",
        "localhost:443",
        "[::1]:443",
        "169.254.169.254:80",
        "fal.run@example.com:443",
        "auth.fal.ai.example.com:443",
    ],
)
def test_no_other_host(takeover, target):
    """403: this is no open proxy."""
    assert " 403 " in connect(takeover, target)


def test_nothing_is_forwarded(takeover):
    """A listener of this machine that somebody asks it for hears nothing, by CONNECT or by a whole URL."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        stranger.settimeout(0.2)
        port = stranger.getsockname()[1]
        assert " 403 " in connect(takeover, f"127.0.0.1:{port}")
        for line in (f"GET http://127.0.0.1:{port}/ HTTP/1.1", f"POST http://localhost:{port}/ HTTP/1.1", "GET / HTTP/1.1", "nonsense"):
            first = ask(takeover, f"{line}\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\n\r\n")
            assert not first or first.split()[1].startswith("4"), (line, first)
        with pytest.raises(TimeoutError):
            stranger.accept()


def test_what_it_prints(takeover):
    """A line for each variable, with files that are there: the bundle holds the public roots besides its own."""
    assert set(takeover.env) >= {"HTTPS_PROXY", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "NODE_USE_ENV_PROXY", "FAL_KEY"}
    assert takeover.env["HTTPS_PROXY"].startswith("http://127.0.0.1:") and takeover.env["NODE_USE_ENV_PROXY"] == "1"
    assert ":" in takeover.env["FAL_KEY"], "the fal SDK takes only id:secret"
    ca = (takeover.data / "takeover/ca.pem").read_text().strip()
    bundle = open(takeover.env["SSL_CERT_FILE"]).read()
    assert ca in bundle and bundle.count("BEGIN CERTIFICATE") > 50
    assert ca in open(takeover.env["NODE_EXTRA_CA_CERTS"]).read()


def test_its_key_is_its_own(takeover):
    """Nobody else reads the key that signs."""
    keys = [path for path in (takeover.data / "takeover").rglob("*") if path.is_file() and "PRIVATE KEY" in path.read_text()]
    assert keys, list((takeover.data / "takeover").iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}


def openssl(*words):
    return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, text=True, timeout=30).stdout


def test_its_certificates_are_worth_nothing_elsewhere(takeover, tmp_path):
    """Who trusts this authority trusts it for fal's names alone: a certificate that it signed for another is refused."""
    folder = takeover.data / "takeover"
    public = openssl("x509", "-in", folder / "ca.pem", "-noout", "-pubkey")
    keys = [path for path in folder.rglob("*") if path.is_file() and "PRIVATE KEY" in path.read_text()]
    (key,) = [path for path in keys if openssl("pkey", "-in", path, "-pubout") == public]
    believed = {}
    for name in ("queue.fal.run", "example.com", "localhost"):
        request, extensions, cert = (tmp_path / f"{name}.{end}" for end in ("csr", "ext", "pem"))
        extensions.write_text(f"subjectAltName=DNS:{name}\n")
        openssl(
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            tmp_path / "key.pem",
            "-subj",
            "/O=x",
            "-out",
            request,
        )
        openssl(
            "x509",
            "-req",
            "-in",
            request,
            "-CA",
            folder / "ca.pem",
            "-CAkey",
            key,
            "-days",
            1,
            "-set_serial",
            7,
            "-extfile",
            extensions,
            "-out",
            cert,
        )
        checked = subprocess.run(["openssl", "verify", "-CAfile", folder / "ca.pem", cert], capture_output=True, text=True)
        believed[name] = checked.returncode == 0
    assert believed == {"queue.fal.run": True, "example.com": False, "localhost": False}


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"])
def test_only_on_loopback(fal, address):
    """It does not listen where others could reach it."""
    command = [stage.BINARY, "takeover", f"--data={fal.data}", f"--server={fal.url('all')}", f"--listen={address}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, env=fal.env)
    assert done.returncode != 0 and "loopback" in done.stderr and "export" not in done.stdout, (done.stdout, done.stderr)


def test_keys_are_not_logged(takeover, fal):
    """A real key of fal may come by: it is in no log and no file."""
    secret = "id:secret-that-nobody-writes-down"
    takeover.way().fetch(
        "https://queue.fal.run/fal-ai/infinitalk/requests/x/status?fal_jwt_token=" + secret, headers={"authorization": f"Key {secret}"}
    )
    assert secret not in takeover.log_path.read_text() + fal.log_path.read_text()


def test_the_server_behind_it_is_away(tmp_path, inputs):
    """502 while it is, without the clients' waiting for ever; as before when it is back."""
    with stage.Talkie(tmp_path / "away") as server, fal_stage.Takeover(server) as takeover:
        web = takeover.way().web
        url = "https://queue.fal.run/fal-ai/infinitalk/requests/none/status"
        assert web.get(url).status_code == 404
        server.stop()
        told = web.get(url, timeout=10)
        assert told.status_code in (502, 503) and "nginx" not in told.text, told.text
        server.start()
        assert web.get(url).status_code == 404


def test_the_same_authority_after_a_restart(fal, takeover):
    """What was trusted once stays trusted."""
    with fal_stage.Takeover(fal) as again:
        assert (again.env["SSL_CERT_FILE"], again.env["NODE_EXTRA_CA_CERTS"]) == (
            takeover.env["SSL_CERT_FILE"],
            takeover.env["NODE_EXTRA_CA_CERTS"],
        )
        with pytest.raises(httpx.ConnectError):
            httpx.get("https://fal.run/", proxy=again.env["HTTPS_PROXY"], verify=ssl.create_default_context(), trust_env=False)
        assert (
            takeover.way().fetch("https://fal.run/nothing").status_code == again.way().fetch("https://fal.run/nothing").status_code == 404
        )
