"""Who is believed about a checksum: https, this machine, and what was seen before."""

import hashlib
import json
import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from imitation_server import Answer

from cdn_sc.datasets import _pins, _transfer
from cdn_sc.datasets._figshare import fetch_figshare, listed_files
from cdn_sc.datasets._pins import is_trusted
from cdn_sc.datasets._transfer import TransferError, transfer
from cdn_sc.errors import DownloadError


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        ("https://example.org/a", True),
        ("http://localhost:80/a", True),
        ("http://127.0.0.1/a", True),
        ("http://[::1]:8000/a", True),
        ("http://example.org/a", False),
        ("http://10.0.0.1/a", False),
        ("http://localhost.example.org/a", False),
        ("http://127.0.0.1.example.org/a", False),
        ("http://localhost@example.org/a", False),
        ("ftp://example.org/a", False),
    ],
)
def test_whom_to_trust(monkeypatch, url, trusted):
    monkeypatch.delenv("CDN_SC_TRUST_HTTP", raising=False)
    assert is_trusted(url) == trusted
    monkeypatch.setenv("CDN_SC_TRUST_HTTP", "1")
    assert is_trusted(url)


@pytest.fixture
def mirror(server, cache, monkeypatch):
    """A mirror over plain http on another machine, as far as its address tells; figshare cannot be asked."""
    server.serve("/v2/articles/42", Answer(b"", 403))
    monkeypatch.setenv("CDN_SC_MIRROR", f"{server.url}/mirror")
    monkeypatch.delenv("CDN_SC_TRUST_HTTP", raising=False)
    monkeypatch.setattr(_pins, "_is_here", lambda host: False)

    def serve(body):
        md5 = hashlib.md5(body).hexdigest()
        listed = [{"id": 7, "name": "a.txt", "size": len(body), "md5": md5}]
        server.serve("/mirror/figshare/42.json", json.dumps(listed).encode())
        server.serve("/mirror/figshare/42/a.txt", body)

    serve(b"theirs")
    return SimpleNamespace(serve=serve, server=server)


def test_mirror_over_plain_http_is_not_believed(mirror, cache):
    with pytest.raises(DownloadError, match=r"a\.txt came over plain http .* https .*CDN_SC_TRUST_HTTP=1"):
        fetch_figshare(42, name="a.txt")
    assert not list(cache.rglob("a.txt"))
    # nor is its list, once it is only remembered
    mirror.server.serve("/mirror/figshare/42.json", Answer(b"", 404))
    with pytest.raises(DownloadError, match="came over plain http"):
        fetch_figshare(42, name="a.txt")


def test_own_network(mirror, monkeypatch):
    monkeypatch.setenv("CDN_SC_TRUST_HTTP", "1")
    assert fetch_figshare(42, name="a.txt").read_bytes() == b"theirs"


def test_figshare_vouches_for_a_mirror(mirror):
    mirror.server.add_file(42, 7, "a.txt", b"theirs")
    assert fetch_figshare(42, name="a.txt").read_bytes() == b"theirs"
    assert mirror.server.asked()[-1] == "/mirror/figshare/42/a.txt"
    # and not for one that has another file
    mirror.serve(b"forged")
    assert fetch_figshare(42, name="a.txt").read_bytes() == b"theirs"


def test_what_was_fetched_once_vouches_for_a_mirror(mirror, monkeypatch):
    monkeypatch.setenv("CDN_SC_TRUST_HTTP", "1")
    path = fetch_figshare(42, name="a.txt")
    monkeypatch.delenv("CDN_SC_TRUST_HTTP")
    path.unlink()
    assert fetch_figshare(42, name="a.txt").read_bytes() == b"theirs"


def test_another_checksum_than_the_first_time(server, cache):
    server.add_file(42, 7, "a.txt", b"one")
    path = fetch_figshare(42, name="a.txt")
    pins = cache / "pins.json"
    assert json.loads(pins.read_text()) == {"figshare/42/a.txt": f"md5:{hashlib.md5(b'one').hexdigest()}"}
    server._articles.clear()
    server.add_file(42, 7, "a.txt", b"two")
    for _ in range(2):
        with pytest.raises(DownloadError, match=r"when it was first fetched.*new version, .*pins\.json"):
            fetch_figshare(42, name="a.txt")
        assert not path.exists() or path.read_bytes() == b"one"
        path.unlink(missing_ok=True)
    pins.unlink()
    assert fetch_figshare(42, name="a.txt").read_bytes() == b"two"


def test_names_that_would_forge_a_terminal(server, cache):
    server.add_file(42, 7, "a\x1b[2J.txt", b"one")
    (listed,) = listed_files(42)
    assert listed.name.isprintable()
    with pytest.raises(DownloadError) as caught:
        fetch_figshare(42, name="b.txt")
    assert str(caught.value).isprintable()


def test_answer_of_any_length(server, tmp_path):
    server.serve("/long", Answer(bytes(1 << 20), announce=False))
    with pytest.raises(TransferError, match="sends more than 1,000 bytes"):
        transfer(f"{server.url}/long", tmp_path / "part", limit=1000)


def test_nested_answer(server, cache):
    server.serve("/v2/articles/42", b"[" * 200_000)
    with pytest.raises(DownloadError, match="something else than JSON"):
        listed_files(42)


@pytest.fixture
def secure(tmp_path, monkeypatch):
    """An https server on 127.0.0.1 that sends everybody on to the address that it is given."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl, which makes the certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    command += f" -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}"
    subprocess.run(command.split(), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    targets = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", targets[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.socket = context.wrap_socket(http.socket, server_side=True)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield SimpleNamespace(url=f"https://127.0.0.1:{http.server_port}", targets=targets)
    http.shutdown()
    http.server_close()
    thread.join()


def test_redirect_from_https_to_http(server, secure, tmp_path):
    server.serve("/a", b"forged")
    secure.targets.append(f"{server.url}/a")
    with pytest.raises(TransferError, match="redirects from https to http://"):
        transfer(f"{secure.url}/a", tmp_path / "part")
    assert server.asked() == []


@pytest.mark.parametrize(
    ("code", "location", "refused"),
    [
        (302, "http://example.org/b", True),
        (302, "ftp://example.org/b", True),
        (308, "HTTP://example.org/b", True),
        (302, "https://example.com/b", False),
        (302, "/b", False),
        (302, "//example.com/b", False),
        (200, "http://example.org/b", False),
    ],
)
def test_redirects_that_are_followed(code, location, refused):
    import requests

    response = requests.Response()
    response.status_code, response.url = code, "https://example.org/a"
    response.headers["location"] = location
    if refused:
        with pytest.raises(TransferError, match="redirects from https"):
            _transfer._refuse_downgrade(response)
    else:
        _transfer._refuse_downgrade(response)
