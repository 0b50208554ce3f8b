"""Tries faults of every kind, and prints what was tried and what was lost.

    python -m tests.torture                           # all parts, two at a time: half an hour on two cores
    python -m tests.torture files --scale 0.1         # one part, a tenth of its cases

Ends with status 1 if anything was lost or ended in a traceback; each such case is printed with what repeats it.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.torture.parts import PARTS, run_part
from tests.torture.table import table_of


def main() -> None:
    """Runs the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--scale", type=float, default=1.0, help="cases, relative to a whole run (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default 0)")
    arguments = parser.parse_args()
    begin = time.monotonic()
    # Not forked, as parts start threads and forks of their own.
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        same = map(itertools.repeat, (arguments.scale, arguments.seed, begin))
        rows = list(itertools.chain.from_iterable(pool.map(run_part, arguments.parts or PARTS, *same)))
    print(f"\n{table_of(rows)}\n\n{sum(row.cases for row in rows):,} cases in {time.monotonic() - begin:.0f} s")
    sys.exit(1 if any(row.lost or row.tracebacks for row in rows) else 0)


if __name__ == "__main__":
    main()
