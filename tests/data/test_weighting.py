"""What columns count, against loops over reviews."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from imdb_lightning.data.bags import Bags, BagsWriter, open_bags
from imdb_lightning.data.weighting import column_factors

ORDERS = (6, 0, 5)


@pytest.fixture
def bags(tmp_path: Path) -> Bags:
    rng = np.random.default_rng(0)
    reviews = [sorted(set(rng.integers(0, 10, rng.integers(0, 6)).tolist())) for _ in range(40)]
    with BagsWriter(tmp_path, "split", sum(ORDERS)) as writer:
        ids = np.array([i for review in reviews for i in review], np.int32)
        writer.append(ids, np.array([len(review) for review in reviews]), rng.integers(0, 2, 40))
    return open_bags(tmp_path, "split").part(5, 38)


def reviews_of(bags: Bags) -> list[tuple[int, set[int]]]:
    return [(int(bags.labels[row]), set(bags.span(row, row + 1)[0].tolist())) for row in range(len(bags))]


def test_naive_bayes_is_the_log_ratio_of_shares_within_an_order(bags: Bags, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, first = [], 0
    for size in ORDERS:
        columns = range(first, first + size)
        shares = []
        for label in (1, 0):
            counts = [1 + sum(column in bag for of, bag in reviews_of(bags) if of == label) for column in columns]
            shares.append([count / sum(counts) for count in counts])
        expected += [math.log(p / q) for p, q in zip(*shares, strict=True)]
        first += size
    for at_once in (4_000_000, 7):
        monkeypatch.setattr("imdb_lightning.data.weighting._IDS", at_once)
        found = column_factors("naive_bayes", bags, ORDERS)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_tfidf_is_scikit_learns_smooth_idf(bags: Bags) -> None:
    found = column_factors("tfidf", bags, ORDERS)
    for column in range(sum(ORDERS)):
        count = sum(column in bag for _, bag in reviews_of(bags))
        assert found[column] == pytest.approx(1 + math.log((1 + len(bags)) / (1 + count)), rel=1e-6)
