"""Ours beside the Keras notebook's: seconds of an epoch and of the whole command, peak memory, accuracy.

    python benchmarks/against_keras.py --npz imdb.npz --keras-python /path/to/keras-env/bin/python

Runs of both alternate, so that a machine whose speed drifts is as fair to one as to the other; the first run of
each is not counted (it fills caches). An epoch is 30 training steps and validation on 10,000 reviews; the first
of a run is not counted. Prints medians, and the median of the ratios run by run.
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
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

KERAS_SCRIPT = Path(__file__).resolve().parent / "keras_notebook.py"


@dataclass
class Measured:
    """One run: median seconds of its later epochs, of the process, its peak memory in MiB, its test accuracy."""

    epoch: float
    process: float
    peak: float
    accuracy: float


def timed(command: list[str], folder: Path) -> tuple[str, float, float]:
    """Runs a command; gives its output, its seconds and its peak memory in MiB, as the kernel counts them."""
    with (folder / "output").open("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"failed with {process.returncode}: {' '.join(command)}")
        output.seek(0)
        return output.read(), seconds, usage.ru_maxrss / 1024


def measure_ours(npz: Path, model: str, folder: Path) -> Measured:
    """One run of `python -m imdb_lightning`."""
    run = folder / "run"
    command = [sys.executable, "-m", "imdb_lightning", f"+experiment=notebook/{model}", f"data.path={npz}"]
    _, seconds, peak = timed([*command, f"hydra.run.dir={run}"], folder)
    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    accuracy = json.loads((run / "results.json").read_text())["test"]["accuracy"]
    return Measured(median(float(row["seconds"]) for row in rows[1:]), seconds, peak, accuracy)


def measure_keras(python: Path, npz: Path, model: str, folder: Path) -> Measured:
    """One run of the notebook's network in Keras."""
    output, seconds, peak = timed([str(python), str(KERAS_SCRIPT), str(npz), model], folder)
    result = json.loads(output.splitlines()[-1])
    return Measured(median(result["epochs"][1:]), seconds, peak, result["test_accuracy"])


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npz", type=Path, required=True, help="the real imdb.npz")
    parser.add_argument("--keras-python", type=Path, required=True, help="python of an environment with keras")
    parser.add_argument("--models", nargs="+", default=["shallow_relu_bce", "deep_tanh_mse", "regularized_relu_bce"])
    parser.add_argument("--runs", type=int, default=3, help="counted runs of each (default 3)")
    arguments = parser.parse_args()
    table = Table(title=f"medians of {arguments.runs} runs; ratio: ours / Keras, median run by run")
    for column in ("network", "", "epoch s", "process s", "peak MiB", "test accuracy"):
        table.add_column(column, justify="left" if column in ("network", "") else "right")
    for model in arguments.models:
        ours, keras = [], []
        for _ in range(arguments.runs + 1):
            with tempfile.TemporaryDirectory() as name:
                ours.append(measure_ours(arguments.npz.resolve(), model, Path(name)))
            with tempfile.TemporaryDirectory() as name:
                keras.append(measure_keras(arguments.keras_python, arguments.npz.resolve(), model, Path(name)))
        ours, keras = ours[1:], keras[1:]
        for label, runs in (("ours", ours), ("Keras", keras)):
            cells = [median(getattr(run, name) for run in runs) for name in ("epoch", "process", "peak", "accuracy")]
            table.add_row(model, label, f"{cells[0]:.3f}", f"{cells[1]:.1f}", f"{cells[2]:.0f}", f"{cells[3]:.4f}")
        ratios = [
            f"{median(getattr(a, name) / getattr(b, name) for a, b in zip(ours, keras, strict=True)):.2f}"
            for name in ("epoch", "process", "peak")
        ]
        table.add_row("", "ratio", *ratios, "")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
