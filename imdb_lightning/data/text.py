"""A user's own labelled reviews: read once, tokenized by several threads, kept as bags.

The words of all reviews go to a file as numbers of words seen so far; once all are read, the splits are drawn, the
vocabulary is learnt from the training reviews, and the bags are written from that file. So memory holds the distinct
words and some 60 bytes a review, whatever the size of the files.

What is cut from the training files does not depend on their format or on the order of their rows: reviews are put in
the order of a digest of text and label first. Files named for validation or test keep their order.
"""

import functools
import hashlib
import itertools
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from imdb_lightning.config.data import LABELS, TextDataConfig
from imdb_lightning.config.errors import UserError
from imdb_lightning.config.reading import check_file
from imdb_lightning.data.bags import save_array
from imdb_lightning.data.cache import prepared
from imdb_lightning.data.formats import Format
from imdb_lightning.data.labels import BadRows, bad_rows, check_start, find_labels, labelled_rows, other_labels
from imdb_lightning.data.prepare import Chunk, write_splits
from imdb_lightning.data.readers import find_files
from imdb_lightning.data.splits import Splits, stratified_split
from imdb_lightning.data.tokens import DIGEST, REVIEW, Reviews, digest, tokenized
from imdb_lightning.data.vocabulary import START_ID, load_word_index, rank_words, word_ids

log = logging.getLogger(__name__)
VERSION = 2
# Settings that the prepared bags do not depend on.
_SAME_BAGS = ("cache_dir", "train_size", "batch_size", "class_weights", "shuffle", "layout")
_INDEX, _ABOUT, _TEST_DIGESTS = "word_index.json", "about.json", "test_digests.npy"
# Reviews whose bags are written at once.
_GATHERED = 4096
# Letters of a mean word that no language with blanks between words comes near; English has 4.
_LONG_WORD = 15


def find_named(config: TextDataConfig) -> dict[str, list[Path]]:
    """The files and folders that the settings name, for each of these keys; see `find_files`."""
    keys = ("train", "validation", "test", "vocabulary")
    return {key: find_files(f"data.{key}", getattr(config, key)) for key in keys}


def check_text(config: TextDataConfig) -> None:
    """Refuses files that are missing or, by their first rows, of another format, encoding or number of classes.

    Raises:
        UserError: there is such a file.
    """
    named = find_named(config)
    for key in ("train", "validation", "test"):
        check_start(tuple(named[key]), Format.of(config), tuple(config.labels or ()), config.on_bad_row == "error")
    for path in named["vocabulary"]:
        check_file(path)


def load_text(cache: Path, config: TextDataConfig) -> Splits:
    """The reviews, prepared once.

    Raises:
        UserError: a file cannot be read, a row cannot be used, or there are too few reviews to cut.
    """
    same = [key for key in _SAME_BAGS if key != "train_size" or not config.learns_columns()]
    settings = {key: value for key, value in asdict(config).items() if key not in same}
    named = find_named(config)
    paths = itertools.chain.from_iterable(named.values())
    groups = (sorted(path.rglob("*.txt")) if path.is_dir() else [path] for path in paths)
    # Names, sizes and times of change: reading gigabytes at every start would take longer than training.
    prints = [
        [(str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns) for file in group if file.exists()]
        for group in groups
    ]
    key = hashlib.sha256(repr((settings, prints)).encode()).hexdigest()[:24]
    folder = prepared(cache, f"text-v{VERSION}-{key}", lambda new: _build(config, named, new))
    about = json.loads((folder / _ABOUT).read_text())
    names = (
        label if label == meaning else f"{label} ({meaning})"
        for label, meaning in zip(about["labels"], LABELS, strict=True)
    )
    log.info("Classes: %s with {:,} reviews, %s with {:,}".format(*about["counts"]), *names)
    return Splits(
        folder, about["validation"], config.train_size, labels=about["labels"],
        source=", ".join(path.name for path in named["train"]), sha256=about["sha256"],
        word_index=load_word_index(folder / _INDEX), test_texts=functools.partial(test_texts, folder),
        with_validation=config.with_validation,
    )  # fmt: skip


def test_texts(folder: Path, rows: list[int]) -> list[str | None]:
    """Raw texts of test rows, found again in their files by digest; None where those are gone or hold other reviews."""
    about = json.loads((folder / _ABOUT).read_text())
    digests = [row.tobytes() for row in np.load(folder / _TEST_DIGESTS)[rows]]
    found: dict[bytes, str] = {}
    # Version 1 knew the columns alone.
    form = Format(**{name: about[name] for name in Format._fields if name in about})
    with suppress(UserError, OSError):
        paths = [Path(path) for path in about["test_files"]]
        for text, label in labelled_rows(paths, form, about["labels"], BadRows()):
            key = digest(text, label)
            if key in digests:
                found[key] = text
    return [found.get(key) for key in digests]


