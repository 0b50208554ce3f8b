"""The three splits of bags that every source of reviews gives, and where they are from."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imdb_lightning.data.bags import open_bags
from imdb_lightning.data.ngrams import FILE, load_ngrams
from imdb_lightning.data.vocabulary import WordIndex

# Names of the two written splits. Validation reviews come first in `development`, training reviews follow, so that how
# many are trained on does not change what is written.
DEVELOPMENT, TEST = "development", "test"

Rows = NDArray[np.int64]
# Raw texts of rows; None for a text that is no longer available.
TextsOf = Callable[[list[int]], list[str | None]]


class Splits:
    """Reviews of a prepared folder, ready to train on.

    The first `validation_size` development reviews are for validation, the next `train_size`, or all, for training;
    `with_validation`: both for training.

    Attributes:
        source: names the reviews in results.
        sha256: of the file, or of own reviews' digests; None if the reviews were generated.
        prepared: key of the folder of the cache that holds them.
        word_index: word to rank; without it, raw text cannot be predicted.
        test_texts: gives the raw text of test rows; None if only bags are left.
        labels: of the negative and the positive class, as named or found in own files; else None.
        ngrams: what the columns are; None: they are ids of words.
    """

    def __init__(
        self, folder: Path, validation_size: int, train_size: int | None, *, source: str, sha256: str | None,
        word_index: WordIndex | None, test_texts: TextsOf | None = None, labels: list[str] | None = None,
        with_validation: bool = False,
    ) -> None:  # fmt: skip
        development = open_bags(folder, DEVELOPMENT)
        stop = len(development) if train_size is None else min(len(development), validation_size + train_size)
        self.train = development.part(0 if with_validation else validation_size, stop)
        self.validation = development.part(0, validation_size)
        self.test = open_bags(folder, TEST)
        self.source, self.sha256, self.prepared = source, sha256, folder.name
        self.word_index, self.test_texts = word_index, test_texts
        self.labels = labels
        self.ngrams = load_ngrams(folder) if (folder / FILE).exists() else None

    def width(self, num_words: int | None) -> int:
        """Columns of the multi-hot input; `num_words` is that of the settings."""
        if self.ngrams is not None:
            return len(self.ngrams)
        assert num_words is not None
        return num_words


def stratified_split(labels: NDArray[np.uint8], sizes: Sequence[int], rng: np.random.Generator) -> list[Rows]:
    """Rows of parts with the same share of either label (`[R]` of 0 and 1) each, in a drawn order.

    `sizes` are those of all parts but the last, which takes the rest.
    """
    parts_by_label = []
    for label in (0, 1):
        rows = rng.permutation(np.flatnonzero(labels == label))
        share = len(rows) / max(len(labels), 1)
        # Rounding the sums of sizes, not the sizes, keeps errors from adding up over the parts.
        cuts = [round(int(size) * share) for size in np.cumsum(sizes)]
        parts_by_label.append(np.split(rows, cuts))
    return [rng.permutation(np.concatenate(both)) for both in zip(*parts_by_label, strict=True)]
