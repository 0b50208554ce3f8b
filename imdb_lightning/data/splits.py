"""The three splits of bags that every source of reviews gives, and where they are from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imdb_lightning.data.bags import Bags, open_bags
from imdb_lightning.data.vocabulary import WordIndex

# Names of the two written splits. Validation reviews come first in `development`, training reviews follow, so that how
# many are trained on does not change what is written.
DEVELOPMENT, TEST = "development", "test"

# Raw texts of rows; None for a text that is no longer available.
TextsOf = Callable[[list[int]], list[str | None]]


@dataclass(frozen=True)
class Splits:
    """Reviews, ready to train on.

    Attributes:
        word_index: word to rank; without it, raw text cannot be predicted.
        source: names the reviews in results.
        sha256: of the file, or of own reviews' digests; None if the reviews were generated.
        prepared: key of the folder of the cache that holds them.
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
    """Rows of parts with the same share of either label (`[R]` of 0 and 1) each, in a drawn order.

    `sizes` are those of all parts but the last, which takes the rest.
    """
    parts: list[list[NDArray[np.int64]]] = [[] for _ in range(len(sizes) + 1)]
    for label in (0, 1):
        rows = rng.permutation(np.flatnonzero(labels == label))
        share = len(rows) / max(len(labels), 1)
        # Rounding the sums of sizes, not the sizes, keeps errors from adding up over the parts.
        cuts = [round(int(size) * share) for size in np.cumsum(sizes)]
        for part, chosen in zip(parts, np.split(rows, cuts), strict=True):
            part.append(chosen)
    return [rng.permutation(np.concatenate(part)) for part in parts]


def open_splits(
    folder: Path,
    validation_size: int,
    train_size: int | None,
    *,
    source: str,
    sha256: str | None,
    word_index: WordIndex | None,
    test_texts: TextsOf | None = None,
) -> Splits:
    """Maps a prepared folder: the first development reviews validate, the next `train_size`, or all others, train.

    `source` and the arguments after it are the fields of `Splits`.
    """
    development, test = open_bags(folder, DEVELOPMENT), open_bags(folder, TEST)
    stop = len(development) if train_size is None else min(len(development), validation_size + train_size)
    train, validation = development.part(validation_size, stop), development.part(0, validation_size)
    return Splits(train, validation, test, word_index, source, sha256, folder.name, test_texts)
