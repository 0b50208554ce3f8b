"""A user's own labelled reviews: read once, tokenized by several processes, kept as bags.

The words of all reviews go to a file as numbers of words seen so far; once all are read, the splits are drawn, the
vocabulary is learnt from the training reviews, and the bags are written from that file. So memory holds the distinct
words and some 60 bytes a review, whatever the size of the files.

What is cut from the training files does not depend on their format or on the order of their rows: reviews are put in
the order of a digest of text and label first. Files named for validation or test keep their order.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from imdb_lightning.config.data import TextDataConfig
from imdb_lightning.config.errors import UserError
from imdb_lightning.data.bags import BagsWriter
from imdb_lightning.data.cache import prepared
from imdb_lightning.data.readers import Row, describe, find_files, labelled_rows
from imdb_lightning.data.splits import DEVELOPMENT, TEST, Splits, open_splits, stratified_split
from imdb_lightning.data.tokens import DIGEST, digest, tokenized
from imdb_lightning.data.vocabulary import START_ID, load_word_index, rank_words, word_ids

log = logging.getLogger(__name__)
VERSION = 1
_FILES = ("train", "validation", "test", "vocabulary")
# Settings that the prepared bags do not depend on.
_SAME_BAGS = ("cache_dir", "train_size", "batch_size", "layout")
_INDEX, _ABOUT, _TEST_DIGESTS = "word_index.json", "about.json", "test_digests.npy"
# Reviews whose bags are written at once.
_GATHERED = 4096

# `tokens.REVIEW`, `[R]`; here, `start` counts from the beginning of the file of words.
Reviews = NDArray[np.void]


def check_text(config: TextDataConfig) -> None:
    """Refuses files that are not there.

    Raises:
        UserError: one is not.
    """
    for key in _FILES:
        _find(config, key)


def load_text(cache: Path, config: TextDataConfig) -> Splits:
    """The reviews, prepared once.

    Raises:
        UserError: a file cannot be read, a row cannot be used, or there are too few reviews to cut.
    """
    settings = {key: value for key, value in asdict(config).items() if key not in _SAME_BAGS}
    groups = [sorted(path.rglob("*.txt")) if path.is_dir() else [path] for key in _FILES for path in _find(config, key)]
    # Names, sizes and times of change: reading gigabytes at every start would take longer than training.
    prints = [
        [(str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns) for file in group if file.exists()]
        for group in groups
    ]
    key = hashlib.sha256(repr((settings, prints)).encode()).hexdigest()[:24]
    folder = prepared(cache, f"text-v{VERSION}-{key}", lambda new: _build(config, new))
    about = json.loads((folder / _ABOUT).read_text())
    return open_splits(
        folder, about["validation"], config.train_size,
        source=", ".join(path.name for path in _find(config, "train")), sha256=about["sha256"],
        word_index=load_word_index(folder / _INDEX), test_texts=partial(test_texts, folder),
    )  # fmt: skip


def test_texts(folder: Path, rows: list[int]) -> list[str | None]:
    """Raw texts of test rows, found again by their digests in the files that the prepared folder names.

    None where the files are gone or hold other reviews by now.
    """
    about = json.loads((folder / _ABOUT).read_text())
    digests = [row.tobytes() for row in np.load(folder / _TEST_DIGESTS)[rows]]
    found: dict[bytes, str] = {}
    with suppress(UserError, OSError):
        paths = [Path(path) for path in about["test_files"]]
        for text, label in labelled_rows(paths, about["text_column"], about["label_column"], about["labels"], bad=[]):
            key = digest(text, label)
            if key in digests:
                found[key] = text
    return [found.get(key) for key in digests]


def _find(config: TextDataConfig, key: str) -> list[Path]:
    """The files and folders that `data.KEY` names."""
    return find_files(f"data.{key}", getattr(config, key))


def _build(config: TextDataConfig, folder: Path) -> None:
    numbers: dict[str, int] = {}
    bad: list[Row] = []
    named = {key: _find(config, key) for key in ("train", "validation", "test")}
    # In the cache, since the system's folder for temporary files may be too small, or be memory.
    with tempfile.TemporaryFile(dir=folder) as words:
        read = {key: _read(config, paths, words, numbers, bad) for key, paths in named.items() if paths}
        if bad and config.on_bad_row == "skip":
            log.warning("Skipped %s", describe(bad))
        elif bad:
            accepted = "rows with a text and a label 0, 1, " + " or ".join(config.labels)
            remedy = "Mend them, or go on without them: data.on_bad_row=skip."
            raise UserError("data.train", accepted, describe(bad), remedy)
        for key, reviews in read.items():
            if not len(reviews):
                files = ", ".join(map(str, named[key]))
                accepted = "files with at least one labelled review"
                raise UserError(f"data.{key}", accepted, f"none in {files}", "Name others.")
        splits = read | _cut(config, read["train"])
        if config.vocabulary is None:
            counts = np.zeros(len(numbers), np.int64)
            for tokens, _ in _gather(words, splits["train"]):
                counts += np.bincount(tokens, minlength=len(counts))
            index = rank_words({word: int(count) for word, count in zip(numbers, counts, strict=True) if count})
        else:
            index = load_word_index(_find(config, "vocabulary")[0])
        (folder / _INDEX).write_text(json.dumps(index), encoding="utf-8")
        known = word_ids(index, config.num_words)
        ids = np.array([known.get(word, 0) for word in numbers], np.int32)
        for name, keys in ((DEVELOPMENT, ("validation", "train")), (TEST, ("test",))):
            with BagsWriter(folder, name, config.num_words) as writer:
                for tokens, reviews in itertools.chain(*(_gather(words, splits[key]) for key in keys)):
                    _append(writer, ids[tokens], reviews)
    np.save(folder / _TEST_DIGESTS, splits["test"]["digest"])
    content = hashlib.sha256()
    for reviews in read.values():
        # Sorted, so that the same reviews in another order are the same reviews.
        content.update(np.sort(reviews["digest"], order=DIGEST.names).tobytes())
    about = {
        "validation": len(splits["validation"]), "sha256": content.hexdigest(),
        "test_files": [str(path.absolute()) for path in named["test"] or named["train"]],
        "text_column": config.text_column, "label_column": config.label_column, "labels": list(config.labels),
    }  # fmt: skip
    (folder / _ABOUT).write_text(json.dumps(about))


def _read(
    config: TextDataConfig, paths: Sequence[Path], words: IO[bytes], numbers: dict[str, int], bad: list[Row]
) -> Reviews:
    """Reads a split; its words, by their `numbers` in the order in which they were first seen, go to the file."""
    parts = []
    for chunk in tokenized(labelled_rows(paths, config.text_column, config.label_column, config.labels, bad)):
        chunk.reviews["start"] += words.tell() // 4
        number_of = np.array([numbers.setdefault(word, len(numbers)) for word in chunk.words], np.int32)
        number_of[chunk.tokens].tofile(words)
        parts.append(chunk.reviews)
    return np.concatenate(parts)


def _cut(config: TextDataConfig, reviews: Reviews) -> dict[str, Reviews]:
    """Cuts what is not named from the training reviews: with the same share of either label, in a drawn order."""
    sizes: dict[str, int] = {}
    for key in ("validation", "test"):
        if getattr(config, key):
            continue
        size = getattr(config, f"{key}_size")
        sizes[key] = round(size * len(reviews) if size < 1 else size)
        if sizes[key] < 1 or sum(sizes.values()) >= len(reviews):
            accepted = f"from 1 to below the {len(reviews)} training reviews, with what else is cut from them"
            raise UserError(f"data.{key}_size", accepted, size, f"Lower it, or name files with data.{key}.")
    ordered = reviews[np.argsort(reviews["digest"], order=DIGEST.names, kind="stable")]
    parts = stratified_split(ordered["label"], list(sizes.values()), np.random.default_rng(config.seed))
    return {key: ordered[rows] for key, rows in zip([*sizes, "train"], parts, strict=True)}


def _gather(words: IO[bytes], reviews: Reviews) -> Iterator[tuple[NDArray[np.int32], Reviews]]:
    """Word numbers of some thousand reviews at a time; read, not mapped, which keeps memory bounded."""
    for first in range(0, len(reviews), _GATHERED):
        chunk = reviews[first : first + _GATHERED]
        pairs = zip(chunk["start"].tolist(), chunk["length"].tolist(), strict=True)
        content = b"".join(os.pread(words.fileno(), 4 * length, 4 * start) for start, length in pairs)
        yield np.frombuffer(content, np.int32), chunk


def _append(writer: BagsWriter, ids: NDArray[np.int32], reviews: Reviews) -> None:
    """Writes bags of reviews: a start id, then each word's id; words without one, here 0, are left out."""
    review = np.repeat(np.arange(len(reviews)), reviews["length"])[ids > 0]
    kept = np.bincount(review, minlength=len(reviews))
    writer.append(np.insert(ids[ids > 0], np.cumsum(kept) - kept, START_ID), kept + 1, reviews["label"])
