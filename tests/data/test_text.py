"""Own reviews: the same bags whatever format and order, splits as named or cut, vocabulary from training alone."""

from __future__ import annotations

import csv
import itertools
import json
import os
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from imdb_lightning.config.data import TextDataConfig
from imdb_lightning.config.errors import UserError
from imdb_lightning.data.bags import Bags
from imdb_lightning.data.text import check_text, load_text
from imdb_lightning.data.tokens import tokenize_chunk, tokenized
from imdb_lightning.data.vocabulary import tokenize

WORDS = [*"abcdefghijkl", "good", "bad", "it's", "naïve", "film"]


def reviews(count: int, seed: int = 0) -> list[tuple[str, int]]:
    choice = random.Random(seed)
    texts = [" ".join(choice.choices(WORDS, k=choice.randint(1, 30))) for _ in range(count)]
    return [(f"{text} {number}", number % 2) for number, text in enumerate(texts)]


def write_csv(path: Path, rows: list[tuple[str, int]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def source(*train: Path, **changes) -> TextDataConfig:
    defaults = {"train": [str(path) for path in train], "test_size": 100, "num_words": 500}
    return TextDataConfig(**defaults | changes)


def bags_of(split: Bags) -> list[tuple[int, ...]]:
    return [(int(split.labels[row]), *split.span(row, row + 1)[0].tolist()) for row in range(len(split))]


def expected_bag(text: str, label: int, index: dict[str, int], num_words: int) -> tuple[int, ...]:
    ids = {1} | {index[word] + 3 if index[word] + 3 < num_words else 2 for word in tokenize(text) if word in index}
    return (label, *sorted(ids))


def test_same_bags_from_all_formats_and_orders(tmp_path: Path) -> None:
    rows = reviews(700)
    shuffled = random.Random(1).sample(rows, len(rows))
    parquet.write_table(
        pa.table({"text": [text for text, _ in rows], "label": [label for _, label in rows]}), tmp_path / "r.parquet"
    )
    (tmp_path / "r.jsonl").write_text(
        "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    )
    for number, (text, label) in enumerate(rows):
        path = tmp_path / "folder" / ("neg", "pos")[label] / f"{number}_{label}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    paths = [write_csv(tmp_path / "r.csv", rows), write_csv(tmp_path / "s.csv", shuffled)]
    paths += [tmp_path / "r.parquet", tmp_path / "r.jsonl", tmp_path / "folder"]
    first, *others = (load_text(tmp_path, source(path)) for path in paths)
    assert (len(first.validation), len(first.test), len(first.train)) == (140, 100, 460)
    for other in others:
        for split in ("train", "validation", "test"):
            assert bags_of(getattr(first, split)) == bags_of(getattr(other, split))
        assert (first.word_index, first.sha256) == (other.word_index, other.sha256)


def test_bags_are_those_of_the_words_and_splits_are_stratified(tmp_path: Path) -> None:
    rows = reviews(5000)  # More than one chunk: several threads.
    splits = load_text(tmp_path, source(write_csv(tmp_path / "r.csv", rows), num_words=15))
    parts = [bags_of(split) for split in (splits.train, splits.validation, splits.test)]
    assert (
        [sum(label for label, *_ in part) * 2 for part in parts] == [len(part) for part in parts] == [3900, 1000, 100]
    )
    # Each review has a number for a word of its own: the vocabulary knows those of training.
    assert sum(word.isdigit() for word in splits.word_index) == 3900
    found = Counter(bag for part in parts for bag in part)
    assert found == Counter(expected_bag(text, label, splits.word_index, 15) for text, label in rows)


def test_vocabulary_is_of_training_alone_by_frequency_then_alphabet(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", [("b a b c", 1), ("c a d", 0)])
    test = write_csv(tmp_path / "test.csv", [("b unseen", 1), ("d d", 0)])
    splits = load_text(tmp_path, source(train, test=str(test), validation=[str(test)], num_words=6))
    assert splits.word_index == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert bags_of(splits.test) == [(1, 1, 5), (0, 1, 2)]  # In the file's order; "unseen" is dropped, "d" is rare.
    assert bags_of(splits.test) == bags_of(splits.validation)
    assert len(splits.train) == 2


def test_given_vocabulary_is_used(tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text('{"c": 1, "a": 2}')
    train = write_csv(tmp_path / "train.csv", [("b a b c", 1), ("c d", 0)])
    chosen = source(train, test=str(train), validation=str(train), vocabulary=str(tmp_path / "words.json"))
    splits = load_text(tmp_path, chosen)
    assert bags_of(splits.test) == [(1, 1, 4, 5), (0, 1, 4)]


def test_bad_rows_are_an_error_or_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_csv(tmp_path / "r.csv", [*reviews(400), ("", 1), ("x", "")])
    with pytest.raises(UserError, match=r"2 bad rows \(.*r\.csv, row 401: no text; .*row 402: no label\)"):
        load_text(tmp_path, source(path))
    assert not list(tmp_path.glob("text-v*[!k]"))
    splits = load_text(tmp_path, source(path, on_bad_row="skip"))
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 400
    assert "Skipped 2 bad rows" in caplog.text


def test_found_labels_are_those_of_named_ones_and_are_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    rows = reviews(300)
    path = write_csv(tmp_path / "r.csv", [(text, ["Spam", "ham"][label]) for text, label in rows])
    named = load_text(tmp_path, source(path, labels=["ham", "spam"]))
    found = load_text(tmp_path, source(path))
    assert (named.labels, found.labels) == (["ham", "spam"], ["ham", "Spam"])
    assert found.sha256 == named.sha256
    assert [bags_of(found.train), bags_of(found.test)] == [bags_of(named.train), bags_of(named.test)]
    assert caplog.messages[-1] == "Classes: ham (negative) with 150 reviews, Spam (positive) with 150"
    before = path.stat()
    path.write_bytes(b"x" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert load_text(tmp_path, source(path)).labels == ["ham", "Spam"]  # Without reading the file.


def test_third_label_is_never_left_out_unless_two_are_named(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "r.csv", [*reviews(1500), ("x", "unsure")])
    check_text(source(path))  # In the first rows there is none.
    for choice in ("error", "skip"):
        with pytest.raises(UserError, match=r"data\.labels: .* 3 labels: 0 \(750\), 1 \(750\), unsure \(1\)\. "):
            load_text(tmp_path, source(path, on_bad_row=choice))
    assert len(load_text(tmp_path, source(path, on_bad_row="skip", labels=["0", "1"])).train) == 1100


def test_one_class_is_refused_in_training_and_told_elsewhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = reviews(200)
    path, ones = write_csv(tmp_path / "r.csv", rows), write_csv(tmp_path / "s.csv", rows[1::2])
    with pytest.raises(UserError, match=r"data\.labels: expected two classes only, but got only 1 \(100\)\."):
        load_text(tmp_path, source(ones))
    with pytest.raises(UserError, match=r"data\.train: expected reviews of both classes .* 100 reviews of good alone"):
        load_text(tmp_path, source(ones, labels=["bad", "good"], validation=str(path), test=str(path)))
    assert not [folder for folder in tmp_path.iterdir() if folder.is_dir()]
    load_text(tmp_path, source(path, test=str(ones)))
    assert "All 100 test reviews are of positive" in caplog.text


@pytest.mark.parametrize(("size", "accepted"), [(0.9, "a share of the 100"), (90, "from 1 to below the 100")])
def test_sizes_are_refused_in_their_own_terms(size: float, accepted: str, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "r.csv", reviews(100))
    with pytest.raises(UserError, match=rf"data\.test_size: expected {accepted} training reviews.* but got {size}\."):
        load_text(tmp_path, source(path, test_size=size))


@pytest.mark.parametrize(("letters", "warned"), [(15, False), (16, True)])
def test_texts_without_blanks_are_told(
    letters: int, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [(f"{number:字>{letters}} {number:語>{letters}}", number % 2) for number in range(200)]
    load_text(tmp_path, source(write_csv(tmp_path / "r.csv", rows)))
    assert ("has 16 characters: words end at spaces" in caplog.text) == warned


def test_files_are_refused_by_their_first_rows(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "r.csv", reviews(100))
    (tmp_path / "r.xls").touch()
    (tmp_path / "latin.csv").write_bytes(b"text,label\n\xa35,1\n")
    check_text(source(path, test=str(path)))
    for settings, message in (
        ({"test": str(tmp_path / "r.xls")}, r"r\.xls: expected a file that ends in"),
        ({"validation": str(tmp_path / "latin.csv")}, r"data\.encoding: .* 0xa3"),
        ({"text_column": 2}, r"data\.text_column: expected one of the columns .* but got '2'"),
        ({"train": "~/none.csv"}, "expected an existing file"),
    ):
        with pytest.raises(UserError, match=message):
            check_text(source(path, **settings))


def test_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(tmp_path / "r.csv", reviews(300))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load_text(tmp_path, TextDataConfig(train="~/r.csv")).train) == 180


@pytest.mark.parametrize("key", ["validation", "test"])
def test_named_file_without_reviews_is_refused(key: str, tmp_path: Path) -> None:
    path, empty = write_csv(tmp_path / "r.csv", reviews(200)), write_csv(tmp_path / "empty.csv", [])
    with pytest.raises(UserError, match=rf"data\.{key}: expected files with at least one .*empty\.csv"):
        load_text(tmp_path, source(path, **{key: str(empty)}))
    assert not [folder for folder in tmp_path.iterdir() if folder.is_dir()]


def test_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "r.csv", reviews(300))
    assert len(load_text(tmp_path, source(path)).train) == 140
    write_csv(path, reviews(400))
    assert len(load_text(tmp_path, source(path)).train) == 220
    before = load_text(tmp_path, source(path)).sha256
    size = path.stat().st_size
    path.write_bytes(path.read_bytes().replace(b"film", b"good"))
    assert path.stat().st_size == size
    assert load_text(tmp_path, source(path)).sha256 != before


def test_chunks_of_threads_are_those_of_one() -> None:
    rows = reviews(9000)
    chunks = list(tokenized(iter(rows), "words"))
    whole = tokenize_chunk(rows, "words")
    assert len(chunks) == 3
    assert [chunk.words[token] for chunk in chunks for token in chunk.tokens] == [whole.words[t] for t in whole.tokens]
    np.testing.assert_array_equal(
        np.concatenate([chunk.reviews["digest"] for chunk in chunks]), whole.reviews["digest"]
    )


def test_reader_that_fails_fails_loudly() -> None:
    def rows():
        yield from reviews(9000)
        raise UserError("file", "rows", "none", "Mend it.")

    with pytest.raises(UserError, match="file: expected rows"):
        list(tokenized(rows(), "words"))


def test_chunks_can_be_given_up_before_the_last() -> None:
    chunks = tokenized(itertools.repeat(("a film", 1)), "words")
    assert len(next(chunks).reviews) == 4096
    chunks.close()
