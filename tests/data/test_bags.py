"""Bags against dense multi-hot rows."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest

from imdb_lightning.data.bags import CHUNK_IDS, Bags, BagsWriter, distinct, multi_hot, open_bags
from imdb_lightning.data.cache import PIECE_BYTES, Pieces, prepared
from tests import oracle


def random_reviews(count: int, num_words: int, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    reviews = [rng.integers(0, num_words, rng.integers(0, 60)).tolist() for _ in range(count)]
    reviews[0] = []
    reviews[1] = [num_words - 1] * 5
    return reviews


def flat(reviews: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([i for review in reviews for i in review], np.int32), np.array([len(review) for review in reviews])


@pytest.mark.parametrize("num_words", [7, 300, 70_000])
def test_distinct_ids_are_those_of_multi_hot_rows(num_words: int) -> None:
    reviews = random_reviews(40, num_words)
    ids, counts = distinct(*flat(reviews), num_words)
    expected_ids, expected_offsets = oracle.bags_of(oracle.multi_hot(reviews, num_words))
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(np.cumsum([0, *counts]), expected_offsets)


def test_keys_wider_than_32_bits_are_right() -> None:
    lengths = np.ones(100_000, np.int64)
    ids = (np.arange(100_000) % 60_000).astype(np.int32)
    kept, counts = distinct(ids, lengths, 60_000)
    np.testing.assert_array_equal(kept, ids)
    np.testing.assert_array_equal(counts, lengths)


def test_written_bags_are_read_back_whatever_the_chunks(tmp_path: Path) -> None:
    reviews = random_reviews(90, 300)
    labels = np.arange(90) % 2
    with BagsWriter(tmp_path, "split", 300) as writer:
        for start, stop in ((0, 1), (1, 50), (50, 50), (50, 90)):
            writer.append(*flat(reviews[start:stop]), labels[start:stop])
    bags = open_bags(tmp_path, "split")
    expected_ids, expected_offsets = oracle.bags_of(oracle.multi_hot(reviews, 300))
    np.testing.assert_array_equal(bags.ids, expected_ids)
    np.testing.assert_array_equal(bags.offsets, expected_offsets)
    np.testing.assert_array_equal(bags.labels, labels)
    np.testing.assert_array_equal(np.load(tmp_path / "split_ids.npy"), expected_ids)
    assert (bags.ids.dtype, bags.offsets.dtype, bags.labels.dtype) == (np.int32, np.int64, np.uint8)


def test_more_ids_than_a_chunk_holds_lose_nothing(tmp_path: Path) -> None:
    length = CHUNK_IDS // 2 + 1  # Two reviews do not fit into one chunk.
    ids = np.arange(3 * length, dtype=np.int32) % 1000
    with BagsWriter(tmp_path, "split", 1000) as writer:
        writer.append(ids, np.full(3, length), np.array([1, 0, 1]))
    bags = open_bags(tmp_path, "split")
    np.testing.assert_array_equal(bags.ids, np.tile(np.arange(1000), 3))
    np.testing.assert_array_equal(bags.offsets, [0, 1000, 2000, 3000])


def test_batches_hold_the_chosen_rows(tmp_path: Path) -> None:
    reviews = random_reviews(30, 100)
    with BagsWriter(tmp_path, "split", 100) as writer:
        writer.append(*flat(reviews), np.zeros(30))
    bags = open_bags(tmp_path, "split")
    dense = oracle.multi_hot(reviews, 100)
    rows = np.array([29, 0, 1, 5, 5, 17])
    np.testing.assert_array_equal(multi_hot(*bags.take(rows), 100), dense[rows])
    np.testing.assert_array_equal(multi_hot(*bags.span(4, 9), 100), dense[4:9])
    np.testing.assert_array_equal(multi_hot(*bags.part(10, 30).take(np.array([3, 0])), 100), dense[[13, 10]])
    assert multi_hot(*bags.take(np.array([], int)), 100).shape == (0, 100)
    # More than are copied at once, and many of them empty.
    many = np.random.default_rng(1).choice([0, 0, 0, 7, 29], 1200)
    np.testing.assert_array_equal(multi_hot(*bags.take(many), 100), dense[many])


def test_open_maps_share_memory_with_parts(tmp_path: Path) -> None:
    with BagsWriter(tmp_path, "split", 100) as writer:
        writer.append(*flat(random_reviews(30, 100)), np.zeros(30))
    bags = open_bags(tmp_path, "split")
    assert np.shares_memory(bags.ids, bags.part(3, 9).ids)
    assert np.shares_memory(bags.ids, bags.span(3, 9)[0])


class Asked(mmap.mmap):
    """A map that notes which ranges of bytes are to be read."""

    ranges: list[tuple[int, int]]

    def madvise(self, option: int, start: int = 0, length: int | None = None) -> None:
        super().madvise(option, start, *[] if length is None else [length])
        if option == mmap.MADV_WILLNEED:
            assert length is not None
            self.ranges.append((start, start + length))


def test_rows_that_will_be_needed_are_read_and_little_else(tmp_path: Path) -> None:
    rows, size = 40_000, 100

    def build(folder: Path) -> None:
        with BagsWriter(folder, "split", size) as writer:
            writer.append(np.tile(np.arange(size, dtype=np.int32), rows), np.full(rows, size), np.zeros(rows))

    folder = prepared(tmp_path, "key", build)
    path = folder / "split_ids.npy"
    with path.open("rb") as file:
        content = Asked(file.fileno(), 0, access=mmap.ACCESS_READ)
    opened = open_bags(folder, "split")
    bags = Bags(opened.ids, opened.offsets, opened.labels, Pieces(path, content)).part(100, rows)
    blocks = [np.arange(start, start + 256) for start in (20_000, 500, 756, rows - 100 - 256)]
    wanted = np.random.default_rng(0).permutation(np.concatenate(blocks))
    header = path.stat().st_size - 4 * rows * size
    # Neighbouring blocks are one range.
    exact = [(header + 400 * (100 + first), header + 400 * (100 + last)) for first, last in (
        (500, 1012), (20_000, 20_256), (rows - 356, rows - 100))]  # fmt: skip
    for unit in (PIECE_BYTES, mmap.PAGESIZE):  # Whole pieces, until all have been checked.
        content.ranges = []
        bags.will_need(wanted)
        end = path.stat().st_size
        expected = [(start // unit * unit, stop if unit == mmap.PAGESIZE else min(-(-stop // unit) * unit, end))
                    for start, stop in exact]  # fmt: skip
        assert content.ranges == expected
        bags.span(0, len(bags))
        Bags(opened.ids, opened.offsets, opened.labels, bags.pieces).span(0, rows)


@pytest.mark.parametrize(
    ("ids", "lengths", "labels", "message"),
    [
        ([1, 10], [2], [1], "ids are columns"), ([-1, 2], [2], [1], "ids are columns"),
        ([1, 2], [2], [2], "labels are 0 or 1"), ([1, 2], [2], [-1], "labels are 0 or 1"),
        ([1, 2], [1], [1], "lengths add up"), ([1, 2], [1, 1], [1], "a label for each review"),
    ],
)  # fmt: skip
def test_writer_takes_no_wrong_numbers(
    ids: list[int], lengths: list[int], labels: list[int], message: str, tmp_path: Path
) -> None:
    """Whatever the source: they would move words into other reviews."""
    with BagsWriter(tmp_path, "split", 10) as writer, pytest.raises(AssertionError, match=message):
        writer.append(np.array(ids, np.int32), np.array(lengths), np.array(labels))
