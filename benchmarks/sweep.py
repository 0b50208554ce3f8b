"""The notebook's table over several seeds: one job after the other, and as many at once as there are cores.

    python benchmarks/sweep.py --npz imdb.npz --seeds 10

Whole commands, from start to the comparison, in turn; and what a job's phases take in each, in the mean.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import mean, median

LAUNCHERS = ("basic", "local")


def sweep(seeds: int, launcher: str) -> tuple[float, dict[str, float]]:
    """Seconds of the whole, and of the phases of a job."""
    with tempfile.TemporaryDirectory() as folder:
        words = [f"seed={','.join(map(str, range(seeds)))}", f"hydra/launcher={launcher}", "hydra.sweep.dir=sweep"]
        command = [sys.executable, "-m", "imdb_lightning", "-m", "+experiment=glob(notebook/*)", *words]
        begin = time.perf_counter()
        subprocess.run(command, cwd=folder, capture_output=True, check=True)
        seconds = time.perf_counter() - begin
        results = [json.loads(path.read_text()) for path in Path(folder, "sweep").glob("*/results.json")]
    assert len(results) == 3 * seeds, "all jobs are done"
    phases: Counter[str] = Counter()
    for result in results:
        phases.update(result["seconds"])
    return seconds, {phase: total / len(results) for phase, total in phases.items()}


def main() -> None:
    """Prints a row for each launcher."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npz", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=1)
    arguments = parser.parse_args()
    os.environ["IMDB_NPZ"] = str(arguments.npz.absolute())
    measured: dict[str, list[tuple[float, dict[str, float]]]] = {launcher: [] for launcher in LAUNCHERS}
    sweep(1, "basic")  # Prepares the reviews.
    for _ in range(arguments.runs):
        for launcher in LAUNCHERS:
            measured[launcher].append(sweep(arguments.seeds, launcher))
    columns = list(measured["basic"][0][1])
    print(f"| launcher | {3 * arguments.seeds} jobs s | {' | '.join(columns)} |\n|---|{'---:|' * (1 + len(columns))}")
    for launcher, runs in measured.items():
        phases = " | ".join(f"{mean(job[phase] for _, job in runs):.2f}" for phase in columns)
        print(f"| `{launcher}` | {median(seconds for seconds, _ in runs):.1f} | {phases} |")


if __name__ == "__main__":
    main()
