"""The public data modules: plain arguments, checked like settings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import imdb_lightning
from imdb_lightning import IMDBDataModule, SentimentClassifier, TextDataModule
from imdb_lightning.config.data import DATA_SCHEMAS
from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import ModelConfig
from imdb_lightning.data.sources import SOURCES


def test_own_reviews_in_python(labelled_csv: Path, cache: Path) -> None:
    datamodule = TextDataModule(str(labelled_csv), num_words=50, batch_size=64, cache_dir=str(cache))
    datamodule.setup()
    splits = datamodule.splits
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (540, 180, 180)
    batch = next(iter(datamodule.train_dataloader()))
    assert len(batch.labels) == 64
    assert batch.scale == np.float32(1 / 64)
    assert batch.inputs.max() < 50


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: IMDBDataModule(layout="wide"), r"data\.layout: expected one of sparse, dense, but got 'wide'"),
        (lambda: IMDBDataModule(offline="erorr"), r"data\.offline: expected one of fallback, error"),
        (lambda: TextDataModule("a.csv", num_words=3), r"data\.num_words: expected a whole number from 4"),
        (lambda: TextDataModule("a.csv", labels=["a"]), r"data\.labels: expected two names"),
        (lambda: SentimentClassifier([16], "swish", "bce"), r"model\.activation: expected one of relu, tanh"),
        (lambda: SentimentClassifier([16], "relu", "hinge"), r"model\.loss: expected one of bce, mse"),
        (lambda: SentimentClassifier([0], "relu", "bce"), r"model\.hidden_units: expected a list of whole numbers"),
        (lambda: SentimentClassifier(16, "relu", "bce"), r"model\.hidden_units: expected a list of whole numbers"),
        (lambda: SentimentClassifier([16], "relu", "bce", dropout=1.0), r"model\.dropout: expected a number from 0"),
        (lambda: SentimentClassifier([16], "relu", "bce", optimizer="lion"), r"model\.optimizer: expected one of adam"),
    ],
)
def test_wrong_arguments_are_refused_like_settings(build, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()


def test_defaults_of_the_classifier_are_those_of_the_settings() -> None:
    classifier = SentimentClassifier([16], "relu", "bce")
    config = ModelConfig(name="python", hidden_units=[16], activation="relu", loss="bce")
    assert dict(classifier.hparams) == asdict(config) | {"num_words": 10_000}
    with pytest.raises(TypeError, match="dropuot"):
        SentimentClassifier([16], "relu", "bce", dropuot=0.5)


def test_every_kind_of_settings_has_a_source() -> None:
    assert set(SOURCES) == set(DATA_SCHEMAS.values())


def test_public_names_are_listed() -> None:
    assert {"IMDBDataModule", "SentimentClassifier", "TextDataModule", "load_run"} <= set(dir(imdb_lightning))
