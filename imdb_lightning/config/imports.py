"""The first import of large libraries, a fifth faster without Python's garbage collector."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def large_imports() -> Iterator[None]:
    """Around imports that make millions of objects which stay: none is collected, nor looked through later.

    The collector would visit all of them again and again while they are made: 3.9 to 4.8 s for all of Lightning, 3.2
    to 3.6 s without it. Later it would do so in each full collection (`gc.freeze`, documentation of Python), which
    took 0.25 s of writing a vocabulary. In a process that imports them a second time, there is nothing to be done.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # Only once: what a sweep's job has left since then is to be collected.
        if gc.get_freeze_count() == 0:
            gc.freeze()
        if enabled:
            gc.enable()
