"""The command `python -m imdb_lightning.predict RUN [RUN ...] [FILE]`: probabilities, and reasons, for raw reviews."""

import argparse
import sys
from pathlib import Path

from imdb_lightning.config.command import command
from imdb_lightning.config.imports import large_imports


@command()
def main() -> None:
    """Runs the command line; exit status 2: it cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m imdb_lightning.predict", description=__doc__.partition(": ")[2])
    about_runs = "folder of a finished run; several answer with the mean of their probabilities"
    parser.add_argument("runs", nargs="+", metavar="RUN", help=about_runs)
    parser.add_argument("file", nargs="?", metavar="FILE", help="reviews; -, the default: standard input")
    parser.add_argument("--text", action="append", help="a review; may be given several times, instead of FILE")
    parser.add_argument("--output", type=Path, help="file to write (default: standard output)")
    parser.add_argument("--format", choices=("csv", "jsonl"), default="csv", help="of the answers (default: csv)")
    parser.add_argument("--rows", action="store_true", help="answer with each review's row, not its text")
    parser.add_argument("--text-column", help="of FILE, where it has columns (default, as below: the run's own)")
    parser.add_argument("--delimiter", help="between columns of FILE")
    parser.add_argument("--encoding", help="of FILE")
    parser.add_argument("--header", choices=("true", "false"), help="whether FILE begins with names of columns")
    parser.add_argument("--explain", action="store_true", help="add each word's share in the logit")
    parser.add_argument("--top", type=int, default=10, help="words to show on a terminal (default: 10)")
    arguments = parser.parse_args()
    with large_imports():
        from imdb_lightning.inference.answers import Style, answer, runs_and_file

    # Colors are for people; what goes into a file or to another program stays CSV.
    colored = arguments.explain and arguments.output is None and sys.stdout.isatty()
    form = "color" if colored and arguments.format == "csv" else arguments.format
    style = Style(form, arguments.rows, arguments.explain, arguments.top)
    # The parser takes a FILE for one more RUN, unless options stand between them.
    runs, file = runs_and_file(arguments.runs + ([] if arguments.file is None else [arguments.file]))
    answer(
        runs, file, arguments.text, arguments.output, style,
        text_column=arguments.text_column, delimiter=arguments.delimiter, encoding=arguments.encoding,
        header=arguments.header,
    )  # fmt: skip


if __name__ == "__main__":
    main()
