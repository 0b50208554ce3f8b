"""Tries faults of every kind, and prints what was tried and what was lost.

    python -m tests.torture                           # all parts, about an hour on two busy cores
    python -m tests.torture files --scale 0.1         # one part, a tenth of its cases

Ends with status 1 if anything was lost or ended in a traceback; each such case is printed with what repeats it.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time

from tests.torture.table import Row, sum_of, table_of

PARTS = {"files": "damaged data files", "folders": "damaged files of a run's folder", "faults": "", "load": ""}
"""Modules of this package; each has `run(scale, seed)`, which gives its rows as they are done. A text: of the one row
that the table has for all of a part's."""


def main() -> None:
    """Runs the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--scale", type=float, default=1.0, help="cases, relative to a whole run (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default 0)")
    arguments = parser.parse_args()
    rows: list[Row] = []
    begin = time.monotonic()
    for part in arguments.parts or PARTS:
        done = []
        for row in importlib.import_module(f"tests.torture.{part}").run(arguments.scale, arguments.seed):
            done.append(row)
            print(f"{time.monotonic() - begin:6.0f} s  {row.tried}: {row.cases} cases", flush=True)
            for failure in row.failures:
                print(f"          {failure}", flush=True)
        rows += [sum_of(done, PARTS[part])] if PARTS[part] else done
    print(f"\n{table_of(rows)}\n\n{sum(row.cases for row in rows):,} cases in {time.monotonic() - begin:.0f} s")
    sys.exit(1 if any(row.lost or row.tracebacks for row in rows) else 0)


if __name__ == "__main__":
    main()
