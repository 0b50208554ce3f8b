"""Files written whole or not at all: beside their place, then renamed; and those that outlast a power loss."""

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imdb_lightning.config.disk import to_disk
from imdb_lightning.config.errors import UserError, explaining


@contextmanager
def replacing(path: Path, lasting: bool = False) -> Iterator[Path]:
    """Gives a path to write to, which takes the place of `path` once the body is done; a body that fails leaves none.

    The process number in the name keeps processes apart that write the same file at once. `lasting`: a power loss
    leaves the old file or the new one, too; without, there may be an empty one.

    Raises:
        UserError: the disk is full or fails, or `path` is no place for a file that this user may write.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with explaining(path):
        if not path.parent.is_dir():
            raise UserError(path, "a file in a folder that exists", f"no {path.parent}", "Make it, or name another.")
        if path.exists() and not path.is_file():  # A rename would put the file in the place of a device, as /dev/null.
            raise UserError(path, "the name of a file", "that of something else", "Name another.")
        _remove_abandoned(path)
        try:
            yield unfinished
            if lasting:
                to_disk(unfinished)
            unfinished.replace(path)
        except BaseException:
            with suppress(OSError):  # What has failed already is to be told.
                unfinished.unlink(missing_ok=True)
            raise
        if lasting:
            to_disk(path.parent)


def write_file(path: Path, content: bytes, lasting: bool = False) -> None:
    """Writes a file whole or not at all; `lasting` as in `replacing`."""
    with replacing(path, lasting) as unfinished:
        unfinished.write_bytes(content)


def write_text(path: Path, text: str, lasting: bool = False) -> None:
    """Writes text as UTF-8, whole or not at all; bytes of a file's name that are no text, by their codes."""
    write_file(path, text.encode(errors="backslashreplace"), lasting)


def all_to_disk(folder: Path) -> None:
    """Waits until all that is in or below a folder is on the disk: in one go, where most has got there by itself."""
    for path in (*folder.rglob("*"), folder):
        to_disk(path)


def overwrite(path: Path, text: str) -> None:
    """Writes text of up to 4 KiB over a file of so much, in place: that takes no more room, should the disk be full.

    In one call of the system, and with blanks up to the old length.
    """
    with path.open("r+b", buffering=0) as file:
        file.write(text.encode(errors="backslashreplace").ljust(path.stat().st_size))


def remove_unfinished(folder: Path) -> None:
    """Removes what killed writes have left in a folder; no process may be at work in it."""
    for path in folder.glob(".*.*.*"):  # As in .results.json.4711.
        if path.suffix[1:].isdigit():
            with suppress(FileNotFoundError):
                path.unlink()


def _remove_abandoned(path: Path) -> None:
    """Removes what killed processes of this machine have left of a file, which may be in a folder of the user's own."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if left.suffix[1:].isdigit():
            try:
                os.kill(int(left.suffix[1:]), 0)
            except (ProcessLookupError, OverflowError):
                left.unlink(missing_ok=True)
            except PermissionError:
                pass  # Another user's process.
