"""Generated reviews: repeatable, of any number, and like real ones where it counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imdb_lightning.config.data import SyntheticDataConfig
from imdb_lightning.data.splits import Splits
from imdb_lightning.data.synthetic import EXPONENT, LEANING, SHIFT, WORDS, generate, load_synthetic


def load(cache: Path, **settings: int) -> Splits:
    defaults = {"reviews": 900, "test_size": 300, "validation_size": 400, "num_words": 2000, "seed": 0}
    return load_synthetic(cache, SyntheticDataConfig(**defaults | settings))


def test_sizes_are_as_asked_and_contents_repeat(tmp_path: Path) -> None:
    caches = [tmp_path / name for name in "ab"]
    splits = []
    for cache in caches:
        cache.mkdir()
        splits.append(load(cache))
    first, second = splits
    assert (len(first.train), len(first.validation), len(first.test)) == (500, 400, 300)
    for name in ("train", "validation", "test"):
        ours, theirs = getattr(first, name), getattr(second, name)
        np.testing.assert_array_equal(ours.ids, theirs.ids)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
    assert not np.array_equal(first.test.ids, load(tmp_path / "a", seed=1).test.ids)


def test_words_follow_zipf_and_lengths_the_real_reviews() -> None:
    ids, lengths, labels = generate(5000, 10_000, 0, (0, 0))
    assert lengths.mean() == pytest.approx(238.7, rel=0.05)
    assert np.median(lengths) == pytest.approx(178, rel=0.05)
    assert labels.mean() == pytest.approx(0.5, abs=0.03)
    frequency = np.bincount(ids, minlength=10_000)[4:5000]
    ranks = np.arange(1, len(frequency) + 1)
    slope = np.polyfit(np.log(ranks[50:]), np.log(frequency[50:] + 1), 1)[0]
    assert slope == pytest.approx(-1.2, abs=0.1)


def test_words_are_those_of_a_search_in_the_cumulated_shares() -> None:
    """The same draws, and for each word a binary search over all words, without a table."""
    ids, lengths, labels = generate(700, WORDS + 4, 3, (1, 2))
    rng = np.random.default_rng([3, 1, 2])
    assert (rng.integers(0, 2, 700, dtype=np.uint8) == labels).all()
    rng.random(700)
    positions = rng.random(lengths.sum() - 700)
    leaning = np.random.default_rng(3).normal(0.0, LEANING, WORDS)
    words = np.delete(ids, np.cumsum(lengths) - lengths)
    for label, sign in ((0, -1), (1, 1)):
        share = (np.arange(1, WORDS + 1) + SHIFT) ** -EXPONENT * np.exp(sign * leaning)
        expected = np.searchsorted(np.cumsum(share) / np.cumsum(share)[-1], positions) + 4
        own = np.repeat(labels, lengths - 1) == label
        np.testing.assert_array_equal(words[own], expected[own])


def test_mean_bag_is_as_large_as_a_real_one(tmp_path: Path) -> None:
    test = load(tmp_path, test_size=5000, num_words=10_000).test
    assert len(test.ids) / len(test) == pytest.approx(131.7, rel=0.05)


def test_labels_can_be_learned_from_words(tmp_path: Path) -> None:
    """Naive Bayes, which is the best there is for independent words, must beat chance by far."""
    splits = load(tmp_path, reviews=6000, test_size=1000)
    train, test = splits.train, splits.test
    counts = [np.ones(2000), np.ones(2000)]
    for row, label in enumerate(train.labels):
        counts[label][train.span(row, row + 1)[0]] += 1
    ratio = np.log(counts[1] / counts[1].sum()) - np.log(counts[0] / counts[0].sum())
    guesses = [ratio[test.span(row, row + 1)[0]].sum() > 0 for row in range(len(test))]
    assert 0.7 < np.mean(guesses == test.labels) < 0.99
