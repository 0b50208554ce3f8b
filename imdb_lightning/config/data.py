"""What reviews a run can be told to use: the typed settings of `conf/data`; see `config`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from imdb_lightning.config.errors import MAX_SEED, MAX_SIZE, UserError, check_choice, check_real, check_whole

LAYOUTS = ("sparse", "dense")
OFFLINE = ("fallback", "error")
ON_BAD_ROW = ("error", "skip")


@dataclass(kw_only=True, slots=True)
class DataConfig:
    """What every source of reviews has (`conf/data`)."""

    source: str
    """Which kind of data it is: a key of `DATA_SCHEMAS`."""
    cache_dir: str | None = None
    """Folder for downloads and prepared data; null: the user's cache folder."""
    num_words: int = 10_000
    """Width of the multi-hot input; ids from this on become id 2. From 4, as 0 to 3 are reserved, to 2**31 - 1."""
    train_size: int | None = None
    """Train on only the first so many training reviews, at least 1; null: on all."""
    batch_size: int = 512
    """Reviews in a step over all processes together, at least 1."""
    layout: str = "sparse"
    """`sparse`: bags of word ids; `dense`: multi-hot rows, many times slower, equal results."""

    def __post_init__(self) -> None:
        check_whole("data.num_words", self.num_words, 4, 10_000, MAX_SIZE)
        if self.train_size is not None:
            check_whole("data.train_size", self.train_size, 1, 15_000)
        check_whole("data.batch_size", self.batch_size, 1, 512)
        check_choice("data.layout", self.layout, LAYOUTS)


@dataclass(kw_only=True, slots=True)
class IMDBDataConfig(DataConfig):
    """Keras's `imdb.npz`, or what stands in for it offline."""

    source: str = "imdb"
    path: str | None = None
    """A local `imdb.npz`; null: the cache, then the download."""
    word_index: str | None = None
    """A local `imdb_word_index.json`; null: beside the npz, then the cache, then the download."""
    validation_size: int = 10_000
    """Training reviews held out for validation, at least 1."""
    offline: str = "fallback"
    """Without the file and the download: `fallback` to the packaged reviews, or `error`."""

    def __post_init__(self) -> None:
        # Named, not zero-argument, super: slots=True makes a second class, which the latter does not know.
        DataConfig.__post_init__(self)
        check_whole("data.validation_size", self.validation_size, 1, 10_000)
        check_choice("data.offline", self.offline, OFFLINE)


@dataclass(kw_only=True, slots=True)
class SyntheticDataConfig(DataConfig):
    """Generated reviews of any number, for tests and for trying scale."""

    source: str = "synthetic"
    reviews: int = 25_000
    """Training and validation reviews together, more than `validation_size`."""
    validation_size: int = 10_000
    """Reviews held out for validation, at least 1."""
    test_size: int = 25_000
    """Test reviews, at least 1."""
    seed: int = 0
    """Seed of the reviews themselves, so that runs with other seeds see the same data."""

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)
        check_whole("data.validation_size", self.validation_size, 1, 10_000)
        check_whole("data.reviews", self.reviews, 2, 25_000)
        check_whole("data.test_size", self.test_size, 1, 25_000)
        check_whole("data.seed", self.seed, 0, 0, MAX_SEED)
        if self.validation_size >= self.reviews:
            raise UserError(
                "data.validation_size", f"fewer than the {self.reviews} of data.reviews", self.validation_size,
                "Lower it or raise data.reviews.",
            )  # fmt: skip


@dataclass(kw_only=True, slots=True)
class TextDataConfig(DataConfig):
    """Own labelled reviews, from files."""

    source: str = "text"
    train: Any = None
    """A file, a folder with `pos` and `neg`, a glob, or a list of them."""
    validation: Any = None
    """The same; null: cut from training."""
    test: Any = None
    """The same; null: cut from training."""
    text_column: str = "text"
    """Holds the review, where there are columns."""
    label_column: str = "label"
    """Holds the label, where there are columns."""
    labels: list[str] = field(default_factory=lambda: ["negative", "positive"])
    """Names of the negative and the positive class; 0 and 1 always do."""
    vocabulary: str | None = None
    """A word index as JSON, word to rank from 1; null: learnt from the training reviews."""
    on_bad_row: str = "error"
    """Rows without text or label: `error`, or `skip` them."""
    validation_size: float = 0.2
    """Reviews to cut for validation, at least 1, or below 1 their share."""
    test_size: float = 0.2
    """Reviews to cut for the test, at least 1, or below 1 their share."""
    seed: int = 0
    """Of the cuts, so that runs with other seeds see the same splits."""

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)
        for key in ("train", "validation", "test"):
            _check_files(f"data.{key}", getattr(self, key), required=key == "train")
        if len(self.labels) != 2 or self.labels[0] == self.labels[1]:
            accepted = "two names, of the negative and the positive class"
            raise UserError("data.labels", accepted, list(self.labels), "Try data.labels=[negative,positive].")
        check_choice("data.on_bad_row", self.on_bad_row, ON_BAD_ROW)
        for key in ("validation_size", "test_size"):
            size = getattr(self, key)
            whole = size >= 1 and size == int(size)
            check_real(f"data.{key}", size, "a whole number, or a share between 0 and 1", whole or 0 < size < 1, 0.2)
        check_whole("data.seed", self.seed, 0, 0, MAX_SEED)


def _check_files(key: str, value: Any, required: bool) -> None:
    names = value if isinstance(value, list) else [value]
    if value is None and not required:
        return
    if not names or not all(isinstance(name, str) and name for name in names):
        raise UserError(key, "a file, a folder, a glob, or a list of them", value, f"Try {key}=reviews.csv.")


DATA_SCHEMAS: dict[str, type[DataConfig]] = {
    "imdb": IMDBDataConfig,
    "synthetic": SyntheticDataConfig,
    "text": TextDataConfig,
}
