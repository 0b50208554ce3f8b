"""Where a run's messages go: with their times to its `train.log`, without to the terminal."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imdb_lightning.config.errors import explaining
from imdb_lightning.config.shown import shown

# Variable with the number of a job that runs beside others of its sweep: its lines on the terminal begin with that.
JOB = "IMDB_LIGHTNING_JOB"
# Whose messages are the run's, and from which level on.
LOGGERS = {
    "imdb_lightning": logging.DEBUG,
    "pytorch_lightning": logging.WARNING,
    "lightning_fabric": logging.WARNING,
    "pytorch_lightning.profilers": logging.INFO,
    "py.warnings": logging.WARNING,
}


class PlainFormatter(logging.Formatter):
    """Shows what would steer a terminal by its codes, and no secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's lines."""
        return shown(super().format(record))


class _TerminalHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        job = f"#{os.environ[JOB]} " if JOB in os.environ else ""
        try:
            # Looked up each time: while a progress bar is shown, Rich's stream stands there and prints above the bar.
            print(job + level + self.format(record), file=sys.stderr, flush=True)
        except Exception:  # A terminal that has gone must not end the run.
            self.handleError(record)


class _FileHandler(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, logging's own name.
        """Ends the run with one message where the disk takes no more; logging would print a traceback for each line."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        else:
            with explaining(self.baseFilename):
                raise error


@contextmanager
def logging_to(path: Path | None, rank: int) -> Iterator[None]:
    """Sends the messages of `LOGGERS` to the file and the terminal while the body runs.

    None: this is not the first process, and only its warnings go to the terminal.
    """
    handlers: list[logging.Handler] = [_TerminalHandler(logging.INFO if path else logging.WARNING)]
    handlers[0].setFormatter(PlainFormatter(f"rank {rank}: %(message)s" if rank else "%(message)s"))
    if path is not None:
        handlers.append(_FileHandler(path, encoding="utf-8", errors="backslashreplace"))
        handlers[1].setFormatter(PlainFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    before = []
    logging.captureWarnings(True)
    for name, level in LOGGERS.items():
        logger = logging.getLogger(name)
        before.append((logger, logger.level, logger.propagate))
        logger.setLevel(level)
        logger.propagate = False  # Handlers that a caller has at the root would show each message again.
        for handler in handlers:
            logger.addHandler(handler)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger, level, propagate in before:
            logger.setLevel(level)
            logger.propagate = propagate
            for handler in handlers:
                logger.removeHandler(handler)
        for handler in handlers:
            with suppress(OSError):  # Each line has been flushed: what is left could not be, and that has been told.
                handler.close()
