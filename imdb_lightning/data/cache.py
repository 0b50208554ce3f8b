"""Prepared data: built once, by one process, found whole or not at all.

All processes that need a folder ask for it by a key that names its content. The first one builds it beside its
final place under a file lock and renames it when it is whole, so that a killed build leaves nothing that could
be taken for data; the others wait and find it.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import platformdirs
from filelock import FileLock

from imdb_lightning.errors import UserError

log = logging.getLogger(__name__)


def cache_folder(chosen: str | None) -> Path:
    """The folder for downloads and prepared data: the chosen one, or the user's cache folder.

    Raises:
        UserError: it cannot be made or written to.
    """
    folder = Path(chosen or platformdirs.user_cache_dir("imdb_lightning"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remedy = "Name another with data.cache_dir or the variable IMDB_LIGHTNING_CACHE."
        raise UserError("data.cache_dir", "a folder that can be made", f"{folder} ({error})", remedy) from error
    return folder


def prepared(cache: Path, key: str, build: Callable[[Path], None]) -> Path:
    """The folder `key` of the cache, built first if it is not there.

    Args:
        cache: the cache folder.
        key: names the content, with all that it depends on.
        build: fills an empty folder.
    """
    folder = cache / key
    if folder.is_dir():
        return folder
    with FileLock(cache / f"{key}.lock"):
        if not folder.is_dir():
            log.info("Preparing %s (once)", folder)
            unfinished = cache / f"{key}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            try:
                build(unfinished)
            except BaseException:
                shutil.rmtree(unfinished)
                raise
            os.rename(unfinished, folder)  # noqa: PTH104 (the atomic call is the point)
    return folder
