"""How time and memory grow with the number of reviews, up to what does not fit the memory.

    python benchmarks/scale.py --reviews 100000 1000000 10000000

Synthetic reviews, `shallow_relu_bce`, batches of 8,192, one core. `anonymous` is the largest memory that the command
had for itself (RssAnon, looked at ten times a second); the reviews are mapped from a file, whose pages the system takes
back when it needs them. `--settings data.shuffle=blocks data.num_words=100000` adds settings.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HELD_OUT = 10_000  # Reviews for validation, and for the test.
SETTINGS = [
    "data=synthetic", f"data.validation_size={HELD_OUT}", f"data.test_size={HELD_OUT}", "data.batch_size=8192",
    "callbacks=none", "hydra.run.dir=run",
]  # fmt: skip


def anonymous(pid: int) -> int:
    """MiB that a process has for itself."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # It has just ended.
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) // 1024


def main() -> None:
    """Prints a row for each number of reviews."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviews", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--epochs", type=int, default=3, help="all but the first one count")
    parser.add_argument("--cache", type=Path, help="folder that keeps the reviews; by default they are removed")
    parser.add_argument("--settings", nargs="*", default=[])
    arguments = parser.parse_args()
    print("| reviews | made in s | epoch s | reviews/s | anonymous MiB |\n|---:|---:|---:|---:|---:|")
    for count in arguments.reviews:
        with tempfile.TemporaryDirectory() as folder:
            cache = arguments.cache.absolute() if arguments.cache else Path(folder)
            command = [
                sys.executable, "-m", "imdb_lightning", *SETTINGS, f"data.reviews={count + HELD_OUT}",
                f"data.cache_dir={cache}", f"trainer.max_epochs={arguments.epochs}", *arguments.settings,
            ]  # fmt: skip
            peak = 0
            with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
                while process.poll() is None:
                    peak = max(peak, anonymous(process.pid))
                    time.sleep(0.1)
            if process.returncode:
                sys.exit(process.returncode)
            run = Path(folder, "run")
            made = json.loads((run / "results.json").read_text())["seconds"]["data"]
            epochs = [float(row["seconds"]) for row in csv.DictReader((run / "history.csv").open())][1:]
        epoch = median(epochs)
        print(f"| {count:,} | {made:.1f} | {epoch:.2f} | {count / epoch:,.0f} | {peak:,} |", flush=True)


if __name__ == "__main__":
    main()
