"""Labelled reviews out of files: CSV, TSV, JSON Lines, Parquet, plain lines, and aclImdb's folders, row by row.

Any but Parquet and folders may be compressed by gzip. A row that cannot be used is passed on with its problem, so that
the caller decides what to do and can name its file and row.
"""

import csv
import glob
import gzip
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO, cast

from imdb_lightning.config.errors import UserError

_SHOWN = 10
NO_TEXT, NOT_UTF8 = "no text", "not UTF-8"
# Problems of rows that can still be predicted, if not trained on.
ANSWERABLE = (NO_TEXT, NOT_UTF8)

# Values of the requested columns, and a problem, or else "".
_Values = tuple[list[Any], str]


class Row(NamedTuple):
    """A review with its label as it is written, or a problem, why it cannot be used; a usable row's is empty.

    Rows are numbered from 1, without a header and blank lines of CSV and JSON Lines; those of a folder are its files.
    """

    file: Path
    number: int
    text: str
    label: str | None
    problem: str


def find_files(key: str, named: str | Sequence[str] | None) -> list[Path]:
    """Files and folders by name or glob, those of a glob in the order of their names; `key` is for messages.

    Raises:
        UserError: there is no such file.
    """
    found: list[Path] = []
    for name in [named] if isinstance(named, str) else named or []:
        # The module, since a pattern may be absolute, which `Path.glob` refuses.
        matches = [name] if Path(name).exists() else sorted(glob.glob(name, recursive=True))  # noqa: PTH207
        if not matches:
            raise UserError(key, "an existing file or folder, or a glob that matches one", repr(name), "Mend the path.")
        found += map(Path, matches)
    return found