def _build(config: TextDataConfig, named: dict[str, list[Path]], folder: Path) -> None:
    numbers: dict[str, int] = {}
    labels = config.labels or find_labels(named["train"], Format.of(config)) or list(LABELS)
    if len(labels) == 1:
        raise other_labels(named["train"], Format.of(config), None)
    # In the cache, since the system's folder for temporary files may be too small, or be memory.
    with tempfile.TemporaryFile(dir=folder) as words:
        read = _read(config, labels, named, words, numbers)
        splits = read | _cut(config, read["train"])
        _check_classes(splits, labels)
        counts = np.zeros(len(numbers), np.int64)
        learnt = ("validation", "train") if config.with_validation else ("train",)
        for tokens, _ in itertools.chain(*(_gather(words, splits[part]) for part in learnt)):
            counts += np.bincount(tokens, minlength=len(counts))
        _check_words(numbers, counts)
        if named["vocabulary"]:
            index = load_word_index(named["vocabulary"][0])
        else:
            index = rank_words({word: int(count) for word, count in zip(numbers, counts, strict=True) if count})
        (folder / _INDEX).write_text(json.dumps(index), encoding="utf-8")
        known = word_ids(index, config.num_words)
        # A word without an id is left out by giving it the start id, which every bag, being a set, holds once anyway.
        ids = np.array([known.get(word, START_ID) for word in numbers], np.int32)

        def chunks(*parts: str) -> Iterator[Chunk]:
            for tokens, reviews in itertools.chain(*(_gather(words, splits[part]) for part in parts)):
                starts, lengths = np.cumsum(reviews["length"]) - reviews["length"], reviews["length"] + 1
                yield np.insert(ids[tokens], starts, START_ID), lengths, reviews["label"]

        development, test = functools.partial(chunks, "validation", "train"), functools.partial(chunks, "test")
        write_splits(folder, config, development, test, len(splits["validation"]))
    save_array(folder / _TEST_DIGESTS, splits["test"]["digest"])
    content = hashlib.sha256()
    for reviews in read.values():
        # Sorted, so that the same reviews in another order are the same reviews.
        content.update(np.sort(reviews["digest"], order=DIGEST.names).tobytes())
    about = {
        "validation": len(splits["validation"]), "sha256": content.hexdigest(),
        "test_files": [str(path.absolute()) for path in named["test"] or named["train"]],
        "labels": labels, "counts": np.bincount(read["train"]["label"], minlength=2).tolist(),
        **Format.of(config)._asdict(),
    }  # fmt: skip
    (folder / _ABOUT).write_text(json.dumps(about))


def _check_classes(splits: dict[str, Reviews], labels: list[str]) -> None:
    """Refuses to train on one class, and warns of a validation or a test on one."""
    for key, reviews in splits.items():
        numbers = np.bincount(reviews["label"], minlength=2).tolist()
        if all(numbers):
            continue
        (only, count) = max(zip(labels, numbers, strict=True), key=lambda pair: pair[1])
        if key == "train":
            found = f"{count:,} reviews of {only} alone"
            raise UserError("data.train", "reviews of both classes to train on", found, "Name files with both.")
        log.warning("All %s %s reviews are of %s: this says little about the other class.", f"{count:,}", key, only)


def _check_words(numbers: dict[str, int], counts: NDArray[np.int64]) -> None:
    """Warns of texts without blanks between words; `counts` has how often each word is there, `[W]`."""
    lengths = np.fromiter(map(len, numbers), np.int64, len(numbers))
    if counts @ lengths > _LONG_WORD * counts.sum():
        log.warning(
            "The mean word of the training reviews has %.0f characters: words end at spaces and punctuation alone. "
            "In a language without blanks between words, put blanks there first.",
            counts @ lengths / counts.sum(),
        )  # fmt: skip


def _read(
    config: TextDataConfig, labels: list[str], named: dict[str, list[Path]], words: IO[bytes], numbers: dict[str, int]
) -> dict[str, Reviews]:
    """Reads the named splits; their words go to the file, as `numbers` in the order in which they were first seen."""
    read: dict[str, Reviews] = {}
    unknown = False  # Whether training files hold labels besides the two.
    bad, form = BadRows(), Format.of(config)
    for key in (key for key in ("train", "validation", "test") if named[key]):
        parts = [np.zeros(0, REVIEW)]
        for chunk in tokenized(labelled_rows(named[key], form, labels, bad), config.tokens):
            # From here on, starts count from the beginning of the file, not of the chunk.
            chunk.reviews["start"] += words.tell() // 4
            number_of = np.array([numbers.setdefault(word, len(numbers)) for word in chunk.words], np.int32)
            words.write(number_of[chunk.tokens].tobytes())
            parts.append(chunk.reviews)
        words.flush()  # It is read past the buffer.
        read[key] = np.concatenate(parts)
        unknown = unknown or (key == "train" and bad.other_labels)
    # Once all files are read, so that one message names the bad rows of all.
    if bad.count and config.on_bad_row == "error":
        raise bad_rows(bad, [path for key in read for path in named[key]], form, config.labels)
    # Which labels are the classes is not to be guessed.
    if config.labels is None and unknown:
        raise other_labels(named["train"], form, None)
    if bad.count:
        log.warning("Skipped %s", bad)
    for key, reviews in read.items():
        if not len(reviews):
            accepted, files = "files with at least one labelled review", ", ".join(map(str, named[key]))
            raise UserError(f"data.{key}", accepted, f"none in {files}", "Name others.")
    return read


def _cut(config: TextDataConfig, reviews: Reviews) -> dict[str, Reviews]:
    """Cuts what is not named from the training reviews: with the same share of either label, in a drawn order."""
    sizes: dict[str, int] = {}
    for key in (key for key in ("validation", "test") if not getattr(config, key)):
        size = getattr(config, f"{key}_size")
        sizes[key] = round(size * len(reviews) if size < 1 else size)
        if sizes[key] < 1 or sum(sizes.values()) >= len(reviews):
            accepted = f"from 1 to below the {len(reviews)} training reviews, with what else is cut from them"
            if size < 1:
                accepted = f"a share of the {len(reviews)} training reviews that, with what else is cut, leaves some"
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
