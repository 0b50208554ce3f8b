"""Downloads from a real server on this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from imdb_lightning.config.errors import UserError
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
