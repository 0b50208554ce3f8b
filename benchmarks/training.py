"""Seconds of a training epoch, what SciPy changes in them (the extra `fast`), and what other programs take.

    pip install --target scipy_alone --no-deps scipy
    python benchmarks/training.py --npz imdb.npz --scipy scipy_alone \\
        --keras-python keras-env/bin/python --peers-python peers-env/bin/python

Whole commands on one core, with and without SciPy in turn. An epoch ends with validation on 10,000 reviews; the first
one of a run is not counted. Prints medians over all epochs, and over runs of the whole command. Then, on the same
15,000 reviews, an epoch of Keras with validation, on all cores, and of what `peers.py` has, without.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
REVIEWS = 15_000  # Of IMDB, without those for validation.
LARGE = [
    "data=synthetic", "data.reviews=310000", "data.validation_size=10000", "data.test_size=10000",
    "data.batch_size=8192", "trainer.max_epochs=4",
]  # fmt: skip
# By name: reviews trained on in an epoch, and settings.
WORK: dict[str, tuple[int, list[str]]] = {
    "`shallow_relu_bce`, batches of 512": (REVIEWS, ["trainer.max_epochs=20"]),
    "`regularized_relu_bce`, batches of 512": (REVIEWS, ["model=regularized_relu_bce", "trainer.max_epochs=10"]),
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


def peers(npz: str, keras_python: str | None, peers_python: str | None) -> dict[str, float]:
    """Seconds of an epoch of other programs, by name."""
    found: dict[str, float] = {}
    if keras_python:
        command = [keras_python, str(HERE / "keras_notebook.py"), npz, "shallow_relu_bce"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        found["Keras, `shallow_relu_bce`"] = median(json.loads(answer.stdout.splitlines()[-1])["epochs"][1:])
    if peers_python:
        command = [peers_python, str(HERE / "peers.py"), "train", npz, str(REVIEWS)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        found |= json.loads(answer.stdout)
    return found


def main() -> None:
    """Prints a row for each kind of work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npz", type=Path, required=True)
    parser.add_argument("--scipy", type=Path, required=True, help="folder that holds SciPy and nothing else")
    parser.add_argument("--keras-python", help="python of an environment with keras")
    parser.add_argument("--peers-python", help="python of an environment as `peers.py` says")
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
    for name, seconds in peers(os.environ["IMDB_NPZ"], arguments.keras_python, arguments.peers_python).items():
        print(f"| {name} | {seconds:.3f} | {REVIEWS / seconds:,.0f} | |")


if __name__ == "__main__":
    main()
