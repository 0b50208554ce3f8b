"""Reviews out of Parquet: some at a time, however large its row groups and values are, and only of fitting types."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from imdb_lightning.config.errors import UserError
from imdb_lightning.data.bounds import BATCH_CHARACTERS, FREE_BYTES, MAX_GROWTH
from imdb_lightning.data.formats import GUESSED, SAMPLE, Format, check_columns, damaged

# Rows that are read at once, unless they are long.
_ROWS = 1024
_TEXTS = ("string", "large_string", "string_view", "null")
_NUMBERS = (
    "bool",
    "halffloat",
    "float",
    "double",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)


def read_parquet(path: Path, form: Format) -> Iterator[tuple[list[Any], str]]:
    """Values of the requested columns, row by row, and "", as there is no problem with them.

    Raises:
        UserError: the file is damaged, or its columns are others or hold something else.
    """
    from pyarrow import ArrowException, parquet  # Takes a fifth of a second.

    # Mapped: else Arrow takes as much memory as a page says that it has, up to 2 GB.
    reading = {"pre_buffer": False, "memory_map": True}
    try:
        with parquet.ParquetFile(path, **reading) as file:
            metadata, names = file.metadata, file.schema_arrow.names
            check_columns(path, form, names, _sample(path, file))
            _check_types(path, form, file.schema_arrow)
            size = _rows_at_once(path, metadata)
        # Texts that a dictionary holds once and rows name many times. Only a row is read so: where texts differ, the
        # dictionary would grow to all of them.
        with parquet.ParquetFile(path, metadata=metadata, read_dictionary=[form.text_column], **reading) as file:
            size = max(1, min(size, BATCH_CHARACTERS // max(1, _longest(file, form.text_column))))
        with parquet.ParquetFile(path, metadata=metadata, **reading) as file:
            for batch in file.iter_batches(size, columns=form.columns):
                # Arrow does not look at UTF-8 and places in dictionaries as it reads.
                batch.validate(full=True)
                for values in zip(*(_values(batch.column(name)) for name in form.columns), strict=True):
                    yield list(values), ""
    # Besides its own, Arrow raises those of Python for files, texts, indices and keys.
    except (ArrowException, OSError, UnicodeError, LookupError, OverflowError) as error:
        raise damaged(path, error) from error


def _sample(path: Path, file: Any) -> Iterator[list[Any]]:
    """Some rows, with None for what is neither text nor a number: Python has no such dates as Arrow, for example."""
    schema = file.schema_arrow
    names = [field.name for field in list(schema)[:GUESSED] if _kind(field) in _TEXTS + _NUMBERS]
    size = min(SAMPLE, _rows_at_once(path, file.metadata))
    for batch in islice(file.iter_batches(size, columns=names), 1):
        for row in batch.to_pylist():
            yield [row.get(name) for name in schema.names[:GUESSED]]


def _kind(field: Any) -> str:
    """The name of a column's type, that of the values in a dictionary."""
    from pyarrow import types

    return str(field.type.value_type if types.is_dictionary(field.type) else field.type)


def _check_types(path: Path, form: Format, schema: Any) -> None:
    """Refuses columns of bytes, lists, dates and the like, and two of one name."""
    for name, accepted in zip(form.columns, (_TEXTS, _TEXTS + _NUMBERS), strict=False):
        kinds = [_kind(schema.field(place)) for place in schema.get_all_field_indices(name)]
        if len(kinds) > 1 or kinds[0] not in accepted:
            key = form.key("text_column" if name == form.text_column else "label_column")
            wanted = "a column of text" + (" or numbers" if accepted != _TEXTS else "")
            found = (
                f"{name!r}, which holds {kinds[0][:100]}" if len(kinds) == 1 else f"{len(kinds)} of the name {name!r}"
            )
            raise UserError(key, f"{wanted} in {path}", found, "Name another, or write the file again.")


def _rows_at_once(path: Path, metadata: Any) -> int:
    """How many rows hold a bounded number of bytes, by what the file says of its row groups.

    What it says of each column is not looked at: there damage can end the process within Arrow (26.0).

    Raises:
        UserError: bytes grow to more than those of text do.
    """
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    size, compressed = sum(group.total_byte_size for group in groups), path.stat().st_size
    if size > FREE_BYTES and size > MAX_GROWTH * compressed:
        raise damaged(path, ValueError(f"{compressed:,} bytes grow to {size:,}"))
    widest = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=1)
    return max(1, min(_ROWS, BATCH_CHARACTERS // max(1, widest)))


def _longest(file: Any, column: str) -> int:
    """Bytes of the longest text in the dictionaries of a column."""
    from pyarrow import compute

    longest = 0
    for group in range(file.num_row_groups):
        for batch in islice(file.iter_batches(1, row_groups=[group], columns=[column]), 1):
            texts = getattr(batch.column(0), "dictionary", [])
            longest = max(longest, compute.max(compute.binary_length(texts)).as_py() or 0) if len(texts) else longest
    return longest


def _values(column: Any) -> Iterable[Any]:
    dictionary = getattr(column, "dictionary", None)
    if dictionary is None:
        values: list[Any] = column.to_pylist()
        return values
    # One by one: each is a string of its own.
    return (None if place is None else dictionary[place].as_py() for place in column.indices.to_pylist())
