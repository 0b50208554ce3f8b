"""Files from the network: checked, resumed, with a progress bar, and quick to give up.

`pooch` keeps the file and checks its hash. Its own downloader starts from zero each time, so ours keeps what has
come in a `.part` file and asks for the rest.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from imdb_lightning.config.errors import UserError

CONNECT_SECONDS = 5
READ_SECONDS = 15
CHUNK_BYTES = 1 << 16


class DownloadFailedError(OSError):
    """The network does not give the file, for now."""


def fetch(url: str, known_hash: str, cache: Path) -> Path:
    """The file behind `url`, from the cache or the network.

    Args:
        url: its address; the last part names the file in the cache.
        known_hash: `algorithm:hex digest`.
        cache: the cache folder.

    Raises:
        DownloadFailedError: the network does not give it; what has come is kept for the next try.
        UserError: what came is not the file.
    """
    # Both take a while to import, and most runs find their files at home.
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    name = url.rsplit("/", 1)[-1]
    part = cache / f"{name}.part"
    try:
        return Path(pooch.retrieve(url, known_hash, fname=name, path=cache, downloader=_Resuming(part)))
    except requests.exceptions.RequestException as error:
        # urllib3 packs the reason into the question; the reason alone is what a person can read.
        reason = getattr(error.args[0], "reason", error) if error.args else error
        raise DownloadFailedError(f"{url}: {reason}") from error
    except ValueError as error:
        remedy = "Something on the way changes it: fetch it elsewhere and name the copy in data.path."
        raise UserError(url, f"a file with {known_hash}", "another", remedy) from error


class _Resuming:
    """A downloader for `pooch` that goes on where an earlier one broke off."""

    def __init__(self, part: Path) -> None:
        self.part = part

    def __call__(self, url: str, output_file: str, _pooch: Any) -> None:
        import requests

        have = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        timeout = (CONNECT_SECONDS, READ_SECONDS)
        with requests.get(url, headers=headers, timeout=timeout, stream=True) as answer:
            if answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                self.part.unlink()  # It is of another, shorter file.
                return self(url, output_file, _pooch)
            answer.raise_for_status()
            resumed = answer.status_code == HTTPStatus.PARTIAL_CONTENT
            self._receive(answer, have if resumed else 0)
        self.part.replace(output_file)
        return None

    def _receive(self, answer: Any, have: int) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        length = answer.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        with (
            Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
            self.part.open("ab" if have else "wb") as file,
        ):
            task = progress.add_task(self.part.stem, total=total, completed=have)
            for chunk in answer.iter_content(CHUNK_BYTES):
                progress.advance(task, file.write(chunk))
