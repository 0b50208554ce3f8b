"""The three splits of bags that every source of reviews gives, and where they are from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imdb_lightning.data.bags import Bags, open_bags
from imdb_lightning.data.vocabulary import WordIndex

DEVELOPMENT = "development"
TEST = "test"
"""Names of the two written splits; validation reviews come first in `development`, training reviews follow."""

TextsOf = Callable[[list[int]], "list[str | None]"]
"""Raw texts of rows; None where a text is no longer to be had."""


@dataclass(frozen=True)
class Splits:
    """Reviews, ready to train on.

    Attributes:
        train: what the weights are fitted to.
        validation: what tells when to stop.
        test: what is reported.
        word_index: word to rank; None: raw text cannot be predicted.
        source: names the reviews in results.
        sha256: of the file they are from; None: they were generated.
        prepared: key of the cache's folder that holds them.
        test_texts: gives the raw text of test rows; None if only bags are left.
    """

    train: Bags
    validation: Bags
    test: Bags
    word_index: WordIndex | None
    source: str
    sha256: str | None
    prepared: str
    test_texts: TextsOf | None = None


def stratified_split(
    labels: NDArray[np.uint8], sizes: Sequence[int], rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Rows of parts that have the same share of either label each, in a drawn order.

    Args:
        labels: `[R]` of 0 and 1.
        sizes: of each part but the last, which takes the rest.
        rng: draws the rows.
    """
    parts: list[list[NDArray[np.int64]]] = [[] for _ in range(len(sizes) + 1)]
    for label in (0, 1):
        rows = rng.permutation(np.flatnonzero(labels == label))
        share = len(rows) / max(len(labels), 1)
        cuts = [round(int(size) * share) for size in np.cumsum(sizes)]
        for part, chosen in zip(parts, np.split(rows, cuts), strict=True):
            part.append(chosen)
    return [rng.permutation(np.concatenate(part)) for part in parts]


def open_splits(
    folder: Path,
    validation_size: int,
    train_size: int | None,
    *,
    word_index: WordIndex | None,
    source: str,
    sha256: str | None,
    test_texts: TextsOf | None = None,
) -> Splits:
    """Maps a prepared folder and cuts its development reviews.

    Args:
        folder: holds the written splits `development` and `test`.
        validation_size: the first so many development reviews validate.
        train_size: of the others, the first so many train; None: all.
        word_index: see `Splits`, as for the two others.
        source: see `Splits`.
        sha256: see `Splits`.
        test_texts: see `Splits`.
    """
    development = open_bags(folder, DEVELOPMENT)
    stop = len(development) if train_size is None else min(len(development), validation_size + train_size)
    return Splits(
        train=development.part(validation_size, stop),
        validation=development.part(0, validation_size),
        test=open_bags(folder, TEST),
        word_index=word_index,
        source=source,
        sha256=sha256,
        prepared=folder.name,
        test_texts=test_texts,
    )
