"""The command `python -m imdb_lightning.evaluate RUN [RUN ...] [--data FILE]`: finished runs tested again, in full."""

import argparse
from pathlib import Path

from imdb_lightning.config.command import command
from imdb_lightning.config.imports import large_imports


@command()
def main() -> None:
    """Runs the command line; exit status 2: it cannot be used."""
    with large_imports():
        from imdb_lightning.inference.evaluation import evaluate

    parser = argparse.ArgumentParser(prog="python -m imdb_lightning.evaluate", description=__doc__.partition(": ")[2])
    about_runs = "folder of a finished run; of several, the mean of their probabilities is tested"
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help=about_runs)
    parser.add_argument(
        "--data", action="append", metavar="FILE", help="labelled reviews, instead of the run's own test"
    )
    parser.add_argument("--text-column", help="of FILE (default, as of all these: the run's own)")
    parser.add_argument("--label-column", help="of FILE")
    parser.add_argument("--labels", nargs=2, metavar=("NEGATIVE", "POSITIVE"), help="in FILE; 0 and 1 always are, too")
    parser.add_argument("--delimiter", help="between columns of FILE")
    parser.add_argument("--encoding", help="of FILE")
    parser.add_argument("--header", choices=("true", "false"), help="whether FILE begins with names of columns")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="that holds the run's reviews (default: your own)")
    about_output = "folder to write (default: RUN/evaluation/test, or .../FILE's name; of several: .../ensemble_test)"
    parser.add_argument("--output", type=Path, help=about_output)
    parser.add_argument("--wrong", type=int, default=10, help="most confidently wrong reviews to show (default: 10)")
    evaluate(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
