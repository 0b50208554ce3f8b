"""The LightningDataModules: reviews from their source, batches for this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from imdb_lightning.config.data import DataConfig, IMDBDataConfig, TextDataConfig
from imdb_lightning.data.bags import Bags
from imdb_lightning.data.sampling import BatchLoader, EpochOrder
from imdb_lightning.data.sources import load_reviews
from imdb_lightning.data.splits import Splits

EVALUATION_BATCH_FACTOR = 4
"""An evaluation batch is this many times `batch_size`: less of Lightning's overhead, 21 MB more when dense."""


class ReviewDataModule(pl.LightningDataModule):
    """Batches of labelled bags, as `data.sampling.Batch`.

    Args:
        config: which reviews.
        seed: of the training order.

    Attributes:
        config: which reviews.
        splits: the reviews, after `setup`.
    """

    splits: Splits

    def __init__(self, config: DataConfig, seed: int = 0) -> None:
        super().__init__()
        self.config, self.seed = config, seed

    def prepare_data(self) -> None:
        """Builds what the cache lacks, on one process of each machine; Lightning asks before each fit and test."""
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Maps the splits, once.

        Raises:
            UserError: the reviews are not to be had, or cannot be used.
        """
        if not hasattr(self, "splits"):
            self.splits = load_reviews(self.config)

    def train_dataloader(self) -> BatchLoader:
        """Training batches in an order of their own each epoch."""
        order = EpochOrder(len(self.splits.train), self.seed)
        return self._loader(self.splits.train, self.config.batch_size, order)

    def val_dataloader(self) -> BatchLoader:
        """Validation batches in order."""
        return self._loader(self.splits.validation, EVALUATION_BATCH_FACTOR * self.config.batch_size)

    def test_dataloader(self) -> BatchLoader:
        """Test batches in order."""
        return self._loader(self.splits.test, EVALUATION_BATCH_FACTOR * self.config.batch_size)

    def predict_dataloader(self) -> BatchLoader:
        """The test batches."""
        return self.test_dataloader()

    def _loader(self, bags: Bags, batch_size: int, order: EpochOrder | None = None) -> BatchLoader:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return BatchLoader(bags, batch_size, self.config.num_words, self.config.layout, order, rank, world_size)


class IMDBDataModule(ReviewDataModule):
    """Keras's IMDB reviews: 25,000 for training and validation, 25,000 for the test.

    Args:
        path: a local `imdb.npz`; None: the cache, then the download.
        seed: of the training order.
        settings: any other field of `IMDBDataConfig`: `num_words`, `validation_size`, `batch_size`, `cache_dir`, ...

    Raises:
        UserError: a value is out of its range.
    """

    def __init__(self, path: str | Path | None = None, *, seed: int = 0, **settings: Any) -> None:
        super().__init__(IMDBDataConfig(path=None if path is None else str(path), **settings), seed)


class TextDataModule(ReviewDataModule):
    """Own labelled reviews, from files.

    Args:
        train: a file, a folder with `pos` and `neg`, a glob, or a list of them.
        seed: of the training order.
        settings: any other field of `TextDataConfig`: `test`, `text_column`, `label_column`, `labels`, ...

    Raises:
        UserError: a value is out of its range.

    Example:
        ```python
        TextDataModule("reviews.csv", labels=["ham", "spam"], text_column="message", num_words=20_000)
        ```
    """

    def __init__(self, train: str | Path | list[str], *, seed: int = 0, **settings: Any) -> None:
        super().__init__(TextDataConfig(train=str(train) if isinstance(train, Path) else train, **settings), seed)
