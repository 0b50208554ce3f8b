"""Generated reviews of any number: for tests, and for trying how things scale.

Words follow Zipf's law, lengths the real reviews' distribution, and each word leans a little to one label, so
that the networks find something to learn. Generated in chunks: memory does not grow with the number.
"""

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imdb_lightning.config.data import SyntheticDataConfig
from imdb_lightning.data.bags import BagsWriter, Ids, distinct
from imdb_lightning.data.cache import prepared
from imdb_lightning.data.parallel import map_in_order
from imdb_lightning.data.splits import DEVELOPMENT, TEST, Splits
from imdb_lightning.data.vocabulary import START_ID, ids_from_ranks

CHUNK_REVIEWS = 10_000
# Measured on the 25,000 training reviews of IMDB: words in the index, and quantiles of a review's length.
WORDS = 88_584
QUANTILES = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1)
LENGTHS = (10, 43, 65, 92, 129, 177, 290, 466, 609, 925, 2493)
# Zipf's exponent and Mandelbrot's shift, and the standard deviation of the words' leanings: chosen so that bags
# have the real ones' mean size (132 ids) and `shallow_relu_bce` gets close to its accuracy on real reviews.
EXPONENT, SHIFT, LEANING = 1.2, 3.3, 0.14
VERSION = 1
BUCKETS = 2**20  # A power of two: multiplied by it, a float keeps all its bits.


def load_synthetic(cache: Path, config: SyntheticDataConfig) -> Splits:
    """Generates the reviews, or finds them in the cache."""
    reviews, test_size, num_words, seed = config.reviews, config.test_size, config.num_words, config.seed
    assert num_words is not None

    def bags(part: tuple[int, int, int]) -> tuple[Ids, NDArray[np.int64], NDArray[np.uint8]]:
        stream, chunk, size = part
        ids, lengths, labels = generate(size, num_words, seed, (stream, chunk))
        return *distinct(ids, lengths, num_words), labels

    def build(folder: Path) -> None:
        for name, count, stream in ((DEVELOPMENT, reviews, 0), (TEST, test_size, 1)):
            parts = (
                (stream, chunk, min(CHUNK_REVIEWS, count - start))
                for chunk, start in enumerate(range(0, count, CHUNK_REVIEWS))
            )
            with BagsWriter(folder, name, num_words) as writer:
                for ids, counts, labels in map_in_order(bags, parts):
                    writer.append_bags(ids, counts, labels)

    folder = prepared(cache, f"synthetic-v{VERSION}-{reviews}-{test_size}-{num_words}-{seed}", build)
    index = {f"word{rank}": rank for rank in range(1, WORDS + 1)}
    return Splits(
        folder, config.validation_size, config.train_size, source="synthetic", sha256=None, word_index=index,
        with_validation=config.with_validation,
    )  # fmt: skip


def generate(
    count: int, num_words: int, seed: int, stream: tuple[int, int]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.uint8]]:
    """Draws reviews: ids int32 `[N]` in the order of the text, lengths int64 `[count]`, labels uint8 `[count]`."""
    # Each chunk has a generator of its own, so that what is drawn does not depend on the chunks before it.
    rng = np.random.default_rng([seed, *stream])
    labels = rng.integers(0, 2, count, dtype=np.uint8)
    lengths = np.exp(np.interp(rng.random(count), QUANTILES, np.log(LENGTHS))).astype(np.int64)
    label_of_word = np.repeat(labels, lengths)
    positions = rng.random(len(label_of_word))
    cumulated, rank_of_bucket = _rank_tables(seed)
    buckets = (positions * BUCKETS).astype(np.int32) + np.repeat(labels.astype(np.int32) * BUCKETS, lengths)
    ranks = rank_of_bucket[buckets]
    unknown = np.flatnonzero(ranks == 0)
    for label in (0, 1):
        places = unknown[label_of_word[unknown] == label]
        ranks[places] = np.searchsorted(cumulated[label], positions[places]) + 1
    ids = ids_from_ranks(ranks, num_words)
    return np.insert(ids, np.cumsum(lengths) - lengths, START_ID), lengths + 1, labels


@functools.cache
def _rank_tables(seed: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """What finds a word's rank: the words' cumulated shares by label, `[2, WORDS]`, and a table that mostly suffices.

    The table has the rank for each bucket of equal width from 0 to 1 in which no other word begins, one label's
    buckets after the other's, `[2 * BUCKETS]`; else 0. (Chen and Asau, "On generating random variates from an
    empirical distribution", 1974.)
    """
    # How words lean depends on the seed alone: it is the same in all chunks and in both splits.
    leaning = np.random.default_rng(seed).normal(0.0, LEANING, WORDS)
    zipf = (np.arange(1, WORDS + 1) + SHIFT) ** -EXPONENT
    shares = np.array([np.cumsum(zipf * np.exp(sign * leaning)) for sign in (-1, 1)])
    cumulated = shares / shares[:, -1:]
    bounds = np.arange(BUCKETS + 1) / BUCKETS
    found = [np.searchsorted(row, bounds) for row in cumulated]
    ranks = [np.where(row[:-1] == row[1:], row[:-1] + 1, 0) for row in found]
    return cumulated, np.concatenate(ranks).astype(np.int32)
