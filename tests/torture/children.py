"""Each case in a child that is forked from this process, which has imported what is tried: milliseconds a case.

What a case does to its process ends with it: a crash, a limit on memory that was reached, threads that hang.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from imdb_lightning.config.errors import UserError

SECONDS = 30
"""A case that takes longer hangs."""
MEMORY = 2 << 30
"""Bytes of address space that a case may add to those of this process."""
RESIDENT = 1 << 30
"""Bytes of memory that a case may add."""
MESSAGE = 10_000
"""Characters of a message."""


class Outcome(NamedTuple):
    """How a case ended."""

    read: bool = False  # Without an error.
    message: str = ""  # Of the error that the user sees.
    traceback: str = ""  # The last lines of another one.
    lost: str = ""  # A crash, a hang, or a limit that was not kept.


def in_child(case: Callable[[], object]) -> Outcome:
    """Runs a case, with limits on its time and memory."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(case, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        kind, _, text = pipe.read().decode(errors="replace").partition(" ")
    _, status, usage = os.wait4(child, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return Outcome(lost=f"more than {SECONDS} s" if name == "SIGALRM" else name)
    # What this process holds counts for the child, too.
    grown = 1024 * (usage.ru_maxrss - resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    if grown > RESIDENT:
        return Outcome(lost=f"{grown >> 20:,} MiB")
    if kind == "refused":
        return Outcome(message=text, lost=f"a message of {len(text):,} characters" if len(text) > MESSAGE else "")
    return Outcome(read=True) if kind == "read" else Outcome(traceback=text or f"status {status}")


def _answer(case: Callable[[], object], pipe: int) -> None:
    try:
        signal.alarm(SECONDS)
        with open("/proc/self/statm") as file:  # noqa: PTH123
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        case()
        text = "read "
    except UserError as error:
        text = f"refused {error}"
    except BaseException:
        text = f"traceback {' | '.join(traceback.format_exc().splitlines()[-3:])}"
    with suppress(BaseException):
        os.write(pipe, text.encode(errors="replace")[: 1 << 15])
    sys.stdout, sys.stderr = None, None  # type: ignore[assignment]  # Nothing of the parent's is flushed twice.
    os._exit(0)
