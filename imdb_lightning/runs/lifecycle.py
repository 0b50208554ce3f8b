"""The life of a run's folder: taken up, opened with settings, log and status, closed with how the run ended.

One rule for a folder that is used again: a finished run gives back its results, an unfinished one goes on from its
checkpoint, and a run with other settings is refused. More epochs, and a refit, are no other settings: the run does what
is missing, and ends with the bits of one that had them from the start. Its old results stay until the new ones replace
them; the status says meanwhile that they are not those of the settings. Of several processes only the first one writes.
"""

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from imdb_lightning.config.errors import UserError, explaining
from imdb_lightning.config.schema import Config
from imdb_lightning.config.shown import shown
from imdb_lightning.runs import records
from imdb_lightning.runs.files import all_to_disk, remove_unfinished
from imdb_lightning.runs.log import logging_to
from imdb_lightning.runs.settings import OtherRunError, saved_settings, settings_of, write_settings

LOCK = ".lock"
# How long a killed run's last process may take to be gone, in which it still holds the lock.
_LOCK_SECONDS = 20


def rank() -> int:
    """Which of the run's processes this is, as torchrun says; 0 when it is the only one."""
    # Without torchrun's own variable, RANK is that of another launcher around this process.
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


def is_first(config: Config) -> bool:
    """True in the one process that prints and writes for all: rank 0, and the process on node 0 that started it."""
    return not (config.trainer.node_rank or rank())


def finished_result(config: Config, folder: Path) -> records.RunResult | None:
    """The results of a run that has finished in this folder; None if there is none, or epochs or a refit are left.

    A run that had stopped early has none left however many it may train: with more of them it stops where it did. One
    without its `results.json` is tested once more, and writes all its files anew.

    Raises:
        OtherRunError: the folder is a run's with other settings than fewer epochs or no refit.
    """
    saved, status = saved_settings(config, folder), records.read_status(folder)
    completed = status is not None and status.state == records.COMPLETED
    if saved is None or not completed or not (folder / records.RESULTS).exists():
        return None
    result = records.read_result(folder)
    longer = saved.trainer.max_epochs < config.trainer.max_epochs
    missing = (longer and result.stopped == "max_epochs") or (config.refit and result.refit is None)
    return None if missing else result


@contextmanager
def open_run(config: Config, folder: Path, epochs: Callable[[], int], wait: float = _LOCK_SECONDS) -> Iterator[None]:
    """Writes `config.yaml`, keeps `train.log` and `status.json` while the body runs; `epochs` counts those completed.

    Raises:
        OtherRunError: another process is at work in the folder, and still is after `wait` seconds, or has changed its
            settings.
        UserError: the disk is full or fails, or this user may not write there.
    """
    if not is_first(config):
        with logging_to(None, rank()), explaining(folder):
            yield
        return
    with explaining(folder):
        folder.mkdir(parents=True, exist_ok=True)
        checkpoints = Path(records.CHECKPOINT).parent
        places = (checkpoints, Path(records.REFIT), records.REFIT / checkpoints)
        refuse_links(folder, LOCK, records.LOG, records.TRAIN, records.VALIDATION, *places)
        with locked(folder, wait), logging_to(folder / records.LOG, rank()):
            # Not before the lock is held: another process may be writing there.
            for place in (Path(), *places):
                remove_unfinished(folder / place)
            status = _begin(config, folder)
            try:
                with explaining(folder):
                    yield
                    all_to_disk(folder)  # Before the status says that all is there.
                ended = dataclasses.replace(status, state=records.COMPLETED, end=records.now(), last_epoch=epochs())
                records.write_json(folder / records.STATUS, ended)
            except BaseException as error:
                state, reason = _end_state(error), _reason(error)
                with suppress(UserError):  # Of the log, should that be what has failed.
                    # For the file alone: the caller shows it on the terminal.
                    logging.getLogger("imdb_lightning").debug("The run has %s: %s", state, reason)
                ended = dataclasses.replace(status, state=state, reason=reason, end=records.now(), last_epoch=epochs())
                records.write_end(folder, ended)
                raise


