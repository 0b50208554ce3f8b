"""Which GPU a run of one process takes, so that the jobs of a local sweep take one each.

The holder of a GPU is who holds a lock on a file in the temporary folder, which the system lets go when the process
ends, however it ends.
"""

from __future__ import annotations

import getpass
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def claimed_gpu(available: int) -> Iterator[int]:
    """Claims the first GPU that no other run of this user has, or, when all are taken, shares the first one.

    Args:
        available: GPUs that this process sees.

    Yields:
        The GPU's number, from 0.
    """
    folder = Path(tempfile.gettempdir()) / f"imdb_lightning-gpus-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    for number in range(available):
        lock = FileLock(folder / f"{number}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            continue
        try:
            yield number
        finally:
            lock.release()
        return
    yield 0
