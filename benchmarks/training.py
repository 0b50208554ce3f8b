"""Seconds of a training epoch, and what SciPy changes in them (the extra `fast`).

    pip install --target scipy_alone --no-deps scipy
    python benchmarks/training.py --npz imdb.npz --scipy scipy_alone

Whole commands on one core, with and without SciPy in turn. An epoch ends with validation on 10,000 reviews; the first
one of a run is not counted. Prints medians over all epochs, and over runs of the whole command.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

LARGE = [
    "data=synthetic", "data.reviews=310000", "data.validation_size=10000", "data.test_size=10000",
    "data.batch_size=8192", "trainer.max_epochs=4",
]  # fmt: skip
# By name: reviews trained on in an epoch, and settings.
WORK: dict[str, tuple[int, list[str]]] = {
    "`shallow_relu_bce`, batches of 512": (15_000, ["trainer.max_epochs=20"]),
    "`regularized_relu_bce`, batches of 512": (15_000, ["model=regularized_relu_bce", "trainer.max_epochs=10"]),
    "`shallow_relu_bce`, batches of 8,192": (300_000, LARGE),
    "`regularized_relu_bce`, batches of 8,192": (300_000, ["model=regularized_relu_bce", *LARGE]),
}


def run(settings: list[str], scipy: str = "") -> tuple[list[float], float]:
    """Seconds of each epoch but the first one, and of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "imdb_lightning", "callbacks=none", *settings, f"hydra.run.dir={folder}/run"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [scipy, os.environ.get("PYTHONPATH")]))}
        begin = time.perf_counter()
        subprocess.run(command, env=environment, capture_output=True, check=True)
        seconds = time.perf_counter() - begin
        rows = csv.DictReader((Path(folder) / "run" / "history.csv").read_text().splitlines())
        return [float(row["seconds"]) for row in rows][1:], seconds


def main() -> None:
    """Prints a row for each kind of work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npz", type=Path, required=True)
    parser.add_argument("--scipy", type=Path, required=True, help="folder that holds SciPy and nothing else")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    if not (arguments.scipy / "scipy").is_dir():
        sys.exit(f"{arguments.scipy}: no SciPy in it")
    os.environ["IMDB_NPZ"] = str(arguments.npz.absolute())
    print("| without SciPy / with it | epoch s | reviews/s | whole command s |\n|---|---:|---:|---:|")
    for name, (reviews, settings) in WORK.items():
        run(settings)  # Prepares the reviews.
        epochs: tuple[list[float], list[float]] = ([], [])
        commands: tuple[list[float], list[float]] = ([], [])
        for _ in range(arguments.runs):
            for which, scipy in enumerate(("", str(arguments.scipy.absolute()))):
                seconds, whole = run(settings, scipy)
                epochs[which].extend(seconds)
                commands[which].append(whole)
        epoch, whole = map(median, epochs), map(median, commands)
        (slow, fast), (slow_whole, fast_whole) = epoch, whole
        rates = f"{reviews / slow:,.0f} / {reviews / fast:,.0f}"
        ratio = f"{slow:.3f} / {fast:.3f} ({fast / slow:.2f})"
        print(f"| {name} | {ratio} | {rates} | {slow_whole:.1f} / {fast_whole:.1f} |", flush=True)


if __name__ == "__main__":
    main()
