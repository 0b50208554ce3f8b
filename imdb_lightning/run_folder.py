"""The life of a run's folder: opened with its settings, its log and its status, closed with how the run ended."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from imdb_lightning.config import Config, to_yaml
from imdb_lightning.errors import UserError
from imdb_lightning.results import (
    COMPLETED,
    CONFIG,
    FAILED,
    INTERRUPTED,
    LOG,
    RUNNING,
    STATUS,
    Status,
    now,
    write_json,
    write_text,
)

LOGGERS = {
    "imdb_lightning": logging.DEBUG,
    "pytorch_lightning": logging.WARNING,
    "pytorch_lightning.profilers": logging.INFO,
    "py.warnings": logging.WARNING,
}
"""Whose messages are the run's, and from which level on."""


@contextmanager
def open_run(config: Config, folder: Path, epochs: Callable[[], int]) -> Iterator[None]:
    """Writes `config.yaml`, keeps `train.log` and `status.json` while the body runs.

    Args:
        config: what runs.
        folder: the run's; made if it is not there.
        epochs: tells how many epochs are done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, to_yaml(config))
    status = Status(state=RUNNING, reason="", start=now(), end="", last_epoch=0)
    write_json(folder / STATUS, status)
    with _logging_to(folder / LOG) as log:
        try:
            yield
        except BaseException as error:
            # Lightning turns Ctrl-C into an exit of its own.
            state = FAILED if isinstance(error, Exception) else INTERRUPTED
            reason = describe(error)
            log.debug("The run has %s: %s", state, reason)  # For the file; the terminal gets it from the caller.
            ended = dataclasses.replace(status, state=state, reason=reason, end=now(), last_epoch=epochs())
            write_json(folder / STATUS, ended)
            raise
    write_json(folder / STATUS, dataclasses.replace(status, state=COMPLETED, end=now(), last_epoch=epochs()))


def record_failure(folder: Path, error: BaseException) -> None:
    """Writes the status of a run that could not even be opened."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / STATUS, Status(state=FAILED, reason=describe(error), start=now(), end=now(), last_epoch=0))


def describe(error: BaseException) -> str:
    """An exception in one line."""
    text, kind = " ".join(str(error).split()), type(error).__name__
    if isinstance(error, UserError):
        return text
    return f"{kind}: {text}" if text else kind


@contextmanager
def _logging_to(path: Path) -> Iterator[logging.Logger]:
    """Sends the run's messages to a file, with their times, and to the terminal, without."""
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(_TerminalFormatter("%(message)s"))
    terminal.setLevel(logging.INFO)
    before = {name: (logging.getLogger(name).level, logging.getLogger(name).propagate) for name in LOGGERS}
    logging.captureWarnings(True)
    for name, level in LOGGERS.items():
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.propagate = False
        logger.addHandler(file)
        logger.addHandler(terminal)
    try:
        yield logging.getLogger("imdb_lightning")
    finally:
        logging.captureWarnings(False)
        for name, (level, propagate) in before.items():
            logger = logging.getLogger(name)
            logger.removeHandler(file)
            logger.removeHandler(terminal)
            logger.setLevel(level)
            logger.propagate = propagate
        file.close()


class _TerminalFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"
