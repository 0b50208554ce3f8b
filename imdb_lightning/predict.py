"""The command `python -m imdb_lightning.predict RUN [FILE]`: probabilities, and reasons, for raw reviews.

Reviews come from a file (plain lines, CSV, TSV, JSON Lines, Parquet; see `data.readers`), from `--text`, or from
standard input, where each line is answered as soon as it is there.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import torch
from rich.console import Console
from rich.text import Text

from imdb_lightning.config.errors import UserError
from imdb_lightning.data.readers import ANSWERABLE, read_rows
from imdb_lightning.inference.saved_run import SavedRun, load_run

_BATCH = 1024
_READ_BYTES = 1 << 20
Review = tuple[int, str]
"""Row from 1, and text."""
Format = Callable[[SavedRun, Sequence[Review], "argparse.Namespace"], str]


def main() -> None:
    """Runs the command line; exit status 2: it cannot be used."""
    arguments = _parse()
    # Who closes our output early, as `head` does, wants no more of it.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    torch.set_num_threads(1)
    try:
        run = load_run(arguments.run)
        write = _format(arguments)
        if arguments.output is None:
            _answer(run, _batches(arguments), write, arguments, sys.stdout)
        else:
            unfinished = arguments.output.with_name(f".{arguments.output.name}.{os.getpid()}")
            try:
                with unfinished.open("w", encoding="utf-8", newline="") as file:
                    _answer(run, _batches(arguments), write, arguments, file)
                unfinished.replace(arguments.output)
            finally:
                unfinished.unlink(missing_ok=True)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # How a stream that somebody types ends.
        sys.exit(128 + signal.SIGINT)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m imdb_lightning.predict", description="Probabilities, and reasons, for raw reviews."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help="reviews; -, the default: standard input")
    parser.add_argument("--text", action="append", help="a review; may be given several times, instead of FILE")
    parser.add_argument("--output", type=Path, help="file to write (default: standard output)")
    parser.add_argument("--format", choices=("csv", "jsonl"), default="csv", help="of the answers (default: csv)")
    parser.add_argument("--rows", action="store_true", help="answer with each review's row, not its text")
    parser.add_argument("--text-column", default="text", help="of FILE, where it has columns (default: text)")
    parser.add_argument("--explain", action="store_true", help="add each word's share in the logit")
    parser.add_argument("--top", type=int, default=10, help="words to show on a terminal (default: 10)")
    return parser.parse_args()


def _batches(arguments: argparse.Namespace) -> Iterator[list[Review]]:
    """Reviews, as many at a time as are there."""
    if arguments.text is not None:
        return iter([list(enumerate(arguments.text, start=1))])
    if arguments.file == "-":
        return _lines_as_they_come(sys.stdin.fileno())
    return _rows(Path(arguments.file), arguments.text_column)


def _rows(path: Path, text_column: str) -> Iterator[list[Review]]:
    rows = read_rows(path, text_column, label_column=None)
    while batch := list(itertools.islice(rows, _BATCH)):
        for row in batch:
            if row.problem and row.problem not in ANSWERABLE:
                raise UserError(f"{path}, row {row.number}", "a review", row.problem, "Mend or remove the row.")
        yield [(row.number, row.text.encode(errors="surrogateescape").decode(errors="replace")) for row in batch]


def _lines_as_they_come(file: int) -> Iterator[list[Review]]:
    """All whole lines that each read finds, so that a slow stream is answered line by line, a fast one in batches."""
    rows, buffer = itertools.count(1), bytearray()
    while data := os.read(file, _READ_BYTES):
        buffer += data
        if b"\n" in data:
            *lines, rest = buffer.split(b"\n")
            buffer = bytearray(rest)
            yield [(next(rows), _decode(line)) for line in lines]
    if buffer:
        yield [(next(rows), _decode(buffer))]


def _decode(line: bytearray) -> str:
    return line.removesuffix(b"\r").decode(errors="replace")


def _answer(
    run: SavedRun, batches: Iterable[list[Review]], write: Format, arguments: argparse.Namespace, output: TextIO
) -> None:
    if write is _csv:
        header = ["row" if arguments.rows else "text", "label", "probability"]
        output.write(_csv_lines([[*header, "bias", "shares"] if arguments.explain else header]))
    for batch in batches:
        output.write(write(run, batch, arguments))
        output.flush()


def _format(arguments: argparse.Namespace) -> Format:
    if arguments.format == "jsonl":
        return _json_lines
    return _colored if arguments.explain and arguments.output is None and sys.stdout.isatty() else _csv


def _csv(run: SavedRun, batch: Sequence[Review], arguments: argparse.Namespace) -> str:
    probabilities = run.predict_proba(text for _, text in batch).tolist()
    rows = []
    for (row, text), probability in zip(batch, probabilities, strict=True):
        answer = [row if arguments.rows else text, run.label(probability), f"{probability:.9g}"]
        if arguments.explain:
            explanation = run.explain(text)
            answer += [f"{explanation.bias:.9g}", json.dumps(explanation.shares, ensure_ascii=False)]
        rows.append(answer)
    return _csv_lines(rows)


def _csv_lines(rows: Sequence[Sequence[object]]) -> str:
    buffer = io.StringIO(newline="")
    # Many readers of CSV stop at a NUL, and before Python 3.11 its writer does, too.
    plain = ([field.replace("\0", "\ufffd") if isinstance(field, str) else field for field in row] for row in rows)
    csv.writer(buffer, lineterminator="\n").writerows(plain)
    return buffer.getvalue()


def _json_lines(run: SavedRun, batch: Sequence[Review], arguments: argparse.Namespace) -> str:
    probabilities = run.predict_proba(text for _, text in batch).tolist()
    lines = []
    for (row, text), probability in zip(batch, probabilities, strict=True):
        record: dict[str, object] = {"row": row} if arguments.rows else {"text": text}
        record |= {"label": run.label(probability), "probability": probability}
        if arguments.explain:
            explanation = run.explain(text)
            record |= {"logit": explanation.logit, "bias": explanation.bias, "shares": explanation.shares}
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    return "".join(lines)


def _colored(run: SavedRun, batch: Sequence[Review], arguments: argparse.Namespace) -> str:
    """For people: words that speak for the positive class in green, for the negative one in red."""
    console = Console(file=io.StringIO(), force_terminal=True, soft_wrap=True, highlight=False)
    for row, text in batch:
        explanation = run.explain(text)
        shares = list(explanation.shares.items())
        shown, others = shares[: arguments.top], shares[arguments.top :]
        if others:
            shown.append((f"{len(others)} others", sum(share for _, share in others)))
        line = Text(f"{row}: {run.label(explanation.probability)} {explanation.probability:.4f} = sigmoid(", "bold")
        for word, share in [*shown, ("bias", explanation.bias)]:
            line.append(f" {word} {share:+.2f}", "not bold " + ("green" if share > 0 else "red"))
        console.print(line.append(" )"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


if __name__ == "__main__":
    main()
