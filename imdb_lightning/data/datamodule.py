"""The LightningDataModules: reviews from their source, batches for this process."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from imdb_lightning.config.data import DataConfig, IMDBDataConfig, TextDataConfig
from imdb_lightning.data.bags import Bags
from imdb_lightning.data.device_bags import DeviceBags, fits
from imdb_lightning.data.sampling import BatchLoader, EpochOrder, find_class_weights
from imdb_lightning.data.sources import load_reviews
from imdb_lightning.data.splits import Splits
from imdb_lightning.data.weighting import column_factors

# An evaluation batch is this many times `batch_size`: less of Lightning's overhead, 21 MB more when dense.
EVALUATION_BATCH_FACTOR = 4


class ReviewDataModule(pl.LightningDataModule):
    """Batches of labelled bags, as `data.sampling.Batch`; `seed` is that of the training order.

    Each process is given its own part of every batch, with `whole` the whole one.
    """

    # There after `setup`.
    splits: Splits

    def __init__(self, config: DataConfig, seed: int = 0, whole: bool = False) -> None:
        super().__init__()
        self.config, self.seed, self.whole = config, seed, whole

    def prepare_data(self) -> None:
        """Builds what the cache lacks; Lightning calls it on one process of each machine, before each fit and test."""
        self.setup()

    def setup(self, stage: str | None = None) -> None:
        """Maps the splits, once; see `load_reviews`."""
        # Lightning calls this before each fit and test, too; opening the splits checks their bytes each time.
        if not hasattr(self, "splits"):
            self.splits = load_reviews(self.config)

    @property
    def width(self) -> int:
        """Columns of the multi-hot input, after `setup`."""
        return self.splits.width(self.config.num_words)

    def column_factors(self, kind: str) -> torch.Tensor:
        """What each column counts, float32 `[width]`, after `setup`: `naive_bayes` or `tfidf`; see `data.weighting`."""
        ngrams = self.splits.ngrams
        orders = [self.width] if ngrams is None else [len(table) for table in ngrams.tables]
        return torch.from_numpy(column_factors(kind, self.splits.train, orders))

    def train_dataloader(self) -> BatchLoader:
        """Training batches in an order of their own each epoch."""
        return self._loader(self.splits.train, EpochOrder(len(self.splits.train), self.seed, self.config.shuffle))

    def val_dataloader(self) -> BatchLoader:
        """Validation batches in order."""
        return self._loader(self.splits.validation)

    def test_dataloader(self) -> BatchLoader:
        """Test batches in order."""
        return self._loader(self.splits.test)

    predict_dataloader = test_dataloader

    def _loader(self, bags: Bags, order: EpochOrder | None = None) -> BatchLoader:
        batch_size = self.config.batch_size if order is not None else EVALUATION_BATCH_FACTOR * self.config.batch_size
        # Without a trainer, as when a user looks at batches, there is one process.
        trainer = None if self.whole else self.trainer
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        weights = find_class_weights(self.config.class_weights, self.splits.train.labels)
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        on_device = DeviceBags(bags, device) if self.config.layout == "sparse" and fits(bags, device) else None
        return BatchLoader(
            bags, batch_size, self.width, self.config.layout, order, rank, world_size, weights, on_device
        )


class IMDBDataModule(ReviewDataModule):
    """Keras's IMDB reviews: 25,000 for training and validation, 25,000 for the test.

    `path` is a local `imdb.npz`; None: the cache, then the download. `settings` are any other fields of
    `IMDBDataConfig`: `num_words`, `validation_size`, `batch_size`, `cache_dir`, ...

    Raises:
        UserError: a value is out of its range.
    """

    def __init__(self, path: str | Path | None = None, *, seed: int = 0, **settings: Any) -> None:
        super().__init__(IMDBDataConfig(path=None if path is None else str(path), **settings), seed)


class TextDataModule(ReviewDataModule):
    """Own labelled reviews, from files, as in `TextDataModule("a.csv", labels=["ham", "spam"], num_words=20_000)`.

    `train` is a file, a folder with `pos` and `neg`, a glob, or a list of them. `settings` are any other fields of
    `TextDataConfig`: `test`, `text_column`, `label_column`, ...

    Raises:
        UserError: a value is out of its range.
    """

    def __init__(self, train: str | Path | list[str], *, seed: int = 0, **settings: Any) -> None:
        super().__init__(TextDataConfig(train=str(train) if isinstance(train, Path) else train, **settings), seed)
