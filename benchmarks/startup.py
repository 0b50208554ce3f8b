"""What a command takes before and after its work, and whose imports that is.

    python benchmarks/startup.py --npz imdb.npz

Prints the median seconds of whole commands, warm, and for a run of one epoch the seconds of importing each library
(`python -X importtime`, which slows imports down itself).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median

# By name: module, arguments in which RUN is a finished run's folder, and the exit status.
COMMANDS: dict[str, tuple[str, list[str], int]] = {
    "`--version`": ("imdb_lightning", ["--version"], 0),
    "a refusal": ("imdb_lightning", ["model.dropout=2"], 2),
    "`--cfg job`": ("imdb_lightning", ["--cfg", "job"], 0),
    "`check`": ("imdb_lightning.check", [], 0),
    "`predict RUN --text film`": ("imdb_lightning.predict", ["RUN", "--text", "film"], 0),
    "a run of one epoch": ("imdb_lightning", ["trainer.max_epochs=1"], 0),
    "a whole run": ("imdb_lightning", [], 0),
}
LISTED = 8


def run(module: str, arguments: list[str], status: int, *options: str) -> tuple[float, str]:
    """Seconds of a command, and its standard error."""
    begin = time.perf_counter()
    command = [sys.executable, *options, "-m", module, *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != status:
        sys.exit(answer.stderr)
    return time.perf_counter() - begin, answer.stderr


def imports(report: str) -> Counter[str]:
    """Microseconds of each library's own modules, out of what -X importtime prints."""
    seconds: Counter[str] = Counter()
    for line in report.splitlines():
        name, _, times = line.partition(":")
        columns = times.split("|")
        if name == "import time" and len(columns) == 3 and columns[0].strip().isdigit():
            seconds[columns[2].strip().partition(".")[0]] += int(columns[0])
    return seconds


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npz", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    os.environ["IMDB_NPZ"] = str(arguments.npz.absolute())
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        run("imdb_lightning", ["hydra.run.dir=RUN"], 0)
        times: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for _ in range(arguments.runs):
            for name, (module, words, status) in COMMANDS.items():
                times[name].append(run(module, words, status)[0])
        _, report = run("imdb_lightning", ["trainer.max_epochs=1"], 0, "-X", "importtime")
        os.chdir("/")
    print("| command | seconds |\n|---|---:|")
    for name, seconds in times.items():
        print(f"| {name} | {median(seconds):.2f} |")
    print("\n| library | seconds of its own modules |\n|---|---:|")
    for library, microseconds in imports(report).most_common(LISTED):
        print(f"| {library} | {microseconds / 1e6:.2f} |")


if __name__ == "__main__":
    main()
