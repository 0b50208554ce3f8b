"""Files written whole or not at all: beside their place, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path to write to, which takes the place of `path` once the body is done; a body that fails leaves none.

    The process number in the name keeps processes apart that write the same file at once.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_file(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Writes text as UTF-8, whole or not at all; bytes of a file's name that are no text, by their codes."""
    write_file(path, text.encode(errors="backslashreplace"))


def remove_unfinished(folder: Path) -> None:
    """Removes what killed writes have left in a folder; no process may be at work in it."""
    for path in folder.glob(".*.*.*"):  # As in .results.json.4711.
        if path.suffix[1:].isdigit():
            with suppress(FileNotFoundError):
                path.unlink()
