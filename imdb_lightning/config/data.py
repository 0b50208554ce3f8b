"""What reviews a run can be told to use: the typed settings of `conf/data`; see `config`."""

# Field types as text, which is how messages show them.
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.ranges import MAX_SEED, MAX_SIZE, Section, choice, real, whole

# Of a part to be cut: accepted in words, and as a test.
SIZE = ("a whole number, or a share between 0 and 1", lambda size: 0 < size < 1 or (size >= 1 and size == int(size)))


@dataclass(kw_only=True, slots=True)
class DataConfig(Section):
    """What every source of reviews has (`conf/data`)."""

    section: ClassVar[str] = "data."

    source: str  # Which kind of data it is: a key of `DATA_SCHEMAS`.
    cache_dir: str | None = None  # Folder for downloads and prepared data; null: the user's cache folder.
    # Width of the multi-hot input; ids from this on become id 2; 0 to 3 are reserved.
    num_words: int = whole(10_000, 4, MAX_SIZE)
    # Train on only the first so many training reviews; null: on all.
    train_size: int | None = whole(None, 1, example=15_000)
    batch_size: int = whole(512, 1)  # Reviews in a step over all processes together.
    # `sparse`: bags of word ids; `dense`: multi-hot rows, many times slower, equal results.
    layout: str = choice(("sparse", "dense"), "sparse")


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
    text_column: str = "text"  # Holds the review, where there are columns.
    label_column: str = "label"  # Holds the label, where there are columns.
    # Names of the negative and the positive class; 0 and 1 always do.
    labels: list[str] = field(default_factory=lambda: ["negative", "positive"])
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
        if len(self.labels) != 2 or self.labels[0] == self.labels[1]:
            accepted = "two names, of the negative and the positive class"
            raise UserError("data.labels", accepted, list(self.labels), "Try data.labels=[negative,positive].")


DATA_SCHEMAS: dict[str, type[DataConfig]] = {
    "imdb": IMDBDataConfig,
    "synthetic": SyntheticDataConfig,
    "text": TextDataConfig,
}
