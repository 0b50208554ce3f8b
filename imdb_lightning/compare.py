"""The command `python -m imdb_lightning.compare DIR [DIR ...]`: finished runs side by side."""

import argparse
from pathlib import Path

from imdb_lightning.config.command import command


@command()
def main() -> None:
    """Runs the command line; exit status 2: it cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m imdb_lightning.compare", description=__doc__.partition(": ")[2])
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folder of a run, or of many")
    parser.add_argument("--output", type=Path, help="folder for comparison.csv, .md and .png (default: the first DIR)")
    arguments = parser.parse_args()
    from imdb_lightning.runs.report import compare

    compare(arguments.folders, arguments.output or arguments.folders[0])


if __name__ == "__main__":
    main()
