"""How files of reviews are to be read: encoding and columns, and what to say where they do not fit."""

import codecs
import io
import textwrap
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO, cast

from imdb_lightning.config.data import DataConfig
from imdb_lightning.config.errors import UserError, typed
from imdb_lightning.config.reading import check_file
from imdb_lightning.data.bounds import Unpacked

UNDECODABLE = "bytes not in "  # Begins the problem of a text with bytes that do not fit its encoding.
# Characters of a column's name in messages: where a header is missing, it is a review; and names that are shown.
_SHOWN, _SHOWN_NAMES = 40, 20
# Columns whose values are looked at to guess which are meant, and characters of these.
GUESSED, _GUESSED_CHARACTERS = 100, 1000
DELIMITERS = ",;\t|"  # Between columns, where none is named.
# Rows that show what the columns hold.
SAMPLE = 100


class Format(NamedTuple):
    """How files are to be read: settings of the same names, or options of a command; see `TextDataConfig`."""

    text_column: str = "text"
    label_column: str | None = "label"  # None: no labels are read.
    delimiter: str | None = None
    encoding: str | None = None
    header: bool = True
    options: bool = False  # Messages name options of a command, not settings.

    @classmethod
    def of(cls, config: DataConfig, **changes: Any) -> "Format":
        """The format that settings name, with all changes that are not None."""
        named: dict[str, Any] = {name: getattr(config, name, default) for name, default in cls._field_defaults.items()}
        named |= {name: value for name, value in changes.items() if value is not None}
        # As commands have it.
        named["header"] = named["header"] in (True, "true")
        return cls(**named)

    @property
    def columns(self) -> list[str]:
        """The requested columns, that of the text first."""
        return [self.text_column] if self.label_column is None else [self.text_column, self.label_column]

    def key(self, name: str) -> str:
        """How messages name a setting."""
        return f"--{name.replace('_', '-')}" if self.options else f"data.{name}"


def wrong_encoding(place: object, found: str, form: Format) -> UserError:
    """What to say where bytes do not fit the encoding, at a file's row."""
    # UTF-16 begins with these two, which mean little in other encodings.
    likely = "utf-16" if found.endswith(("0xff", "0xfe")) else "latin-1"
    remedy = f"Say which it is, as in {typed(form.key('encoding'), likely)}."
    return UserError(form.key("encoding"), f"the encoding of {place}", found, remedy)


def undecoded(text: str, form: Format) -> str:
    """The first byte of a text that does not fit its encoding; else ""."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        # Where `open_text` has put a byte; JSON can also hold half of a character, as "\ud800".
        byte = f": 0x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else ""
        return f"{UNDECODABLE}{form.encoding or 'UTF-8'}{byte}"
    return ""


@contextmanager
def open_text(path: Path, form: Format, newline: str) -> Iterator[TextIO]:
    """Opens a file, compressed or not, in its encoding; `newline` as for `open`.

    Raises:
        UserError: it is no file, or damaged, also where that shows only as it is read.
    """
    check_file(path)
    try:
        with cast("io.BufferedReader", (Unpacked if path.suffix == ".gz" else open)(path, "rb")) as file:
            yield _decoded(file, form, newline)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> UserError:
    """What to say of a file that cannot be read to its end."""
    found = " ".join(str(error).split()) or type(error).__name__
    return UserError(path, "a whole file", f"a damaged one ({found[:200]})", "Fetch or write it again.")


def _decoded(file: io.BufferedReader, form: Format, newline: str) -> TextIO:
    encoding = form.encoding
    if encoding is None:
        start = file.peek(2)[:2]
        encoding = "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8"
    try:
        if codecs.lookup(encoding).name == "utf-8":
            encoding = "utf-8-sig"
        # Bytes that do not fit become surrogates and so stay in their row, where `read_rows` finds them.
        return io.TextIOWrapper(file, encoding, errors="surrogateescape", newline=newline)
    except (LookupError, ValueError) as error:  # ValueError: a NUL in the name.
        remedy = f"Try {typed(form.key('encoding'), 'latin-1')}."
        raise UserError(
            form.key("encoding"), "an encoding of text that Python knows", repr(encoding), remedy
        ) from error


def check_columns(path: Path, form: Format, names: Sequence[str], rows: Iterator[list[Any]]) -> None:
    """Refuses names of columns that lack a requested one; of the rows, it reads some only then."""
    keys = [form.key(name) for name in ("text_column", "label_column")]
    missing = [(key, column) for key, column in zip(keys, form.columns, strict=False) if column not in names]
    if not missing:
        return
    for name in names:
        if found := undecoded(name, form):
            raise wrong_encoding(f"{path}, first row", found, form)
    sample = [list(map(_shortened, row[:GUESSED])) for row in islice(rows, SAMPLE)]
    values = dict(zip(names, zip(*sample, strict=True), strict=False))
    guesses = _guess_columns(form, values)
    first = (textwrap.shorten(name[: 10 * _SHOWN], _SHOWN, placeholder="...") or "''" for name in names[:_SHOWN_NAMES])
    shown = ", ".join(first) or "none"
    if len(names) > _SHOWN_NAMES:
        shown += f", and {len(names) - _SHOWN_NAMES:,} more"
    named = [typed(key, guesses[key]) for key, _ in missing if key in guesses]
    remedy = f"Try {' '.join(named)}." if named else f"Say which it is with {missing[0][0]}."
    if len(names) == 1 and form.label_column is not None:
        delimiter = next((character for character in DELIMITERS if character in names[0]), ";")
        remedy = f"If that is several columns: {typed(form.key('delimiter'), delimiter)}."
    # A name that is also a value: the first row is a review, too.
    if form.header and any(name and name in column for name, column in values.items()):
        numbers = [typed(key, str(list(names).index(guess))) for key, guess in guesses.items()]
        remedy = f"If its first row is a review: {' '.join([typed(form.key('header'), 'false'), *numbers])}."
    raise UserError(missing[0][0], f"one of the columns of {path}: {shown}", repr(missing[0][1]), remedy)


def _shortened(value: object) -> str:
    # Lists and objects of JSON, which may be deep, are neither texts nor labels.
    return str(value)[:_GUESSED_CHARACTERS] if isinstance(value, str | int | float) else ""


def _guess_columns(form: Format, values: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The columns of text and label, by the keys of their settings, as named or as they look by some of their values.

    A text has the longest values; a label the fewest different ones, but more than one.
    """
    labels = [name for name in values if name == form.label_column]
    longest = sorted((name for name in values if name not in labels), key=lambda name: -sum(map(len, values[name])))
    chosen = [name for name in values if name == form.text_column] or longest[:1]
    if not labels and form.label_column is not None:
        others = [name for name in values if name not in chosen and len({*values[name]}) > 1]
        labels = sorted(others, key=lambda name: len({*values[name]}))[:1]
    pairs = ((form.key("text_column"), chosen), (form.key("label_column"), labels))
    return {key: names[0] for key, names in pairs if names}
