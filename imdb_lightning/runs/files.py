"""Files written whole or not at all: beside their place, then renamed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def write_file(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def write_text(path: Path, text: str) -> None:
    """Writes text as UTF-8, whole or not at all."""
    write_file(path, text.encode())


def remove_unfinished(folder: Path) -> None:
    """Removes what killed writes have left in a folder; no process may be at work in it."""
    for path in folder.glob(".*.*.*"):  # As in .results.json.4711.
        if path.suffix[1:].isdigit():
            with suppress(FileNotFoundError):
                path.unlink()
