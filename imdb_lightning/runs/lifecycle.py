"""The life of a run's folder: taken up, opened with settings, log and status, closed with how the run ended.

One rule for a folder that is used again: a finished run gives back its results, an unfinished one goes on from its
checkpoint, and a run with other settings is refused. Of several processes only the first one writes.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.file import load_config
from imdb_lightning.config.schema import Config, flatten
from imdb_lightning.runs.files import remove_unfinished, write_text
from imdb_lightning.runs.log import logging_to
from imdb_lightning.runs.records import (
    CHECKPOINT,
    COMPLETED,
    CONFIG,
    FAILED,
    INTERRUPTED,
    LOG,
    RUNNING,
    STATUS,
    TRAIN,
    VALIDATION,
    RunResult,
    Status,
    now,
    read_result,
    read_status,
    write_json,
)
from imdb_lightning.runs.signals import Interrupted

_ABSENT = object()
LOCK = ".lock"
LOCK_SECONDS = 20
"""How long to wait for a killed run's last process to be gone."""


class OtherRunError(UserError):
    """A folder belongs to a run with other settings, or is in use: nothing in it may be changed."""


def rank() -> int:
    """Which of the run's processes this is, as torchrun says; 0 when it is the only one."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


def is_first(config: Config) -> bool:
    """True in the one process that prints and writes for all: rank 0, and the process on node 0 that started it."""
    return not (config.trainer.node_rank or rank())


def finished_result(config: Config, folder: Path) -> RunResult | None:
    """The results of a run that has finished in this folder; None if there is none, or it is unfinished.

    Raises:
        OtherRunError: the folder is a run's with other settings.
    """
    before = folder / CONFIG
    if not before.is_file():
        return None
    # Through the schema, so that a run from before a setting was there has its default.
    saved, wanted = flatten(_settings(load_config(before))), flatten(_settings(config))
    differing = [key for key in saved.keys() | wanted.keys() if saved.get(key, _ABSENT) != wanted.get(key, _ABSENT)]
    if differing:
        raise OtherRunError(
            folder, "a new folder, or the settings of the run in it", "other values of " + ", ".join(sorted(differing)),
            "Name another hydra.run.dir or hydra.sweep.dir.",
        )  # fmt: skip
    status = read_status(folder)
    return read_result(folder) if status is not None and status.state == COMPLETED else None


@contextmanager
def open_run(config: Config, folder: Path, epochs: Callable[[], int]) -> Iterator[None]:
    """Writes `config.yaml`, keeps `train.log` and `status.json` while the body runs.

    Args:
        config: what runs.
        folder: the run's; made if it is not there.
        epochs: tells how many epochs are done.

    Raises:
        OtherRunError: another process is at work in the folder.
    """
    if not is_first(config):
        with logging_to(None, rank()):
            yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    refuse_links(folder, LOCK, LOG, TRAIN, VALIDATION, Path(CHECKPOINT).parent)
    with _locked(folder):
        for written in (folder, (folder / CHECKPOINT).parent):
            remove_unfinished(written)
        write_settings(config, folder)
        status = Status(state=RUNNING, reason="", start=now(), end="", last_epoch=0)
        write_json(folder / STATUS, status)
        with logging_to(folder / LOG, rank()):
            try:
                yield
            except BaseException as error:
                state = FAILED if isinstance(error, Exception) else INTERRUPTED
                reason = describe(error)
                log = logging.getLogger("imdb_lightning")
                log.debug("The run has %s: %s", state, reason)  # For the file; the terminal gets it from the caller.
                ended = dataclasses.replace(status, state=state, reason=reason, end=now(), last_epoch=epochs())
                write_json(folder / STATUS, ended)
                raise
        write_json(folder / STATUS, dataclasses.replace(status, state=COMPLETED, end=now(), last_epoch=epochs()))


def refuse_links(folder: Path, *names: str | Path) -> None:
    """Refuses to write through links in a run's folder: a folder from elsewhere could have them point to any file.

    Files that are written beside their place and renamed need no check: the new file takes the link's place.

    Args:
        folder: the run's.
        names: of files that are appended to and of folders that are written to, relative to the folder.

    Raises:
        UserError: one is a link.
    """
    for name in names:
        if (folder / name).is_symlink():
            accepted, remedy = "a file or folder of the run's own", "Remove the link, or name another folder."
            raise UserError(folder / name, accepted, "a link", remedy)


def write_settings(config: Config, folder: Path) -> None:
    """Writes `config.yaml`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, OmegaConf.to_yaml(OmegaConf.create(_settings(config))))


def record_failure(folder: Path, error: BaseException | str) -> None:
    """Writes the status of a run that could not write it itself."""
    folder.mkdir(parents=True, exist_ok=True)
    reason = error if isinstance(error, str) else describe(error)
    write_json(folder / STATUS, Status(state=FAILED, reason=reason, start=now(), end=now(), last_epoch=0))


def record_lost(folder: Path, reason: str) -> None:
    """Marks a run that was killed from outside as failed; no-op if its status is final or its folder is locked."""
    status = read_status(folder)
    if status is None or status.state == RUNNING:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(OtherRunError), _locked(folder):
            record_failure(folder, reason)


def describe(error: BaseException) -> str:
    """An exception in one line."""
    text, kind = " ".join(str(error).split()), type(error).__name__
    if isinstance(error, UserError | Interrupted):
        return text
    return f"{kind}: {text}" if text else kind


def _settings(config: Config) -> dict[str, object]:
    """What makes a run what it is: all but which of several machines this one is."""
    settings = dataclasses.asdict(config)
    settings["trainer"] |= {"node_rank": None, "rendezvous": None}
    return settings


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / LOCK, timeout=LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        remedy = "Wait for it, or name another folder."
        raise OtherRunError(folder, "a folder that no process is at work in", "one that is in use", remedy) from error
    try:
        yield
    finally:
        lock.release()
