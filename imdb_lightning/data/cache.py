"""Prepared data: built once, by one process, found whole or not at all, and checked each time.

The first process that needs a folder builds it beside its final place under a file lock and renames it when it is
whole, so that a killed build leaves nothing that could be taken for data; the others wait and find it. A manifest in
the folder holds each file's size and the CRC-32 of each of its pieces: a flipped bit in an id or a label would
otherwise train to other numbers without a word.
"""

import json
import logging
import mmap
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from filelock import FileLock
from numpy.typing import NDArray

from imdb_lightning.config.disk import to_disk
from imdb_lightning.config.errors import UserError, explaining
from imdb_lightning.config.reading import why_unreadable
from imdb_lightning.data.bounds import MAX_MANIFEST

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
PIECE_BYTES = 1 << 20
# Files of up to this size are checked whole when their folder is opened, in some 15 ms; of larger ones each piece is
# checked when it is first used, so that no start reads gigabytes.
WHOLE_BYTES = 64 << 20
_INTACT = "prepared reviews as they were written"
_OTHER_CACHE = "Name another with data.cache_dir or the variable IMDB_LIGHTNING_CACHE."


def own_cache() -> Path:
    """The user's own cache folder: what IMDB_LIGHTNING_CACHE names, else the system's place for caches. Not made."""
    named = os.environ.get("IMDB_LIGHTNING_CACHE") or platformdirs.user_cache_dir("imdb_lightning")
    return Path(named).expanduser()


def cache_folder(chosen: str | None) -> Path:
    """The folder for downloads and prepared data, made if need be: the chosen one, or the user's own.

    Raises:
        UserError: it cannot be made.
    """
    folder = Path(chosen).expanduser() if chosen else own_cache()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError("data.cache_dir", "a folder that can be made", f"{folder} ({error})", _OTHER_CACHE) from error
    return folder


def prepared(cache: Path, key: str, build: Callable[[Path], None]) -> Path:
    """The folder `key` of the cache, built first if it is not there, and built again if it is damaged.

    The key names the content, with all that it depends on; `build` fills an empty folder.

    Raises:
        UserError: it is not there or damaged, and the cache cannot be written to, or the disk is full.
    """
    folder, unfinished = cache / key, cache / f"{key}.unfinished"
    if find_damage(folder) is None:
        return folder
    try:
        lock = FileLock(cache / f"{key}.lock").acquire()
    except OSError as error:
        raise UserError("data.cache_dir", "a folder that can be written to", str(error), _OTHER_CACHE) from error
    with lock, explaining(folder):
        # Once more, since another process may have built it while this one waited.
        damage = find_damage(folder)
        if damage is None:
            return folder
        if os.path.lexists(folder):
            log.warning("%s is damaged (%s): building it again", folder, damage)
            _remove(folder)
        log.info("Preparing %s (once)", folder)
        _remove(unfinished)  # Of a build that was killed.
        unfinished.mkdir()
        try:
            build(unfinished)
            manifest = {path.name: [path.stat().st_size, _digests(path)] for path in sorted(unfinished.iterdir())}
            (unfinished / MANIFEST).write_text(json.dumps(manifest))
            for path in (*unfinished.iterdir(), unfinished):  # Else a power loss could leave empty files in it.
                to_disk(path)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        # One call of the system: no other process ever sees half a folder.
        unfinished.rename(folder)
        to_disk(cache)
    return folder


def find_damage(folder: Path) -> str | None:
    """What is wrong with a prepared folder: a file's name, and how it differs; None if nothing is."""
    try:
        manifest = _read_manifest(folder)
        names = {path.name for path in folder.iterdir()} - {MANIFEST}
        for name in sorted(names ^ manifest.keys()):
            return f"{name} is {'missing' if name in manifest else 'not of it'}"
        for name, (size, digests) in manifest.items():
            path = folder / name
            if path.stat().st_size != size:
                return f"{name} has {path.stat().st_size} bytes instead of {size}"
            if size <= WHOLE_BYTES and _digests(path) != digests:
                return f"{name} holds other bytes than were written"
    # A manifest of another form, which may be deep.
    except (OSError, ValueError, TypeError, RecursionError) as error:
        return " ".join(str(error).split())
    return None


class Pieces:
    """A large file of a prepared folder whose pieces are checked when they are first used."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        _, self._digests = _read_manifest(path.parent)[path.name]
        self.path = path
        self.left = len(self._digests)  # Pieces that have not been checked yet.
        self._seen = np.zeros(self.left, bool)
        self._content = content  # The file, mapped.

    def will_need(self, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> None:
        """Has the system read ranges of bytes from the disk, in the background, and from now on nothing around them."""
        # Left alone, it would read up to megabytes around each place that is touched, and throw others out for it.
        self._content.madvise(mmap.MADV_RANDOM)
        if self.left:  # Whole pieces will be read.
            starts, stops = starts // PIECE_BYTES * PIECE_BYTES, -(-stops // PIECE_BYTES) * PIECE_BYTES
        starts = starts // mmap.PAGESIZE * mmap.PAGESIZE
        for start, stop in zip(starts.tolist(), np.minimum(stops, len(self._content)).tolist(), strict=True):
            self._content.madvise(mmap.MADV_WILLNEED, start, stop - start)

    def check(self, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> None:
        """Checks the pieces in which ranges of bytes lie, from `starts` to before `stops`, int64 `[B]`.

        Raises:
            UserError: a piece is damaged; the folder has been removed.
        """
        pieces = len(self._seen)
        # Ranges that begin at or before each piece, less those that end before it: no loop over a batch's reviews.
        begun, ended = starts // PIECE_BYTES, -(-stops // PIECE_BYTES)
        changes = np.bincount(begun, minlength=pieces + 1) - np.bincount(ended, minlength=pieces + 1)
        used = np.cumsum(changes)[:pieces] > 0
        for piece in np.flatnonzero(used & ~self._seen):
            if zlib.crc32(self._content[piece * PIECE_BYTES : (piece + 1) * PIECE_BYTES]) != self._digests[piece]:
                _remove(self.path.parent)
                remedy = "They have been removed: the same command builds them again and goes on."
                raise UserError(self.path, _INTACT, "other bytes", remedy)
            self._seen[piece] = True
            self.left -= 1


def _remove(folder: Path) -> None:
    try:
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
        else:
            folder.unlink()
    except FileNotFoundError:
        pass  # Another process of the run has found the same damage, and removes it, too.
    except OSError as error:
        remedy = "Remove it, or name another cache with data.cache_dir or IMDB_LIGHTNING_CACHE."
        raise UserError(folder, _INTACT, f"damaged ones ({error})", remedy) from error


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if reason := why_unreadable(path):
        raise ValueError(f"{MANIFEST}: {reason}")
    with path.open("rb") as file:
        text = file.read(MAX_MANIFEST).decode()
    manifest = json.loads(text)
    # As it was written, to the byte: the manifest has no digest of its own.
    if not isinstance(manifest, dict) or json.dumps(manifest) != text:
        raise ValueError(f"{MANIFEST} is not as it was written")
    return manifest


def _digests(path: Path) -> list[int]:
    # CRC-32 finds every burst of errors of up to 32 bits; of the 26 MB of IMDB's reviews it takes 6 ms, BLAKE2b 19.
    with path.open("rb") as file:
        return [zlib.crc32(piece) for piece in iter(lambda: file.read(PIECE_BYTES), b"")]
