"""A run's folder as plain data: which files there are, what they hold, how they are written and read.

Every file is written beside its place and renamed, so that a reader finds it whole or not at all. No torch here:
tables and plots of finished runs are made from these files alone.
"""

import csv
import dataclasses
import itertools
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.reading import found_instead, read_text
from imdb_lightning.runs.files import overwrite, write_text
from imdb_lightning.runs.typed import check_types, read_json

CONFIG, STATUS, RESULTS = "config.yaml", "status.json", "results.json"
HISTORY, PREDICTIONS, LOG = "history.csv", "predictions.csv", "train.log"
WEIGHTS, VOCABULARY, CHECKPOINT = "model.safetensors", "vocabulary.json", "checkpoints/last.ckpt"
REFIT = "refit"  # Folder of what `refit` leaves: the files of a run again, but for status, log and lock.
# Folders of TensorBoard events: two of them, since TensorBoard overlays the curves of runs that share a tag.
TRAIN, VALIDATION = "train", "validation"
# A run's states.
RUNNING, COMPLETED, FAILED, INTERRUPTED = "running", "completed", "failed", "interrupted"
# Characters of a reason that fit in a block of the disk, whatever they are.
_SHORT = 500
STATES = (RUNNING, COMPLETED, FAILED, INTERRUPTED)
# Processes of a run, as many as a stranger's results may ask `evaluate` to count through.
_MAX_PROCESSES = 4096
# An epoch's row has some 100 bytes.
_MAX_HISTORY = 1 << 26
_RECORD = "JSON as a run writes it"
_PREDICTED = "row,label,probability"  # Header of `predictions.csv`.
_SCORED: dict[str, Any] = {"loss": float, "accuracy": float}
# What is known of the mappings in `results.json`: types, and the keys that are needed.
_WITHIN: dict[str, tuple[dict[str, Any], set[str]]] = {
    "test": (_SCORED, {"loss", "accuracy"}),
    "validation": (_SCORED, {"loss", "accuracy"}),
    "seconds": ({}, {"start", "total"}),
    "data": (
        {
            "source": str, "sha256": str | None, "prepared": str | None, "num_words": int | None, "width": int,
            "train": int, "validation": int, "test": int, "class_weights": list[float] | None,
            "larger_class": dict[str, float],
        },
        set(),
    ),
    "refit": ({"test": dict[str, float | None], "epochs": int}, {"test", "epochs"}),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Epoch:
    """A row of `history.csv`: mean loss (penalty included) and accuracy of both splits, seconds of both together."""

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Status:
    """`status.json`: how far a run has come."""

    state: str  # `running`, `completed`, `failed` or `interrupted`.
    reason: str  # Why it failed or was interrupted; else empty.
    start: str  # ISO 8601, UTC.
    end: str  # Likewise; empty while it runs.
    last_epoch: int  # Epochs completed.


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """`results.json`: the outcome of a run."""

    name: str
    model: str
    seed: int
    # `loss` (penalty included), `accuracy`, `precision`, `recall`, `f1`, `auroc`; None where the test's labels or the
    # predictions leave it undefined.
    test: dict[str, float | None]
    validation: dict[str, float]  # `loss` and `accuracy` of the weights that were tested.
    epochs: int  # How many were trained.
    best_epoch: int  # The one with the best monitored value, from 1.
    stopped: str  # `early`, `pruned` (it was behind other trials of a search) or `max_epochs`.
    parameters: int  # Trainable numbers.
    world_size: int  # Processes.
    precision: str  # As in `trainer.precision`.
    seconds: dict[str, float]  # `start`, `data`, `fit`, `test`, `report` and `total`.
    # `source`, `sha256`, `prepared` (its folder in the cache), `num_words`, and how many reviews are in `train`,
    # `validation` and `test`.
    data: dict[str, Any]
    provenance: dict[str, str | None]  # `git` commit or null, `python`, `torch`, `lightning`, `command` and `host`.
    refit: dict[str, Any] | None = (
        None  # `test`, as above, and `epochs` of the network in `REFIT`; None: there is none.
    )
    schema: int = 1  # Version of this format.


_Record = TypeVar("_Record", Status, RunResult)


def now() -> str:
    """The time, ISO 8601 to the second, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def write_json(path: Path, record: Status | RunResult) -> None:
    """Writes a record; NaN, which JSON lacks, is an error."""
    write_text(path, _to_json(record))


def write_end(folder: Path, status: Status) -> None:
    """Writes how a run has ended after a failure, as far as the disk lets it: if need be over the old status.

    That one would say for ever that the run is at work.
    """
    try:
        write_json(folder / STATUS, status)
    except (OSError, UserError):
        with suppress(OSError):
            overwrite(folder / STATUS, _to_json(dataclasses.replace(status, reason=status.reason[:_SHORT])))


def _to_json(record: Status | RunResult) -> str:
    return json.dumps(dataclasses.asdict(record), indent=2, allow_nan=False) + "\n"


def read_status(folder: Path) -> Status | None:
    """A run's status; None if the folder has none.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / STATUS
    if not path.exists():
        return None
    remedy = f"Remove {path} and give the run's command again, which writes it anew; or name another run."
    status = _read(path, Status, remedy)
    if status.state not in STATES:
        raise UserError(path, "one of the states " + ", ".join(STATES), repr(status.state)[:100], remedy)
    return status


def read_result(folder: Path) -> RunResult:
    """A finished run's results.

    Raises:
        UserError: the file is missing or damaged.
    """
    path, remedy = folder / RESULTS, how_to_rewrite(folder)
    result = _read(path, RunResult, remedy)
    try:
        for name, (hints, needed) in _WITHIN.items():
            if (content := getattr(result, name)) is not None:
                check_types(content, hints, needed, f"{name}.")
        if result.refit is not None:
            check_types(result.refit["test"], _SCORED, {"loss", "accuracy"}, "refit.test.")
        if not 1 <= result.best_epoch <= result.epochs:
            raise ValueError(f"best_epoch {result.best_epoch} of {result.epochs} epochs")
        if not 1 <= result.world_size <= _MAX_PROCESSES:
            raise ValueError(f"world_size {result.world_size}, which is not from 1 to {_MAX_PROCESSES}")
        weights = result.data.get("class_weights")
        if weights is not None and (len(weights) != 2 or min(weights) <= 0):
            raise ValueError("data.class_weights that are not two numbers above 0")
    except ValueError as error:
        raise UserError(path, _RECORD, found_instead(error), remedy) from error
    return result


def how_to_rewrite(folder: Path) -> str:
    """The remedy for a damaged file of a finished run: without its results, its command tests the weights once more."""
    path = (folder.parent if folder.name == REFIT else folder) / RESULTS
    begin = f"Remove {path} and give" if path.exists() else "Give"
    return f"{begin} the run's command again, which writes all files anew; or name another run."


def _read(path: Path, kind: type[_Record], remedy: str) -> _Record:
    try:
        return read_json(path, kind)
    except (OSError, ValueError) as error:
        raise UserError(path, _RECORD, found_instead(error), remedy) from error


def write_history(folder: Path, history: Sequence[Epoch]) -> None:
    """Writes `history.csv`, all digits."""
    header = ",".join(field.name for field in dataclasses.fields(Epoch))
    rows = [",".join(map(repr, dataclasses.astuple(epoch))) for epoch in history]
    write_text(folder / HISTORY, "\n".join([header, *rows]) + "\n")


def read_history(folder: Path) -> list[Epoch]:
    """Reads back what `write_history` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    path = folder / HISTORY
    try:
        header, *rows = csv.reader(read_text(path, _MAX_HISTORY).splitlines())
        if header != [field.name for field in dataclasses.fields(Epoch)]:
            raise ValueError("another header")
        history = [Epoch(int(epoch), *map(float, numbers)) for epoch, *numbers in rows]
        if [epoch.epoch for epoch in history] != [*range(1, len(history) + 1)] or not history:
            raise ValueError("epochs missing, or in another order")
        if not all(map(math.isfinite, itertools.chain.from_iterable(map(dataclasses.astuple, history)))):
            raise ValueError("a number that is not finite")
    except (OSError, ValueError, TypeError, csv.Error) as error:  # TypeError: a column more or less.
        remedy = how_to_rewrite(folder)
        raise UserError(path, "the history as a run writes it", found_instead(error), remedy) from error
    return history


def write_predictions(folder: Path, labels: NDArray[np.integer[Any]], probabilities: NDArray[np.float32]) -> None:
    """Writes `predictions.csv`: rows from 0 in the test split's order; nine digits give a float32 back exactly."""
    pairs = zip(labels.tolist(), probabilities.tolist(), strict=True)
    rows = [f"{row},{label},{probability:.9g}" for row, (label, probability) in enumerate(pairs)]
    write_text(folder / PREDICTIONS, "\n".join([_PREDICTED, *rows]) + "\n")


def read_predictions(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.float32]] | None:
    """Labels of 0 and 1 and probabilities, both `[R]`, as `write_predictions` wrote them; None without the file.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / PREDICTIONS
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8") as file:
            header, first = file.readline(), file.readline()
            if header.rstrip("\n") != _PREDICTED or not first:
                raise ValueError("another header" if first else "no rows")
            table = np.loadtxt(itertools.chain([first], file), delimiter=",", comments=None, ndmin=2)
        rows, labels, probabilities = table.T
        # Written so that NaN is refused, too.
        if not (np.isin(labels, (0, 1)).all() and ((probabilities >= 0) & (probabilities <= 1)).all()):
            raise ValueError("labels besides 0 and 1, or probabilities besides those from 0 to 1")
        if not np.array_equal(rows, np.arange(len(rows))):
            raise ValueError("rows missing, or in another order")
    except (OSError, ValueError) as error:
        remedy = how_to_rewrite(folder)
        raise UserError(path, "predictions as a run writes them", found_instead(error), remedy) from error
    return labels.astype(np.uint8), probabilities.astype(np.float32)
