"""The standard streams of a command: of a narrow encoding, closed, full, or left by their reader."""

import errno
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Lasting(io.FileIO):
    """A stream that drops what it cannot write, from the first failure on, which it keeps in `failure`."""

    failure: OSError | None = None

    def write(self, data: object) -> int:
        if self.failure is None:
            try:
                return super().write(data)  # type: ignore[arg-type]
            except OSError as error:
                self.failure = error
        return memoryview(data).nbytes  # type: ignore[arg-type]


def open_streams() -> None:
    """Lets this process print any text, whatever the locale, and replaces streams that are closed by empty ones."""
    # Else the next file that is opened is number 1, and what any library prints goes into it.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
        elif number and isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def outlive_readers() -> None:
    """Lets this process go on where its output cannot be written any more: a run's files hold all that it prints."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            raw = _Lasting(stream.fileno(), "w", closefd=False)
            replaced = io.TextIOWrapper(
                raw if stream.write_through else io.BufferedWriter(raw),  # As Python does for PYTHONUNBUFFERED.
                stream.encoding, "backslashreplace",
                line_buffering=stream.line_buffering, write_through=stream.write_through,
            )  # fmt: skip
            setattr(sys, name, replaced)


@contextmanager
def written_output() -> Iterator[None]:
    """Sees to it that the output of the body was written: what is left in buffers at its end would be lost unnoticed.

    Ends the program quietly where a reader has left, as `head` does, with the status of a SIGPIPE.

    Raises:
        OSError: the disk is full, or the output cannot be written for another reason.
    """
    end = None
    try:
        try:
            yield
        except SystemExit as error:
            end = error
        sys.stdout.flush()
        buffer = getattr(sys.stdout, "buffer", None)
        raw = getattr(buffer, "raw", buffer)
        if isinstance(raw, _Lasting) and raw.failure is not None:
            raise raw.failure
    except OSError as error:
        if error.filename is None:  # Python flushes once more at its end, and would print a traceback.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if error.errno == errno.EPIPE:
                sys.exit(128 + signal.SIGPIPE)
        raise
    if end is not None:
        raise end
