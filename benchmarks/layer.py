"""One step's parts on one core: our gather layer, torch's own backward, and dense rows.

    python benchmarks/layer.py

Uses generated reviews of the real ones' sizes: 512 bags of about 132 of 10,000 words, 16 units.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from imdb_lightning.data.bags import Bags, distinct, multi_hot
from imdb_lightning.data.synthetic import generate
from imdb_lightning.model.multi_hot import MultiHotLinear, transpose

REVIEWS, BATCH, WORDS, UNITS = 15_000, 512, 10_000, 16


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Median time of a call, after two that are not counted."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * median(times[2:])


def main() -> None:
    """Measures and prints the table."""
    torch.set_num_threads(1)
    ids, lengths, labels = generate(REVIEWS, WORDS, 0, (0, 0))
    bag_ids, counts = distinct(ids, lengths, WORDS)
    bags = Bags(bag_ids, np.cumsum(np.concatenate([[0], counts])), labels)
    rows = np.random.default_rng(0).permutation(REVIEWS)[:BATCH]
    batch_ids, batch_offsets = (torch.from_numpy(array) for array in bags.take(rows))
    dense = torch.from_numpy(multi_hot(*bags.take(rows), WORDS))
    upstream = torch.randn(BATCH, UNITS)
    layer = MultiHotLinear(WORDS, UNITS)

    def step(output: torch.Tensor) -> None:
        layer.weight.grad = None
        output.backward(upstream)

    def torchs_own() -> torch.Tensor:
        summed = F.embedding_bag(batch_ids, layer.weight, batch_offsets, mode="sum", include_last_offset=True)
        return summed + layer.bias

    table = Table(title=f"{BATCH} reviews, {len(batch_ids)} ids, {UNITS} units, one core")
    table.add_column("part")
    table.add_column("ms", justify="right")
    for name, work, repeats in (
        ("batch of bags", lambda: bags.take(rows), 300),
        ("transposition of a batch", lambda: transpose(batch_ids, batch_offsets, WORDS), 300),
        ("forward", lambda: layer(batch_ids, batch_offsets), 300),
        ("forward and backward, gather (ours)", lambda: step(layer(batch_ids, batch_offsets)), 300),
        ("forward and backward, torch's own", lambda: step(torchs_own()), 50),
        ("forward and backward, dense rows", lambda: step(layer(dense)), 50),
        ("dense rows of a batch", lambda: multi_hot(*bags.take(rows), WORDS), 50),
    ):
        table.add_row(name, f"{milliseconds(work, repeats):.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
