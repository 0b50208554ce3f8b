"""The command `python -m imdb_lightning.evaluate RUN [--data FILE]`: a finished run tested again, in full."""

import argparse
from pathlib import Path

from imdb_lightning.config.errors import exit_on_user_error
from imdb_lightning.inference.evaluation import evaluate
from imdb_lightning.inference.saved_run import LABELS


def main() -> None:
    """Runs the command line; exit status 2: it cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m imdb_lightning.evaluate", description=__doc__.partition(": ")[2])
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument(
        "--data", action="append", metavar="FILE", help="labelled reviews, instead of the run's own test"
    )
    parser.add_argument("--text-column", default="text", help="of FILE (default: text)")
    parser.add_argument("--label-column", default="label", help="of FILE (default: label)")
    parser.add_argument("--labels", nargs=2, default=LABELS, metavar=("NEGATIVE", "POSITIVE"), help="names in FILE")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="that holds the run's reviews (default: your own)")
    parser.add_argument(
        "--output", type=Path, help="folder to write (default: RUN/evaluation/test, or .../FILE's name)"
    )
    parser.add_argument("--wrong", type=int, default=10, help="most confidently wrong reviews to show (default: 10)")
    with exit_on_user_error():
        evaluate(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
