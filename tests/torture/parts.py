"""The parts of the torture, each of which runs in a process of its own."""

from __future__ import annotations

import importlib
import time

from tests.torture.table import Row, sum_of

PARTS = {
    "faults": "", "processes": "", "load": "", "files": "damaged data files",
    "folders": "damaged files of a run's folder",
}  # fmt: skip
"""Modules of this package, those that take longest first; each has `run(scale, seed)`, which gives its rows as they are
done. A text: of the one row that the table has for all of a part's."""


def run_part(part: str, scale: float, seed: int, begin: float) -> list[Row]:
    """Runs a part and prints its rows as they are done, with the seconds since `begin`; gives those of the table."""
    done = []
    for row in importlib.import_module(f"tests.torture.{part}").run(scale, seed):
        done.append(row)
        print(f"{time.monotonic() - begin:6.0f} s  {row.tried}: {row.cases} cases", flush=True)
        for failure in row.failures:
            print(f"          {failure}", flush=True)
    return [sum_of(done, PARTS[part])] if PARTS[part] else done
