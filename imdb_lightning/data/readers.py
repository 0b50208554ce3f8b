"""Reviews out of files: CSV, TSV, JSON Lines, Parquet, plain lines, and aclImdb's folders, row by row.

Any but Parquet and folders may be compressed by gzip. A row that cannot be used is passed on with its problem, so that
the caller decides what to do and can name its place.
"""

import csv
import glob
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from imdb_lightning.config.errors import UserError, typed
from imdb_lightning.config.reading import check_file, own_path
from imdb_lightning.data.bounds import MAX_LABEL, MAX_REVIEW
from imdb_lightning.data.formats import (
    DELIMITERS,
    GUESSED,
    UNDECODABLE,
    Format,
    check_columns,
    open_text,
    undecoded,
    wrong_encoding,
)
from imdb_lightning.data.lines import Lines, read_beginning, single_lines, too_long
from imdb_lightning.data.parquet import read_parquet

NO_TEXT = "no text"
# Rows at a file's beginning that show its delimiter.
_START_ROWS = 20
# Halves of characters, as JSON's "\ud800", which no file can be written with. The others stand for a byte that does
# not fit the encoding.
_HALVES = re.compile("[\ud800-\udc7f\udd00-\udfff]")

# Values of the requested columns, and a problem, or else "".
_Values = tuple[list[Any], str]


class Row(NamedTuple):
    """A review with its label as it is written, or a problem, why it cannot be used; a usable row's is empty.

    Rows are numbered from 1, without a header and blank lines of CSV and JSON Lines; those of a folder are its files.
    The label has at most `MAX_LABEL` characters.
    """

    place: str  # For messages: the file, and its row, if it is no file of a folder.
    number: int
    text: str
    label: str | None
    problem: str

    @property
    def answerable(self) -> bool:
        """Whether it can be predicted, if perhaps not trained on."""
        return self.problem in ("", NO_TEXT) or self.problem.startswith(UNDECODABLE)


def find_files(key: str, named: str | Sequence[str] | None) -> list[Path]:
    """Files and folders by name or glob, those of a glob in the order of their names; `key` is for messages.

    Raises:
        UserError: there is no such file.
    """
    found: list[Path] = []
    for name in [named] if isinstance(named, str) else named or []:
        path = own_path(name)
        # The modules, since `Path.exists` raises where a name is too long, and `Path.glob` refuses absolute patterns.
        matches = [path] if os.path.exists(path) else sorted(glob.glob(str(path), recursive=True))  # noqa: PTH110, PTH207
        if not matches:
            raise UserError(key, "an existing file or folder, or a glob that matches one", repr(name), "Mend the path.")
        found += map(Path, matches)
    return found


def read_rows(path: Path, form: Format) -> Iterator[Row]:
    """Reads a file or folder of reviews, with bounded memory; its ending tells the kind.

    Raises:
        UserError: the file is missing, damaged or of an unknown kind, it has no such column, or a row is too long.
    """
    if os.path.isdir(path):  # noqa: PTH112
        rows = _read_folder(path, form)
    else:
        check_file(path)
        read = _KINDS.get(Path(path.name.removesuffix(".gz")).suffix)
        if read is None:
            accepted = (
                "a file that ends in " + ", ".join(_KINDS) + ", with .gz or without, or a folder with pos and neg"
            )
            raise UserError(path, accepted, repr(path.name), "Rename or convert it.")
        rows = (("", values) for values in read(path, form))
    try:
        for number, (file, (values, problem)) in enumerate(rows, start=1):
            value, label = [*values, None, None][:2]
            place = file or f"{path}, row {number}"
            # A value of JSON, or of a column of Parquet, may be of any type.
            text = value if isinstance(value, str) else ""
            if len(text) > MAX_REVIEW:
                raise too_long(place)
            label = _label(label)
            problem = undecoded(text, form) or undecoded(label or "", form) or problem or ("" if text else NO_TEXT)
            yield Row(place, number, text, label, problem)
    # Of encodings such as UTF-16, in which a byte that does not fit cannot be kept in its row.
    except UnicodeError as error:
        raise wrong_encoding(path, str(error), form) from error


def _label(value: object) -> str | None:
    """A label as text: 1, 1.0, true and "1" are the same; a list or an object, which may be deep, is none."""
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    return str(value)[:MAX_LABEL] if isinstance(value, str | int | float) else None


