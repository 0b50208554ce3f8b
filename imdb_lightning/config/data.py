"""What reviews a run can be told to use: the typed settings of `conf/data`; see `config`."""

# Field types as text, which is how messages show them.
from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.ranges import MAX_SEED, MAX_SIZE, Section, choice, real, whole

TOKENS = ("words", "punctuation")
LABELS = ("negative", "positive")  # Names of the classes where none are named or found.


@functools.lru_cache(100)  # There is a label in each row, and few different ones.
def plain_label(label: str) -> str:
    """A label without what does not tell labels apart: case, blanks around, and the decimals of pandas.

    Example:
        >>> plain_label(" Spam"), plain_label("1.0")
        ('spam', '1')
    """
    return re.sub(r"^(-?\d+)\.0+$", r"\1", label.strip().casefold())


# Of a part to be cut: accepted in words, and as a test.
SIZE = ("a whole number, or a share between 0 and 1", lambda size: 0 < size < 1 or (size >= 1 and size == int(size)))


def _are_weights(value: Any) -> bool:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return bool(value == "balanced")
    return len(value) == 2 and all(type(weight) in (int, float) and 0 < weight < math.inf for weight in value)


# Of weights of the two classes: accepted in words, as a test, and an example.
WEIGHTS = ("balanced, or two numbers above 0", _are_weights, "balanced")


@dataclass(kw_only=True, slots=True)
class DataConfig(Section):
    """What every source of reviews has (`conf/data`)."""

    section: ClassVar[str] = "data."

    source: str  # Which kind of data it is: a key of `DATA_SCHEMAS`.
    cache_dir: str | None = None  # Folder for downloads and prepared data; null: the user's cache folder.
    # Width of the multi-hot input; ids from this on become id 2; 0 to 3 are reserved. null: a column for each word of
    # the training reviews.
    num_words: int | None = whole(10_000, 4, MAX_SIZE, or_null=True)
    # Columns are runs of up to so many words that stand next to each other in a training review; rare words in none.
    ngrams: int = whole(1, 1, 4)
    min_count: int = whole(1, 1)  # Only those that are in so many training reviews.
    # Train on only the first so many training reviews; null: on all.
    train_size: int | None = whole(None, 1, example=15_000)
    # Train on the validation reviews, too, which then tell nothing about new ones; what `refit` sets.
    with_validation: bool = False
    batch_size: int = whole(512, 1)  # Reviews in a step over all processes together.
    # Of the losses of negative and positive reviews; `balanced`: both classes weigh the same in all; null: 1.
    class_weights: Any = field(default=None, metadata={"range": WEIGHTS})
    # Of the training reviews in each epoch: `rows`, or `blocks` of neighbours, for more than the memory holds.
    shuffle: str = choice(("rows", "blocks"), "rows")
    # `sparse`: bags of word ids; `dense`: multi-hot rows, many times slower, equal results.
    layout: str = choice(("sparse", "dense"), "sparse")

    def learns_columns(self) -> bool:
        """Whether columns are n-grams, found in the training reviews; else they are ids of words."""
        return self.num_words is None or self.ngrams > 1 or self.min_count > 1


@dataclass(kw_only=True, slots=True)
class IMDBDataConfig(DataConfig):
    """Keras's `imdb.npz`, or what stands in for it offline."""

    source: str = "imdb"
    path: str | None = None  # A local `imdb.npz`; null: the cache, then the download.
    # A local `imdb_word_index.json`; null: beside the npz, then the cache, then the download.
    word_index: str | None = None
    validation_size: int = whole(10_000, 1)  # Training reviews held out for validation.
    # Without the file and the download: `fallback` to the packaged reviews, or `error`.
    offline: str = choice(("fallback", "error"), "fallback")


@dataclass(kw_only=True, slots=True)
class SyntheticDataConfig(DataConfig):
    """Generated reviews of any number, for tests and for trying scale."""

    source: str = "synthetic"
    reviews: int = whole(25_000, 2)  # Training and validation reviews together, more than `validation_size`.
    validation_size: int = whole(10_000, 1)  # Reviews held out for validation.
    test_size: int = whole(25_000, 1)  # Test reviews.
    # Seed of the reviews themselves, so that runs with other seeds see the same data.
    seed: int = whole(0, 0, MAX_SEED)

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)
        if self.learns_columns():
            accepted, got = "10000, 1 and 1, or another number of words", f"{self.num_words}, {self.ngrams}"
            remedy = "Generated words stand in no order: leave out data.ngrams and data.min_count."
            raise UserError("data.num_words, ngrams, min_count", accepted, f"{got} and {self.min_count}", remedy)
        if self.validation_size >= self.reviews:
            accepted, remedy = f"fewer than the {self.reviews} of data.reviews", "Lower it or raise data.reviews."
            raise UserError("data.validation_size", accepted, self.validation_size, remedy)


@dataclass(kw_only=True, slots=True)
class TextDataConfig(DataConfig):
    """Own labelled reviews, from files."""

    source: str = "text"
    train: Any = None  # A file, a folder with `pos` and `neg`, a glob, or a list of them.
    validation: Any = None  # The same; null: cut from training.
    test: Any = None  # The same; null: cut from training.
    text_column: str = "text"  # Holds the review, where there are columns; with header=false their numbers from 0.
    label_column: str = "label"  # Holds the label, likewise.
    # Labels of the negative and the positive class, which 0 and 1 always are, too; case and blanks around do not
    # matter. null: the two in the training files, in the order of 0/1, neg/pos, no/yes, ..., else of the alphabet.
    labels: list[str] | None = None
    # What a word is: `words`: as `imdb.npz` was made; `punctuation`: marks such as ! and ? count as words, too.
    tokens: str = choice(TOKENS, "words")
    # Between columns of CSV and TSV: a character, or `tab`; null: the one of , ; tab | that fits; a .tsv has tabs.
    delimiter: str | None = None
    encoding: str | None = None  # As in latin-1; null: UTF-8, or UTF-16 where the file begins with its mark.
    header: bool = True  # Whether CSV and TSV begin with a row of names.
    vocabulary: str | None = None  # A word index as JSON, word to rank from 1; null: learnt from the training reviews.
    on_bad_row: str = choice(("error", "skip"), "error")  # Rows without text or label: `error`, or `skip` them.
    validation_size: float = real(0.2, *SIZE)  # Reviews to cut for validation, at least 1, or below 1 their share.
    test_size: float = real(0.2, *SIZE)  # Reviews to cut for the test, at least 1, or below 1 their share.
    seed: int = whole(0, 0, MAX_SEED)  # Of the cuts, so that runs with other seeds see the same splits.

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)
        for key in ("train", "validation", "test"):
            value = getattr(self, key)
            names = value if isinstance(value, list) else [value]
            optional = value is None and key != "train"
            if not optional and not (names and all(isinstance(name, str) and name for name in names)):
                accepted = "a file, a folder, a glob, or a list of them"
                raise UserError(f"data.{key}", accepted, value, f"Try data.{key}=reviews.csv.")
        # From Python, columns may be numbers.
        self.text_column, self.label_column = str(self.text_column), str(self.label_column)
        if self.labels is not None and (len(self.labels), len({*map(plain_label, self.labels)})) != (2, 2):
            accepted = "two names, of the negative and the positive class, as there are two classes only"
            raise UserError("data.labels", accepted, list(self.labels), "Try 'data.labels=[negative,positive]'.")


DATA_SCHEMAS: dict[str, type[DataConfig]] = {
    "imdb": IMDBDataConfig,
    "synthetic": SyntheticDataConfig,
    "text": TextDataConfig,
}
