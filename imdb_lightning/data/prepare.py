"""From reviews as ids in the order of their words to the bags of a prepared folder."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imdb_lightning.config.data import DataConfig
from imdb_lightning.config.errors import UserError
from imdb_lightning.data.bags import BagsWriter, Ids
from imdb_lightning.data.ngrams import FILE, learn, to_bytes
from imdb_lightning.data.splits import DEVELOPMENT, TEST
from imdb_lightning.data.vocabulary import RARE_ID

# Ids with repetitions int32 `[N]`, in the order of the text, lengths `[R]` and labels `[R]` of 0 and 1.
Chunk = tuple[Ids, NDArray[np.int64], NDArray[np.uint8]]
Chunks = Callable[[], Iterable[Chunk]]
# Reviews whose n-grams are looked for at once: 1,000,000 words of ordinary reviews, 100 MB while it is done.
_REVIEWS = 4096


def write_splits(folder: Path, config: DataConfig, development: Chunks, test: Chunks, validation_size: int) -> None:
    """Writes bags of the two splits, and the n-grams where columns are such.

    In `development` the first `validation_size` reviews are for validation, the next `train_size` or all for training,
    or both are.

    Raises:
        UserError: no training review has a column.
    """
    splits = {DEVELOPMENT: development, TEST: test}
    if not config.learns_columns():
        assert config.num_words is not None
        for name, chunks in splits.items():
            with BagsWriter(folder, name, config.num_words) as writer:
                for chunk in chunks():
                    writer.append(*chunk)
        return
    start = 0 if config.with_validation else validation_size
    stop = None if config.train_size is None else validation_size + config.train_size

    def training() -> Iterator[tuple[Ids, NDArray[np.int64]]]:
        first = 0
        for ids, lengths, _ in _small(development()):
            rows = slice(max(0, start - first), None if stop is None else max(0, stop - first))
            ends = np.concatenate([[0], np.cumsum(lengths)])
            begin, end = ends[:-1][rows], ends[1:][rows]
            if len(begin):
                yield to_words(ids[begin[0] : end[-1]]), lengths[rows]
            first += len(lengths)

    ngrams = learn(training, config.ngrams, config.min_count)
    if not len(ngrams):
        accepted = "a number of training reviews that some word is in"
        raise UserError("data.min_count", accepted, config.min_count, "Lower it.")
    (folder / FILE).write_bytes(to_bytes(ngrams))
    for name, chunks in splits.items():
        with BagsWriter(folder, name, len(ngrams)) as writer:
            for ids, lengths, labels in _small(chunks()):
                writer.append_bags(*ngrams.bags(to_words(ids), lengths), labels)


def columns_key(config: DataConfig) -> str:
    """The part of a prepared folder's name that says what its columns are.

    N-grams are those of the training reviews, so that it matters which these are.
    """
    if not config.learns_columns():
        return str(config.num_words)
    training = getattr(config, "validation_size", None), config.train_size, config.with_validation
    columns = config.num_words, config.ngrams, config.min_count
    return hashlib.sha256(repr(columns + training).encode()).hexdigest()[:16]


def unknown_id(config: DataConfig) -> int:
    """What stands for a word without an id: nothing, but between the words of an n-gram, which it keeps apart."""
    return RARE_ID if config.learns_columns() else 0


def to_words(ids: Ids) -> Ids:
    """Ids as n-grams take them: 0 for what is no word of its own, as the start and rare words.

    Example:
        >>> to_words(np.array([1, 7, 2, 4], "i4"))
        array([0, 7, 0, 4], dtype=int32)
    """
    return np.where(ids > RARE_ID, ids, 0).astype(np.int32)


def _small(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    for ids, lengths, labels in chunks:
        ends = np.concatenate([[0], np.cumsum(lengths)])
        for first in range(0, len(lengths), _REVIEWS):
            last = min(first + _REVIEWS, len(lengths))
            yield ids[ends[first] : ends[last]], lengths[first:last], labels[first:last]
