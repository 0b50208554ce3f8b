"""Files from the network: checked, resumed, with a progress bar, and quick to give up.

`pooch` keeps the file and checks its hash. Its own downloader starts from zero each time, so this one keeps what has
come in a `.part` file and asks for the rest. Nothing of the server is believed: what it sends too slowly, too long or
from elsewhere ends the download.
"""

import hashlib
import queue
import threading
import time
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from imdb_lightning.config.errors import UserError, explaining

TIMEOUT_SECONDS = (5, 15)  # To connect, and for each read.
CHUNK_BYTES = 1 << 14
STALL_SECONDS = 60.0  # For each chunk, and all that comes before the first: a byte now and then is no download.
TOTAL_SECONDS = 3600.0  # For what is missing; the next try goes on.
MAX_BYTES = 1 << 28  # Of a file; those that are fetched have 17 MB.


class DownloadFailedError(OSError):
    """The network does not give the file, for now."""


def fetch(url: str, known_hash: str, cache: Path) -> Path:
    """The file behind `url`, from the cache or the network; `known_hash` is `algorithm:hex digest`.

    Raises:
        DownloadFailedError: the network does not give it; what has come is kept for the next try.
        UserError: what came is not the file, or the disk is full.
    """
    name, (algorithm, digest) = url.rsplit("/", 1)[-1], known_hash.split(":")
    if (cache / name).exists() and hashlib.new(algorithm, (cache / name).read_bytes()).hexdigest() == digest:
        return cache / name
    import pooch  # These take a while, and most runs find their files at home.
    import requests

    pooch.get_logger().setLevel("WARNING")
    resume = partial(_resume, cache / f"{name}.part")
    try:
        with explaining(cache / name):
            return Path(pooch.retrieve(url, known_hash, fname=name, path=cache, downloader=resume))
    except requests.exceptions.RequestException as error:
        # urllib3 wraps the reason in a message of pools and retries; the reason alone can be read.
        reason = getattr(error.args[0], "reason", error) if error.args else error
        raise DownloadFailedError(f"{url}: {reason}") from error
    except ValueError as error:
        remedy = "Something on the way changes it: fetch it elsewhere and name the copy in data.path."
        raise UserError(url, f"a file with {known_hash}", "another", remedy) from error


def _resume(part: Path, url: str, output_file: str, _pooch: Any) -> None:
    """A downloader for `pooch` that goes on where an earlier one broke off."""
    have = part.stat().st_size if part.exists() else 0
    chunks = _received(url, have)
    code, length = next(chunks)
    if code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
        part.unlink()  # It is of another, shorter file.
        _resume(part, url, output_file, _pooch)
        return
    if code != HTTPStatus.PARTIAL_CONTENT:
        have = 0  # A server that knows no ranges sends all of it again.
    total = None if length is None else have + length
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar, part.open("ab" if have else "wb") as file:
        task = bar.add_task(part.stem, total=total, completed=have)
        for chunk in chunks:
            bar.advance(task, file.write(chunk))
            if (have := have + len(chunk)) > MAX_BYTES:
                part.unlink()
                raise ValueError("too long")
    if total is not None and have < total:
        raise DownloadFailedError(f"{url}: the answer ended after {have} of {total} bytes")
    part.replace(output_file)


def _received(url: str, start: int) -> Iterator[Any]:
    """Gives the answer's status and length, or None where that is not said, then its content from a byte on, in chunks.

    Raises:
        DownloadFailedError: too little comes.
    """
    # Bounded, so that a server sends no more than is wanted; a thread that waits at its end holds nobody up.
    arrived: queue.Queue[Any] = queue.Queue(maxsize=4)
    # No timeout of a socket sees a byte every ten seconds: it begins anew with each.
    threading.Thread(target=_receive, args=(url, start, arrived), daemon=True).start()
    deadline = time.monotonic() + TOTAL_SECONDS
    while True:
        try:
            item = arrived.get(timeout=max(0.0, min(STALL_SECONDS, deadline - time.monotonic())))
        except queue.Empty:
            raise DownloadFailedError(f"{url}: it came too slowly") from None
        if item is None:
            return
        if isinstance(item, Exception):
            raise item
        yield item


def _receive(url: str, start: int, arrived: queue.Queue[Any]) -> None:
    """Puts what `_received` gives into a queue, and at its end None or what went wrong."""
    import requests

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with requests.Session() as session:
            if url.startswith("https:"):
                del session.adapters["http://"]  # Nor does a redirect lead out of https.
            with session.get(url, headers=headers, timeout=TIMEOUT_SECONDS, stream=True) as answer:
                if not (start and answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
                    answer.raise_for_status()
                length = answer.headers.get("Content-Length")
                arrived.put((answer.status_code, None if length is None else int(length)))
                for chunk in answer.iter_content(CHUNK_BYTES):
                    arrived.put(chunk)
        arrived.put(None)
    except Exception as error:  # Raised where the download is waited for.
        arrived.put(error)
