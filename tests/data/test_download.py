"""Downloads from a real server on this machine."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from imdb_lightning.config.errors import UserError
from imdb_lightning.data import download
from imdb_lightning.data.download import DownloadFailedError, fetch

CONTENT = np.random.default_rng(0).bytes(300_000)
HASH = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `CONTENT`; breaks off the first `breaks` answers after a third of it."""

    daemon_threads = True
    breaks = 0
    honours_ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.honours_ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        stop = len(CONTENT)
        if self.server.breaks:
            self.server.breaks -= 1
            stop = start + len(CONTENT) // 3
        self.wfile.write(CONTENT[start:stop])

    def log_message(self, *_: object) -> None:
        """Keeps quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever).start()
        yield running
        running.shutdown()


def test_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        assert fetch(server.url, HASH, tmp_path).read_bytes() == CONTENT
    assert len(server.ranges) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]


def test_broken_download_goes_on_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.breaks = 2
    kept = []
    for _ in range(2):
        with pytest.raises(DownloadFailedError):
            fetch(server.url, HASH, tmp_path)
        kept.append((tmp_path / "file.bin.part").stat().st_size)
    assert fetch(server.url, HASH, tmp_path).read_bytes() == CONTENT
    assert 0 < kept[0] < kept[1] < len(CONTENT)
    assert server.ranges == [None, *(f"bytes={size}-" for size in kept)]


def test_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    server.breaks, server.honours_ranges = 1, False
    with pytest.raises(DownloadFailedError):
        fetch(server.url, HASH, tmp_path)
    assert fetch(server.url, HASH, tmp_path).read_bytes() == CONTENT


def test_part_of_a_longer_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    assert fetch(server.url, HASH, tmp_path).read_bytes() == CONTENT


def test_other_content_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"file\.bin: expected a file with sha256:0000"):
        fetch(server.url, "sha256:" + "0" * 64, tmp_path)
    assert not (tmp_path / "file.bin").exists()


def test_no_server_is_said_to_be_none(tmp_path: Path) -> None:
    with Server() as closed:
        url = closed.url
    with pytest.raises(DownloadFailedError, match=r"file\.bin"):
        fetch(url, HASH, tmp_path)


class Liar(BaseHTTPRequestHandler):
    """Answers each address with a trick of its name."""

    protocol_version = "HTTP/1.0"
    ended = threading.Event()

    def do_GET(self) -> None:
        with suppress(OSError):  # Whom it wants to trick has hung up.
            getattr(self, self.path.rpartition("/")[2])()

    def answer(self, code: int, **headers: object) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def drip(self) -> None:
        while not self.ended.wait(0.05):
            self.wfile.write(b"x")

    def silence(self) -> None:
        self.ended.wait()

    def slow_headers(self) -> None:
        self.wfile.write(b"HTTP/1.0 200 OK\r\nServer: ")
        self.drip()

    def slow_content(self) -> None:
        self.answer(200, Content_Length=len(CONTENT))
        self.drip()

    def short_content(self) -> None:
        self.answer(200, Content_Length=len(CONTENT))
        self.wfile.write(CONTENT[:-1])

    def more_than_it_said(self) -> None:
        self.answer(200, Content_Length=1000)
        self.wfile.write(CONTENT)

    def endless_content(self) -> None:
        self.answer(200)
        while not self.ended.is_set():
            self.wfile.write(CONTENT)

    def packed_zeros(self) -> None:
        self.answer(200, Content_Encoding="gzip")
        self.wfile.write(gzip.compress(bytes(1 << 23), 1))

    def other_content(self) -> None:
        self.answer(200, Content_Length=len(CONTENT))
        self.wfile.write(CONTENT[::-1])

    def no_number(self) -> None:
        self.answer(200, Content_Length="many")
        self.wfile.write(CONTENT)

    def nothing_in_range(self) -> None:
        self.answer(416)

    def busy(self) -> None:
        self.answer(503)

    def round_and_round(self) -> None:
        self.answer(302, Location=self.path)

    def to_a_file(self) -> None:
        self.answer(302, Location="file:///etc/passwd")

    def to_plain_http(self) -> None:
        self.answer(302, Location=f"http://127.0.0.1:{self.server.server_address[1]}/file.bin")

    def log_message(self, *_: object) -> None:
        """Keeps quiet."""


TRICKS = [
    ("silence", DownloadFailedError, "timed out"),
    ("slow_headers", DownloadFailedError, "too slowly"),
    ("slow_content", DownloadFailedError, "too slowly"),
    ("short_content", DownloadFailedError, "short_content"),
    ("more_than_it_said", UserError, "expected a file with sha256"),
    ("endless_content", UserError, "expected a file with sha256"),
    ("packed_zeros", UserError, "expected a file with sha256"),
    ("other_content", UserError, "expected a file with sha256"),
    ("no_number", UserError, "expected a file with sha256"),
    ("nothing_in_range", DownloadFailedError, "416"),
    ("busy", DownloadFailedError, "503"),
    ("round_and_round", DownloadFailedError, "30 redirects"),
    ("to_a_file", DownloadFailedError, "file:///etc/passwd"),
]


@pytest.fixture
def liar(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    for name, value in {"TIMEOUT_SECONDS": (1, 1), "STALL_SECONDS": 2.0, "MAX_BYTES": 1 << 20}.items():
        monkeypatch.setattr(download, name, value)
    monkeypatch.setattr(Liar, "ended", threading.Event())
    with ThreadingHTTPServer(("127.0.0.1", 0), Liar) as running:
        running.daemon_threads = True
        threading.Thread(target=running.serve_forever).start()
        yield running
        Liar.ended.set()
        running.shutdown()


@pytest.mark.parametrize(("trick", "error", "message"), TRICKS)
def test_tricks_of_a_server_end_the_download(
    trick: str, error: type[Exception], message: str, liar: ThreadingHTTPServer, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        fetch(f"http://127.0.0.1:{liar.server_address[1]}/{trick}", HASH, tmp_path)
    assert not (tmp_path / trick).exists()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1 << 20


def test_redirect_does_not_lead_out_of_https(
    liar: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl for a certificate")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificate.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    liar.socket = context.wrap_socket(liar.socket, server_side=True)
    with pytest.raises(DownloadFailedError, match=r"'http://127\.0\.0\.1"):
        fetch(f"https://127.0.0.1:{liar.server_address[1]}/to_plain_http", HASH, tmp_path / "cache")
