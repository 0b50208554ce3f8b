"""Batches: every row once an epoch, the same global batches for any number of processes."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch

from imdb_lightning.data import device_bags
from imdb_lightning.data.bags import Bags, BagsWriter, multi_hot, open_bags
from imdb_lightning.data.sampling import BLOCK_ROWS, MIXED_ROWS, Batch, BatchLoader, EpochOrder

ROWS, WORDS = 53, 200


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> Bags:
    """Row `r` holds the ids `r` and `100 + r`, so that a row is known by its words."""
    folder = tmp_path_factory.mktemp("bags")
    ids = np.stack([np.arange(ROWS), 100 + np.arange(ROWS)], axis=1).astype(np.int32).ravel()
    with BagsWriter(folder, "split", WORDS) as writer:
        writer.append(ids, np.full(ROWS, 2), np.arange(ROWS) % 2)
    return open_bags(folder, "split")


def rows_of(batch: Batch) -> list[int]:
    labels, _, ids, _, _ = batch
    rows = ids.reshape(-1, 2)[:, 0].tolist()
    assert labels.tolist() == [row % 2 for row in rows]
    return rows


def epoch(bags: Bags, order: EpochOrder | None, world_size: int, batch_size: int = 10) -> list[list[int]]:
    """The global batches, put together from all processes' parts."""
    loaders = [BatchLoader(bags, batch_size, WORDS, "sparse", order, rank, world_size) for rank in range(world_size)]
    batches = []
    for parts in zip(*loaders, strict=True):
        batches.append([row for part in parts for row in rows_of(part)])
        assert {part.scale.item() for part in parts} == {np.float32(world_size / len(batches[-1]))}
    assert {len(loader) for loader in loaders} == {len(batches)}
    return batches


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_global_batches_do_not_depend_on_the_number_of_processes(bags: Bags, world_size: int) -> None:
    order = EpochOrder(ROWS, seed=5)
    batches = epoch(bags, order, world_size)
    assert batches == epoch(bags, order, 1)
    assert sorted(row for batch in batches for row in batch) == list(range(ROWS))
    assert [len(batch) for batch in batches] == [10, 10, 10, 10, 10, 3]


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_weights_are_scaled_by_those_of_the_whole_batch(bags: Bags, world_size: int) -> None:
    order = EpochOrder(ROWS, seed=5)
    loaders = [
        BatchLoader(bags, 10, WORDS, "sparse", order, rank, world_size, (0.5, 3.0)) for rank in range(world_size)
    ]
    for parts in zip(*loaders, strict=True):
        for part in parts:
            assert part.weights is not None
            assert part.weights.tolist() == [3.0 if label else 0.5 for label in part.labels.tolist()]
        whole = sum(part.weights.sum().item() for part in parts)
        assert {part.scale.item() for part in parts} == {np.float32(world_size / whole)}


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_neither_drops_nor_repeats_nor_shuffles(bags: Bags, world_size: int) -> None:
    batches = epoch(bags, None, world_size)
    assert [row for batch in batches for row in batch] == list(range(ROWS))


def test_order_is_a_function_of_seed_and_epoch(bags: Bags) -> None:
    def order(seed: int, number: int) -> list[int]:
        chosen = EpochOrder(ROWS, seed)
        chosen.set_epoch(number)
        return [row for batch in epoch(bags, chosen, 1) for row in batch]

    assert order(0, 3) == order(0, 3)
    assert len({tuple(order(seed, number)) for seed in (0, 1) for number in (0, 1)}) == 4


def test_blocks_mix_neighbours_of_few_blocks() -> None:
    rows = 20 * MIXED_ROWS + 300
    order = EpochOrder(rows, seed=1, shuffle="blocks")
    epochs = []
    for number in range(2):
        order.set_epoch(number)
        epochs.append(order.permutation())
        assert sorted(epochs[-1].tolist()) == list(range(rows))
        group = epochs[-1][:MIXED_ROWS]
        # Of the last block, which is a shorter one, rows may have been moved up.
        assert len(set(group // BLOCK_ROWS)) in (MIXED_ROWS / BLOCK_ROWS, MIXED_ROWS / BLOCK_ROWS + 1)
        # Neither in blocks any more, nor the first blocks of all.
        assert np.abs(np.diff(group)).mean() > rows / 5
    assert np.mean(epochs[0] == epochs[1]) < 0.01
    again = EpochOrder(rows, seed=1, shuffle="blocks")
    again.set_epoch(1)
    np.testing.assert_array_equal(again.permutation(), epochs[1])


def test_ten_million_rows_are_ordered_in_100_megabytes() -> None:
    for shuffle in ("rows", "blocks"):
        tracemalloc.start()
        EpochOrder(10_000_000, 0, shuffle).permutation()
        assert tracemalloc.get_traced_memory()[1] < 100e6
        tracemalloc.stop()


def test_iterating_draws_nothing_from_global_generators(bags: Bags) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(BatchLoader(bags, 10, WORDS, "sparse", EpochOrder(ROWS, 0)))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


def test_dense_layout_holds_the_same_rows(bags: Bags) -> None:
    loaders = (BatchLoader(bags, 10, WORDS, layout, EpochOrder(ROWS, 0)) for layout in ("sparse", "dense"))
    for sparse, dense in zip(*loaders, strict=True):
        np.testing.assert_array_equal(dense[2], multi_hot(sparse[2].numpy(), sparse[3].numpy(), WORDS))
        assert torch.equal(dense[0], sparse[0])


# What a GPU does runs on any device.
@pytest.mark.parametrize("at_once", [2, 25, 4_000_000])
@pytest.mark.parametrize("given", [0, 2, 5])
@pytest.mark.parametrize("world_size", [1, 3, 12])
@pytest.mark.parametrize("order", [None, EpochOrder(ROWS - 6, 5), EpochOrder(ROWS - 6, 5, "blocks")])
@pytest.mark.parametrize("class_weights", [None, (0.5, 3.0)])
def test_a_device_makes_the_same_batches(
    bags: Bags, monkeypatch: pytest.MonkeyPatch, at_once: int, given: int, world_size: int, order: EpochOrder | None,
    class_weights: tuple[float, float] | None,
) -> None:  # fmt: skip
    monkeypatch.setattr(device_bags, "_IDS_AT_ONCE", at_once)
    part = bags.part(4, ROWS - 2)
    copy = device_bags.DeviceBags(part, torch.device("cpu"))
    for rank in range(world_size):
        settings = (part, 10, WORDS, "sparse", order, rank, world_size, class_weights)
        loaders = BatchLoader(*settings), BatchLoader(*settings, copy)
        for loader in loaders:
            loader.load_state_dict({"given": given})
        for expected, found in zip(*loaders, strict=True):
            for one, other in zip(expected, found, strict=True):
                assert (one is None) == (other is None)
                assert one is None or (one.dtype == other.dtype and torch.equal(one, other))
