"""What a second process gains, what `trainer.shards` costs, and what joining the gradients of two costs.

    python benchmarks/processes.py

Whole commands with one process and with two in turn, one thread each: synthetic reviews, `shallow_relu_bce`, batches of
8,192 and of 512. Then two networks with `trainer.shards=12`, beside one process without it. Then, in two processes
alone: an all-reduce of the first layer's gradient as it is, and of those rows only whose words are in the global batch
(each process tells the other which words it has, both add up the rows of all of these, the rest stays zero). Medians.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from training import run

from imdb_lightning.config.data import SyntheticDataConfig
from imdb_lightning.data.sources import load_reviews

HELD_OUT, UNITS, REPEATS = 10_000, 16, 30


def settings(reviews: int, words: int, batch_size: int) -> list[str]:
    """Of a run on so many training reviews."""
    return [
        "data=synthetic", f"data.reviews={reviews + HELD_OUT}", f"data.validation_size={HELD_OUT}",
        f"data.test_size={HELD_OUT}", f"data.batch_size={batch_size}", f"data.num_words={words}",
        "trainer.max_epochs=4",
    ]  # fmt: skip


def seconds_of(ways: dict[str, list[str]], runs: int, scipy: str) -> list[float]:
    """The median epoch of each way to run, all ways in turn."""
    epochs: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(runs):
        for way, arguments in ways.items():
            epochs[way] += run(arguments, scipy)[0]
    return [median(seconds) for seconds in epochs.values()]


def milliseconds(act: Callable[[], object]) -> float:
    """The median of an act that both processes do together."""
    times = []
    for _ in range(REPEATS):
        dist.barrier()
        begin = time.perf_counter()
        act()
        times.append(1e3 * (time.perf_counter() - begin))
    return median(times)


def join_gradients(rank: int, store: str, reviews: int, words: int, batch_size: int) -> None:
    """One of two processes; the first one prints a row."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    config = SyntheticDataConfig(
        reviews=reviews + HELD_OUT, validation_size=HELD_OUT, test_size=HELD_OUT, num_words=words,
        cache_dir=os.environ["IMDB_LIGHTNING_CACHE"],
    )  # fmt: skip
    half = batch_size // 2
    ids, _ = load_reviews(config).train.take(np.arange(rank * half, (rank + 1) * half))
    gradient = torch.zeros(words, UNITS)
    gradient[torch.from_numpy(ids).long()] = torch.rand(len(ids), UNITS)

    def rows_only(joined: torch.Tensor) -> int:
        has = torch.zeros(words, dtype=torch.uint8)
        has[torch.from_numpy(ids).long()] = 1
        dist.all_reduce(has, dist.ReduceOp.MAX)
        rows = has.nonzero().squeeze(1)
        part = joined[rows]
        dist.all_reduce(part)
        joined[rows] = part
        return len(rows)

    whole, some = gradient.clone(), gradient.clone()
    dist.all_reduce(whole)
    count = rows_only(some)
    assert torch.equal(whole, some), "the same sums"
    dense = milliseconds(lambda: dist.all_reduce(gradient.clone()))
    sparse = milliseconds(lambda: rows_only(gradient.clone()))
    if rank == 0:
        print(f"| {batch_size:,}, {words:,} | {count / words:.0%} | {dense:.1f} | {sparse:.1f} |", flush=True)
    dist.destroy_process_group()


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scipy", default="", help="folder that holds SciPy and nothing else")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    work = [(300_000, words, batch_size) for batch_size in (8192, 512) for words in (10_000, 100_000)]
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("IMDB_LIGHTNING_CACHE", folder)
        print("| batch, words | one process, epoch s | two | times faster |\n|---|---:|---:|---:|")
        for each in work:
            run(settings(*each))  # Prepares the reviews.
            ways = {trainer: [*settings(*each), f"trainer={trainer}"] for trainer in ("cpu", "ddp_cpu")}
            one, two = seconds_of(ways, arguments.runs, arguments.scipy)
            print(f"| {each[2]:,}, {each[1]:,} | {one:.3f} | {two:.3f} | {one / two:.2f} |", flush=True)
        print("\n| network, batch | one process, epoch s | with shards | two with shards |\n|---|---:|---:|---:|")
        for batch_size in (8192, 512):
            for network in ("shallow_relu_bce", "regularized_relu_bce"):
                plain = [*settings(300_000, 10_000, batch_size), f"model={network}"]
                sharded = [*plain, "trainer.shards=12"]
                ways = {"plain": plain, "one": sharded, "two": [*sharded, "trainer=ddp_cpu"]}
                seconds = seconds_of(ways, arguments.runs, arguments.scipy)
                print(f"| `{network}`, {batch_size:,} | {' | '.join(f'{each:.3f}' for each in seconds)} |", flush=True)
        print(
            "\n| batch, words | words in the batch | all-reduce ms | of these rows ms |\n|---|---:|---:|---:|",
            flush=True,
        )
        for each in work:
            mp.spawn(join_gradients, (str(Path(folder, f"store-{each}")), *each), nprocs=2)


if __name__ == "__main__":
    sys.exit(main())