def _open(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _read_delimited(path: Path, columns: Sequence[str], delimiter: str = ",") -> Iterator[_Values]:
    # A review may be longer than the 131,072 characters that Python allows a field by default.
    csv.field_size_limit(sys.maxsize)
    # Bytes that are not UTF-8 become surrogates and so stay in their row, where `read_rows` finds them.
    with io.TextIOWrapper(_open(path), "utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = _parse_delimited(file, delimiter)
        header, _ = next(rows, ([], ""))
        _check_columns(path, columns, header)
        indices = [header.index(column) for column in columns]
        for row, problem in rows:
            if len(row) == len(header):
                yield [row[index] for index in indices], ""
            elif row or problem:
                yield [], problem or f"{len(row)} fields instead of {len(header)}"


def _parse_delimited(file: TextIO, delimiter: str) -> Iterator[_Values]:
    """Fields of each row; a row that Python cannot read, as one with a NUL before 3.11, does not stop the others."""
    rows = csv.reader(file, delimiter=delimiter)
    while True:
        try:
            yield next(rows), ""
        except StopIteration:
            return
        except csv.Error as error:
            yield [], str(error)


def _read_json_lines(path: Path, columns: Sequence[str]) -> Iterator[_Values]:
    with _open(path) as file:
        # Blank lines are no rows and are not counted.
        for line in filter(bytes.strip, file):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield [], NOT_UTF8 if isinstance(error, UnicodeDecodeError) else "no JSON"
                continue
            if isinstance(record, dict) and isinstance(record.get(columns[0]), str):
                yield [record.get(column) for column in columns], ""
            else:
                yield [], f"no text under {columns[0]!r}"


def _read_parquet(path: Path, columns: Sequence[str]) -> Iterator[_Values]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise UserError(path, "pyarrow to read it", "none", "pip install 'imdb-lightning[parquet]'") from error
    try:
        file = parquet.ParquetFile(path)
        _check_columns(path, columns, file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=1024, columns=list(columns)):
            for values in zip(*(batch.column(column).to_pylist() for column in columns), strict=True):
                yield list(values), ""
    except ArrowException as error:
        raise UserError(path, "a Parquet file", " ".join(str(error).split()), "Write it again.") from error


def _read_lines(path: Path, columns: Sequence[str]) -> Iterator[_Values]:
    if len(columns) > 1:
        raise UserError(path, "a format with labels", "plain lines", "Name a CSV, TSV, JSON Lines or Parquet file.")
    with _open(path) as file:
        # Split as bytes, since text mode would by default also end lines at a lone carriage return.
        for line in file:
            yield [line.rstrip(b"\r\n").decode("utf-8", errors="surrogateescape")], ""


def _read_folder(path: Path, columns: Sequence[str]) -> Iterator[_Values]:
    found = {name: sorted((path / name).glob("*.txt")) for name in ("neg", "pos")}
    if not any(found.values()):
        raise UserError(path, "a folder with pos/*.txt and neg/*.txt", "none in it", "Name such a folder, or a file.")
    for label, files in enumerate(found.values()):
        for file in files:
            yield [file.read_bytes().decode("utf-8", errors="surrogateescape"), str(label)][: len(columns)], ""


def _check_columns(path: Path, columns: Sequence[str], present: Sequence[str]) -> None:
    for key, column in zip(("data.text_column", "data.label_column"), columns, strict=False):
        if column not in present:
            remedy = f"Say which it is, as in {key}={present[0] if present else 'text'}."
            raise UserError(key, f"one of the columns of {path}: " + ", ".join(present), repr(column), remedy)


_FORMATS: dict[str, Callable[[Path, Sequence[str]], Iterator[_Values]]] = {
    ".csv": _read_delimited,
    ".tsv": partial(_read_delimited, delimiter="\t"),
    ".jsonl": _read_json_lines,
    ".parquet": _read_parquet,
    ".txt": _read_lines,
}


def read_rows(path: Path, text_column: str, label_column: str | None) -> Iterator[Row]:
    """Reads a file or folder of reviews, with bounded memory; its ending tells the format.

    The columns matter only to formats that have some. Without a `label_column` no labels are read.

    Raises:
        UserError: the file is missing or of an unknown kind, or it has no such column.
    """
    if not path.exists():
        raise UserError(path, "an existing file or folder", "none", "Mend the path.")
    read = _read_folder if path.is_dir() else _FORMATS.get(Path(path.name.removesuffix(".gz")).suffix)
    if read is None:
        accepted = "a file that ends in " + ", ".join(_FORMATS) + ", with .gz or without, or a folder with pos and neg"
        raise UserError(path, accepted, repr(path.name), "Rename or convert it.")
    columns = [text_column] if label_column is None else [text_column, label_column]
    for number, (values, problem) in enumerate(read(path, columns), start=1):
        value, label = [*values, None, None][:2]
        # A column of a Parquet file may hold numbers or bytes.
        text = value if isinstance(value, str) else ""
        if not text:
            problem = problem or NO_TEXT
        try:
            text.encode()
        except UnicodeEncodeError:
            problem = NOT_UTF8
        # 1, 1.0, true and "1" are the same label.
        if isinstance(label, bool | int | float) and label in (0, 1):
            label = int(label)
        yield Row(path, number, text, None if label is None else str(label), problem)


def labelled_rows(
    paths: Iterable[Path], text_column: str, label_column: str, labels: Sequence[str], bad: list[Row]
) -> Iterator[tuple[str, int]]:
    """Texts and labels, 0 or 1, of all rows that can be used; the others are added to `bad`, without their text.

    `labels` names the negative and the positive class; in files, 0 and 1 always stand for them, too.
    """
    known = {"0": 0, "1": 1} | {name: number for number, name in enumerate(labels)}
    for path in paths:
        for row in read_rows(path, text_column, label_column):
            label = known.get(row.label or "")
            if row.problem or label is None:
                bad.append(row._replace(text="", problem=row.problem or f"label {row.label!r}"))
            else:
                yield row.text, label


def describe(bad: Sequence[Row]) -> str:
    """Bad rows in one line: how many, and where the first ones are."""
    shown = "; ".join(f"{row.file}, row {row.number}: {row.problem}" for row in bad[:_SHOWN])
    more = f"; and {len(bad) - _SHOWN:,} more" if len(bad) > _SHOWN else ""
    return f"{len(bad):,} bad rows ({shown}{more})"
