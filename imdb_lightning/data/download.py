"""Files from the network: checked, resumed, with a progress bar, and quick to give up.

`pooch` keeps the file and checks its hash. Its own downloader starts from zero each time, so this one keeps what has
come in a `.part` file and asks for the rest.
"""

import hashlib
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from imdb_lightning.config.errors import UserError

TIMEOUT_SECONDS = (5, 15)  # To connect, and for each read.
CHUNK_BYTES = 1 << 16


class DownloadFailedError(OSError):
    """The network does not give the file, for now."""


def fetch(url: str, known_hash: str, cache: Path) -> Path:
    """The file behind `url`, from the cache or the network; `known_hash` is `algorithm:hex digest`.

    Raises:
        DownloadFailedError: the network does not give it; what has come is kept for the next try.
        UserError: what came is not the file.
    """
    name, (algorithm, digest) = url.rsplit("/", 1)[-1], known_hash.split(":")
    if (cache / name).exists() and hashlib.new(algorithm, (cache / name).read_bytes()).hexdigest() == digest:
        return cache / name
    import pooch  # These take a while, and most runs find their files at home.
    import requests

    pooch.get_logger().setLevel("WARNING")
    resume = partial(_resume, cache / f"{name}.part")
    try:
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
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(url, headers=headers, timeout=TIMEOUT_SECONDS, stream=True) as answer:
        if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()  # It is of another, shorter file.
            _resume(part, url, output_file, _pooch)
            return
        answer.raise_for_status()
        if answer.status_code != HTTPStatus.PARTIAL_CONTENT:
            have = 0  # A server that knows no ranges sends all of it again.
        length = answer.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        with bar, part.open("ab" if have else "wb") as file:
            task = bar.add_task(part.stem, total=total, completed=have)
            for chunk in answer.iter_content(CHUNK_BYTES):
                bar.advance(task, file.write(chunk))
    part.replace(output_file)