def _read_delimited(path: Path, form: Format) -> Iterator[_Values]:
    # A review may be longer than the 131,072 characters that Python allows a field by default; `Lines` has a limit.
    csv.field_size_limit(sys.maxsize)
    with open_text(path, form, newline="") as file:
        start = read_beginning(file)
        delimiter = form.delimiter
        if delimiter is None:
            delimiter = "\t" if path.name.removesuffix(".gz").endswith(".tsv") else _find_delimiter(path, start, form)
        elif delimiter == "tab":
            delimiter = "\t"
        elif len(delimiter) != 1 or delimiter in '\r\n"':
            key = form.key("delimiter")
            raise UserError(key, "a character, or tab", repr(delimiter), f"Try {typed(key, ';')}.")
        rows = _parse_delimited(Lines(path, file), delimiter)
        first, problem = next(rows, ([], ""))
        if problem:  # As a NUL is one before Python 3.11; UTF-16 read as another encoding is full of them.
            first = start.splitlines()[:1]
        names = first if form.header else [str(number) for number in range(len(first))]
        sample = islice(_parse_delimited(Lines(path, io.StringIO(start, newline="")), delimiter), form.header, None)
        check_columns(path, form, names, (row for row, _ in sample if len(row) == len(names)))
        if not form.header:
            rows = chain([(first, "")], rows)
        indices = [names.index(column) for column in form.columns]
        for row, problem in rows:
            if len(row) == len(names):
                yield [row[index] for index in indices], ""
            elif row or problem:
                yield [], problem or f"{len(row)} fields instead of {len(names)}"


def _find_delimiter(path: Path, start: str, form: Format) -> str:
    """The delimiter that finds most of the requested columns and, of several, cuts most rows into as many fields."""

    def fit(delimiter: str) -> tuple[int, float]:
        lines = Lines(path, io.StringIO(start, newline=""))
        rows = [row for row, _ in islice(_parse_delimited(lines, delimiter), _START_ROWS)]
        first = rows[0] if rows else []
        alike = sum(len(row) == len(first) for row in rows if len(first) > 1)
        return sum(column in first for column in form.columns if form.header), alike

    return max(DELIMITERS, key=fit)


def _parse_delimited(lines: Lines, delimiter: str) -> Iterator[_Values]:
    """Fields of each row; a row that Python cannot read, as one with a NUL before 3.11, does not stop the others."""
    rows = csv.reader(lines, delimiter=delimiter)
    while True:
        lines.end_row()
        try:
            yield next(rows), ""
        except StopIteration:
            return
        except csv.Error as error:
            yield [], str(error)


def _read_json_lines(path: Path, form: Format) -> Iterator[_Values]:
    with open_text(path, form, newline="\n") as file:
        start = io.StringIO(read_beginning(file), newline="\n")
        found = [record for record in map(_parse_json, start) if isinstance(record, dict)]
        if found:
            names = list(dict.fromkeys(chain.from_iterable(found)))
            check_columns(path, form, names, ([record.get(name) for name in names[:GUESSED]] for record in found))
        columns = form.columns
        # Blank lines are no rows and are not counted.
        for record in map(_parse_json, filter(str.strip, single_lines(path, file))):
            if isinstance(record, dict) and isinstance(record.get(form.text_column), str):
                yield [_whole(record.get(column)) for column in columns], ""
            else:
                yield [], "no JSON" if record is None else f"no text under {form.text_column!r}"


def _parse_json(line: str) -> object:
    """The value of a line; None if it is no JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _whole(value: object) -> object:
    return _HALVES.sub("\ufffd", value) if isinstance(value, str) and not value.isascii() else value


def _read_lines(path: Path, form: Format) -> Iterator[_Values]:
    if form.label_column is not None:
        raise UserError(path, "a format with labels", "plain lines", "Name a CSV, TSV, JSON Lines or Parquet file.")
    # Not a lone carriage return, which text mode would by default take for the end of a line, too.
    with open_text(path, form, newline="\n") as file:
        for line in single_lines(path, file):
            yield [line.rstrip("\r\n")], ""


def _read_folder(path: Path, form: Format) -> Iterator[tuple[str, _Values]]:
    found = {name: sorted((path / name).glob("*.txt")) for name in ("neg", "pos")}
    if not any(found.values()):
        raise UserError(path, "a folder with pos/*.txt and neg/*.txt", "none in it", "Name such a folder, or a file.")
    for label, files in enumerate(found.values()):
        for file in files:
            with open_text(file, form, newline="") as text:
                yield str(file), ([text.read(MAX_REVIEW + 1), str(label)][: len(form.columns)], "")


_KINDS: dict[str, Callable[[Path, Format], Iterator[_Values]]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".jsonl": _read_json_lines,
    ".parquet": read_parquet,
    ".txt": _read_lines,
}
