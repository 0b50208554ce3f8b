"""A run's tables: the epochs in `history.csv`, the test reviews in `predictions.csv`."""

import csv
import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.reading import found_instead, read_text
from imdb_lightning.runs.files import write_text
from imdb_lightning.runs.records import HISTORY, PREDICTIONS, Epoch, how_to_rewrite

# An epoch's row has some 100 bytes.
_MAX_HISTORY = 1 << 26
_PREDICTED = "row,label,probability"  # Header of `predictions.csv`.


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
