"""Seconds of a training epoch on a GPU and on one core of the same machine's CPU.

    python benchmarks/gpu.py --npz imdb.npz

Whole commands, in turn. An epoch ends with validation; the first one of a run is not counted. Prints medians over all
epochs, and over runs of the whole command. The work is that of `training.py`, with a million reviews for large batches.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from statistics import median

import torch
from training import WORK, run

PRECISIONS = ("32-true", "bf16-mixed")
REVIEWS = 1_000_000


def main() -> None:
    """Prints a row for each kind of work and each way to run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npz", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=2)
    arguments = parser.parse_args()
    os.environ["IMDB_NPZ"] = str(arguments.npz.absolute())
    print(f"{torch.cuda.get_device_name()}\n\n| | epoch s | reviews/s | whole command s |\n|---|---:|---:|---:|")
    ways = {"CPU": ["trainer=cpu"]} | {
        f"GPU, {precision}": ["trainer=gpu", f"trainer.precision={precision}"] for precision in PRECISIONS
    }
    for name, (reviews, settings) in WORK.items():
        if "8,192" in name:
            reviews, settings = REVIEWS, [*settings, f"data.reviews={REVIEWS + 20_000}"]
        run(settings)  # Prepares the reviews.
        measured: dict[str, tuple[list[float], list[float]]] = {way: ([], []) for way in ways}
        for _ in range(arguments.runs):
            for way, trainer in ways.items():
                seconds, whole = run([*settings, *trainer])
                measured[way][0].extend(seconds)
                measured[way][1].append(whole)
        for way, (epochs, wholes) in measured.items():
            epoch = median(epochs)
            print(f"| {name}, {way} | {epoch:.3f} | {reviews / epoch:,.0f} | {median(wholes):.1f} |", flush=True)


if __name__ == "__main__":
    main()