def prepare_ranks(config: Config, folder: Path) -> None:
    """Writes `config.yaml`, from which the ranks read their settings, unless it is there.

    Raises:
        OtherRunError: it would get other settings, and another process is at work in the folder.
    """
    saved = saved_settings(config, folder)
    if saved is None:
        write_settings(config, folder)
    elif settings_of(saved)["trainer"] != settings_of(config)["trainer"] or saved.refit < config.refit:
        with locked(folder):
            _begin(config, folder)


def _begin(config: Config, folder: Path) -> records.Status:
    """Writes status and settings of a run that starts or goes on; its lock is held."""
    saved_settings(config, folder)  # Once more: until the lock was there, another process may have written.
    status = records.Status(state=records.RUNNING, reason="", start=records.now(), end="", last_epoch=0)
    # First, so that results of fewer epochs never stand as completed beside settings of more.
    records.write_json(folder / records.STATUS, status)
    try:
        write_settings(config, folder)
    except UserError as error:
        record_failure(folder, error)
        raise
    return status


def refuse_links(folder: Path, *names: str | Path) -> None:
    """Refuses to write through links in a run's folder: a folder from elsewhere could have them point to any file.

    For files that are appended to and folders; one that is written beside its place and renamed replaces the link.

    Raises:
        UserError: one of the names, relative to the folder, is a link, or a folder in a file's place or the reverse.
    """
    for name in names:
        path = folder / name
        fits = path.is_file() if name in (LOCK, records.LOG) else path.is_dir()
        if path.is_symlink() or (path.exists() and not fits):
            found = "a link" if path.is_symlink() else "something else"
            remedy = f"Remove {path}, or name another folder."
            raise UserError(path, "a file or folder of the run's own", found, remedy)


def record_failure(folder: Path, error: BaseException | str) -> None:
    """Writes the status of a run that could not write it itself, as far as the disk lets it."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    reason, now = shown(error) if isinstance(error, str) else _reason(error), records.now()
    status = records.Status(state=_end_state(error), reason=reason, start=now, end=now, last_epoch=0)
    records.write_end(folder, status)


def record_lost(folder: Path, reason: str) -> None:
    """Marks a run that was killed from outside as failed; no-op if its status is final or its folder is locked."""
    status = records.read_status(folder)
    if status is None or status.state == records.RUNNING:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(OtherRunError), locked(folder):
            record_failure(folder, reason)


def complete_killed(folder: Path) -> None:
    """Completes a run that was killed between its results and its status; only for one whose epochs were never raised.

    Run again, it would only write the same results anew.
    """
    status = records.read_status(folder)
    if status is not None and status.state == records.RUNNING and (folder / records.RESULTS).exists():
        with locked(folder):  # A run that is alive writes its status itself, in a moment.
            status = records.read_status(folder)
            if status is not None and status.state == records.RUNNING:
                epochs = records.read_result(folder).epochs
                ended = dataclasses.replace(status, state=records.COMPLETED, end=records.now(), last_epoch=epochs)
                records.write_json(folder / records.STATUS, ended)


def _end_state(error: BaseException | str) -> str:
    # An Interrupted or a SystemExit is no Exception.
    return records.FAILED if isinstance(error, Exception | str) else records.INTERRUPTED


def _reason(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(shown(str(error)).split())
    alone = getattr(error, "self_explanatory", False)
    return text if alone else f"{type(error).__name__}: {text}".removesuffix(": ")


def locked(folder: Path, seconds: float = _LOCK_SECONDS) -> AbstractContextManager[FileLock]:
    """Holds a folder's lock while the body runs.

    Raises:
        OtherRunError: another process is at work in the folder, and still is after so many seconds.
    """
    try:  # In a with statement, what `acquire` returns releases the lock at the end.
        return FileLock(folder / LOCK, timeout=seconds).acquire()
    except Timeout as error:
        remedy = "Wait for it, or name another folder."
        raise OtherRunError(folder, "a folder that no process is at work in", "one that is in use", remedy) from error
