"""A run's folder as plain data: which files there are, what they hold, how they are written and read.

Every file is written beside its place and renamed, so that a reader finds it whole or not at all. No torch here:
tables and plots of finished runs are made from these files alone.
"""

import dataclasses
import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.reading import found_instead
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
_RECORD = "JSON as a run writes it"
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
    """Writes a record, which outlasts a power loss; NaN, which JSON lacks, is an error."""
    write_text(path, _to_json(record), lasting=True)


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
