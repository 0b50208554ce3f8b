"""A user's own labelled reviews: read once, tokenized by several processes, kept as bags.

The words of all reviews go to a file as numbers of words seen so far; once all are read, the splits are drawn, the
vocabulary is learnt from the training reviews, and the bags are written from that file. So memory holds the distinct
words and some 60 bytes a review, whatever the size of the files.

What is cut from the training files does not depend on their format or on the order of their rows: reviews are put in
the order of a digest of text and label first. Files named for validation or test keep their order.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imdb_lightning.config.data import TextDataConfig
from imdb_lightning.config.errors import UserError
from imdb_lightning.data.bags import BagsWriter, Ids
from imdb_lightning.data.cache import prepared
from imdb_lightning.data.readers import Row, describe, find_files, labelled_rows
from imdb_lightning.data.splits import DEVELOPMENT, TEST, Splits, open_splits, stratified_split
from imdb_lightning.data.tokens import DIGEST, digest, tokenized
from imdb_lightning.data.vocabulary import START_ID, load_word_index, rank_words, word_ids

log = logging.getLogger(__name__)
VERSION = 1
_INDEX, _WORDS, _ABOUT = "word_index.json", "words.unfinished", "about.json"
_TEST_DIGESTS = "test_digests.npy"
FILES = ("train", "validation", "test", "vocabulary")
SAME_BAGS = ("cache_dir", "train_size", "batch_size", "layout")
"""Settings that the prepared bags do not depend on."""
_GATHERED = 4096
"""Reviews whose bags are written at once."""


def check_text(config: TextDataConfig) -> None:
    """Refuses files that are not there.

    Raises:
        UserError: one is not.
    """
    for key in FILES:
        _find(config, key)


def load_text(cache: Path, config: TextDataConfig) -> Splits:
    """The reviews, prepared once.

    Raises:
        UserError: a file cannot be read, a row cannot be used, or there are too few reviews to cut.
    """
    settings = {key: value for key, value in asdict(config).items() if key not in SAME_BAGS}
    files = [_fingerprint(path) for key in FILES for path in _find(config, key)]
    digest_of_all = hashlib.sha256(repr((settings, files)).encode()).hexdigest()[:24]
    folder = prepared(cache, f"text-v{VERSION}-{digest_of_all}", lambda new: _build(config, new))
    about = json.loads((folder / _ABOUT).read_text())
    return open_splits(
        folder, about["validation"], config.train_size,
        word_index=load_word_index(folder / _INDEX), sha256=about["sha256"],
        source=", ".join(path.name for path in _find(config, "train")), test_texts=partial(test_texts, folder),
    )  # fmt: skip


def test_texts(folder: Path, rows: list[int]) -> list[str | None]:
    """Finds test reviews in their files again, by their digests.

    Args:
        folder: the prepared one, which names the files.
        rows: of the test split.

    Returns:
        Their raw texts; None where the files are gone or hold other reviews by now.
    """
    about = json.loads((folder / _ABOUT).read_text())
    wanted = [row.tobytes() for row in np.load(folder / _TEST_DIGESTS)[rows]]
    found: dict[bytes, str] = {}
    with suppress(UserError, OSError):
        paths = [Path(path) for path in about["test_files"]]
        for text, label in labelled_rows(paths, about["text_column"], about["label_column"], about["labels"], bad=[]):
            key = digest(text, label)
            if key in wanted:
                found[key] = text
    return [found.get(key) for key in wanted]


def _find(config: TextDataConfig, key: str) -> list[Path]:
    """The files and folders that `data.KEY` names."""
    return find_files(f"data.{key}", getattr(config, key))


def _fingerprint(path: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of change: reading gigabytes at every start would take longer than training."""
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    return [(str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.exists()]


@dataclass(frozen=True)
class _Read:
    """Reviews as they were read; their words are in the file.

    Attributes:
        starts: of each review's words in the file, int64 `[R]`.
        lengths: words of each review, int64 `[R]`.
        labels: uint8 `[R]`.
        digests: of each review's text and label, `DIGEST` `[R]`.
    """

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    labels: NDArray[np.uint8]
    digests: NDArray[np.void]

    def rows(self, rows: NDArray[np.int64]) -> _Read:
        """Some of them."""
        return _Read(self.starts[rows], self.lengths[rows], self.labels[rows], self.digests[rows])


class _Reader:
    """Reads splits, one after the other, into one file of word numbers.

    Attributes:
        numbers: of all words so far, in the order in which they were first seen.
    """

    def __init__(self, config: TextDataConfig, path: Path) -> None:
        self.config, self.path = config, path
        self.numbers: dict[str, int] = {}
        self.bad: list[Row] = []

    def read(self, paths: Sequence[Path]) -> _Read:
        """Reads a split; its bad rows are kept for `report_bad_rows`."""
        lengths, labels, digests = [np.zeros(0, np.int64)], [np.zeros(0, np.uint8)], [np.zeros(0, DIGEST)]
        config = self.config
        reviews = labelled_rows(paths, config.text_column, config.label_column, config.labels, self.bad)
        with self.path.open("ab") as file:
            begin = file.tell() // 4
            for chunk in tokenized(reviews):
                numbers = [self.numbers.setdefault(word, len(self.numbers)) for word in chunk.words]
                np.array(numbers, np.int32)[chunk.tokens].tofile(file)
                lengths.append(chunk.lengths)
                labels.append(chunk.labels)
                digests.append(chunk.digests)
        words = np.concatenate(lengths)
        return _Read(begin + np.cumsum(words) - words, words, np.concatenate(labels), np.concatenate(digests))

    def report_bad_rows(self) -> None:
        """Names the rows that could not be used: an error, or, if they may be skipped, a warning."""
        if self.bad and self.config.on_bad_row == "skip":
            log.warning("Skipped %s", describe(self.bad))
        elif self.bad:
            accepted = "rows with a text and a label 0, 1, " + " or ".join(self.config.labels)
            remedy = "Mend them, or go on without them: data.on_bad_row=skip."
            raise UserError("data.train", accepted, describe(self.bad), remedy)


def _build(config: TextDataConfig, folder: Path) -> None:
    words = folder / _WORDS
    reader = _Reader(config, words)
    named = {key: _find(config, key) for key in ("train", "validation", "test")}
    read = {name: reader.read(paths) for name, paths in named.items() if paths}
    reader.report_bad_rows()
    for name, split in read.items():
        if not len(split.labels):
            files = ", ".join(map(str, named[name]))
            raise UserError(
                f"data.{name}", "files with at least one labelled review", f"none in {files}", "Name others."
            )
    splits = _cut(config, read["train"]) | {name: read[name] for name in read if name != "train"}
    with words.open("rb") as file:
        index = _word_index(config, reader.numbers, file.fileno(), splits["train"])
        (folder / _INDEX).write_text(json.dumps(index), encoding="utf-8")
        known = word_ids(index, config.num_words)
        ids = np.array([known.get(word, 0) for word in reader.numbers], np.int32)
        for written, names in ((DEVELOPMENT, ("validation", "train")), (TEST, ("test",))):
            with BagsWriter(folder, written, config.num_words) as writer:
                for name in names:
                    _write(writer, file.fileno(), ids, splits[name])
    words.unlink()
    np.save(folder / _TEST_DIGESTS, splits["test"].digests)
    content = hashlib.sha256()
    for split in read.values():
        content.update(np.sort(split.digests, order=DIGEST.names).tobytes())
    about = {
        "validation": len(splits["validation"].labels), "sha256": content.hexdigest(),
        "test_files": [str(path.absolute()) for path in named["test"] or named["train"]],
        "text_column": config.text_column, "label_column": config.label_column, "labels": list(config.labels),
    }  # fmt: skip
    (folder / _ABOUT).write_text(json.dumps(about))


def _cut(config: TextDataConfig, read: _Read) -> dict[str, _Read]:
    """Cuts what is not named from the training reviews: with the same share of either label, in a drawn order."""
    ordered = read.rows(np.argsort(read.digests, order=DIGEST.names, kind="stable"))
    sizes = _sizes(config, len(ordered.labels))
    rows = stratified_split(ordered.labels, sizes, np.random.default_rng(config.seed))
    return {name: ordered.rows(part) for name, part in zip(("validation", "test", "train"), rows, strict=True)}


def _sizes(config: TextDataConfig, rows: int) -> list[int]:
    """Reviews to cut from training for validation and for the test."""
    sizes = []
    for key, named, size in (
        ("validation_size", config.validation, config.validation_size),
        ("test_size", config.test, config.test_size),
    ):
        count = 0 if named else round(size * rows if size < 1 else size)
        sizes.append(count)
        if not named and (count < 1 or sum(sizes) >= rows):
            accepted = f"from 1 to below the {rows} training reviews, with what else is cut from them"
            raise UserError(f"data.{key}", accepted, size, f"Lower it, or name files with data.{key.split('_')[0]}.")
    return sizes


def _word_index(config: TextDataConfig, numbers: dict[str, int], file: int, training: _Read) -> dict[str, int]:
    if config.vocabulary is not None:
        return load_word_index(_find(config, "vocabulary")[0])
    counts = np.zeros(len(numbers), np.int64)
    for words, _, _ in _gather(file, training):
        counts += np.bincount(words, minlength=len(counts))
    return rank_words({word: int(count) for word, count in zip(numbers, counts, strict=True) if count})


def _write(writer: BagsWriter, file: int, ids: Ids, split: _Read) -> None:
    """Writes the bags of reviews: a start id, then each word's id, words without one left out."""
    for words, lengths, labels in _gather(file, split):
        found = ids[words]
        review = np.repeat(np.arange(len(lengths)), lengths)[found > 0]
        kept = np.bincount(review, minlength=len(lengths))
        begins = np.cumsum(kept) - kept
        writer.append(np.insert(found[found > 0], begins, START_ID), kept + 1, labels)


def _gather(file: int, split: _Read) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.uint8]]]:
    """Words, lengths and labels of some thousand reviews at a time; read, not mapped, which keeps memory bounded."""
    for first in range(0, len(split.labels), _GATHERED):
        chunk = slice(first, first + _GATHERED)
        lengths = split.lengths[chunk]
        pairs = zip(split.starts[chunk].tolist(), lengths.tolist(), strict=True)
        words = b"".join(os.pread(file, 4 * length, 4 * start) for start, length in pairs)
        yield np.frombuffer(words, np.int32), lengths, split.labels[chunk]
