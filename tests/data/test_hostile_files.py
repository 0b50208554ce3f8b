"""Files that strangers give: none that is read for ever, none that fills the memory, and one message for each."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from imdb_lightning.config.data import IMDBDataConfig, TextDataConfig
from imdb_lightning.config.errors import UserError
from imdb_lightning.data.bounds import MAX_ARRAY, MAX_INDEX, MAX_NPZ, MAX_REVIEW
from imdb_lightning.data.cache import find_damage, prepared
from imdb_lightning.data.formats import Format
from imdb_lightning.data.imdb import check_imdb
from imdb_lightning.data.labels import BadRows, labelled_rows, other_labels
from imdb_lightning.data.npz import count_reviews, read_split
from imdb_lightning.data.readers import find_files, read_rows
from imdb_lightning.data.text import check_text
from imdb_lightning.data.vocabulary import load_word_index
from tests.data.hostile_npz import header, members, npy, of_objects
from tests.support import Command
from tests.torture.children import Outcome, in_child
from tests.torture.files import archive

LABELS = ["negative", "positive"]


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def read_all(path: Path) -> Outcome:
    """Reads a file or folder as `predict` and as training do; in a child, with limits on time and memory."""

    def read() -> None:
        rows = sum(len(row.text) for row in read_rows(path, Format(label_column=None)))
        assert rows == sum(len(text) for text, _ in labelled_rows([path], Format(), LABELS, BadRows()))

    return in_child(read)


@pytest.mark.parametrize("name", ["r.csv", "r.tsv.gz", "r.jsonl", "r.parquet", "r.txt", "imdb.npz", "index.json"])
@pytest.mark.parametrize(
    ("make", "found"),
    [(os.mkfifo, "a pipe"), (loop, "Too many levels of symbolic links"), (zeros, "a device"), (os.mkdir, "a folder")],
)
def test_what_is_no_file_is_not_waited_for(name: str, make: Callable[[Path], None], found: str, tmp_path: Path) -> None:
    path = tmp_path / name
    make(path)
    if path.suffix == ".npz":
        outcome = in_child(lambda: check_imdb(IMDBDataConfig(path=str(path))))
        assert f"data.path: expected an existing file, but got {path} ({found}). " in outcome.message
        return
    outcome = in_child(lambda: load_word_index(path)) if path.suffix == ".json" else read_all(path)
    if make is os.mkdir and path.suffix != ".json":
        found = "none in it"
    assert outcome.message.startswith(f"{path}: expected "), outcome
    assert f", but got {found}. " in outcome.message


@pytest.mark.parametrize(("make", "found"), [(os.mkfifo, "a pipe"), (loop, "Too many"), (os.mkdir, "a folder")])
def test_file_of_a_folder_is_named(make: Callable[[Path], None], found: str, tmp_path: Path) -> None:
    for folder in ("pos", "neg"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pos" / "1.txt").write_bytes(b"fine \xff")
    make(tmp_path / "pos" / "2.txt")
    outcome = read_all(tmp_path)
    assert outcome.message.startswith(
        f"{tmp_path}/pos/2.txt: expected an existing file that can be read, but got {found}"
    )
    bad = BadRows()
    (tmp_path / "pos" / "2.txt").rename(tmp_path / "other")
    assert list(labelled_rows([tmp_path], Format(), LABELS, bad)) == []
    assert f"({tmp_path}/pos/1.txt: bytes not in UTF-8: 0xff)" in str(bad)


def test_names_that_no_file_can_have_are_refused(tmp_path: Path) -> None:
    long = "a" * 5000
    for name in (long, f"{long}.npz", "~nobody-of-this-name/x.npz", "a\0b"):
        with pytest.raises(UserError, match=r"data\.path: expected an existing file"):
            check_imdb(IMDBDataConfig(path=name))
        with pytest.raises(UserError, match=r"data\.train: expected an existing file or folder") as refused:
            find_files("data.train", name)
        assert len(str(refused.value)) < 3000


@pytest.mark.parametrize("name", ["r.csv.gz", "r.tsv.gz", "r.jsonl.gz", "r.txt.gz"])
def test_damaged_gzip_is_one_message(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    text = "".join(f'{{"text": "film {number}", "label": 1}}\n' for number in range(500))
    whole = gzip.compress((text if "jsonl" in name else "text,label\nfine,1\n" * 300).encode())
    for content in (whole[:-20], whole[: len(whole) // 2], whole[:40] + b"\xff" * 9 + whole[49:], b"text,label\n"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}: expected a whole file, but got a damaged one \(.*\)\. Fetch or"):
            list(read_rows(path, Format(label_column=None)))


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("r.csv.gz", lambda: gzip.compress(bytes(MAX_REVIEW * 8), 1), f"line 1: expected at most {MAX_REVIEW:,}"),
        ("r.jsonl.gz", lambda: gzip.compress(b"[" * MAX_REVIEW * 8, 1), f"line 1: expected at most {MAX_REVIEW:,}"),
        ("r.txt.gz", lambda: gzip.compress((b"0" * 999_999 + b"\n") * 80), "it grows to more than 33,554,432 bytes"),
        ("r.csv", lambda: b'text,label\nfine,1\n"' + b"many reviews\n" * 2_000_000, "line 3: expected at most"),
        ("r.csv", lambda: b'text,label\n"' + b'a\n","' * 4_000_000, "line 2: expected at most"),
    ],
    ids=["one line of zeros", "deep JSON", "rows of zeros", "a quote that is never closed", "an endless row"],
)  # fmt: skip
def test_what_would_fill_the_memory_is_not_read_on(
    name: str, content: Callable[[], bytes], found: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content())
    outcome = read_all(tmp_path / name)
    assert found in outcome.message, outcome


def test_long_reviews_and_many_rows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerow(("word\n" * (MAX_REVIEW // 5 - 10), 1))
        writer.writerows([("a film", 0)] * 1000)
    assert read_all(path).read


def test_bad_rows_are_counted_and_ten_are_kept(tmp_path: Path) -> None:
    path, bad = tmp_path / "r.csv", BadRows()
    path.write_bytes(b"text,label\n" + b"x\n" * 50_000 + b"\xff,1\nfine,other\n")
    assert list(labelled_rows([path], Format(), LABELS, bad)) == []
    assert (bad.count, len(bad.first), bad.other_labels) == (50_002, 10, True)
    assert bad.undecodable is not None
    assert bad.undecodable.place == f"{path}, row 50001"
    assert "; and 49,992 more)" in str(bad)


def test_messages_have_a_length(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text(",".join(f"column {number}" for number in range(100_000)) + "\n")
    with pytest.raises(UserError, match=r"column 0, .*, column 19, and 99,980 more, but got 'text'") as refused:
        list(read_rows(path, Format()))
    assert len(str(refused.value)) < 5000
    path.write_text(f"text,label\nfine,{'a' * 10**6}\nfine,{'b' * 10**6}\n{'c' * 10**6},{'c' * 10**6}\n")
    assert len(str(other_labels([path], Format(), None))) < 5000
    (tmp_path / "index.json").write_text(json.dumps({"a" * 10**6: "b" * 10**6}))
    with pytest.raises(UserError, match=r"index\.json, 'a+': expected ranks") as refused:
        load_word_index(tmp_path / "index.json")
    assert len(str(refused.value)) < 5000


def test_label_that_is_no_simple_value_is_none(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    lines = [json.dumps({"text": "fine", "label": 1})]
    lines += [
        f'{{"text": "fine", "label": {value}}}' for value in ("[1]", "{}", "[" * 900 + "]" * 900, "1e999", "null")
    ]
    path.write_text("\n".join(lines))
    assert [row.label for row in read_rows(path, Format())] == ["1", None, None, None, "inf", None]


def test_parquet_text_that_is_there_many_times_is_held_once(tmp_path: Path) -> None:
    texts = pa.DictionaryArray.from_arrays(np.zeros(1024, np.int32), ["a" * 2_000_000])
    table = pa.table({"text": texts, "label": [1] * 1024})
    parquet.write_table(table, tmp_path / "r.parquet", dictionary_pagesize_limit=1 << 30, store_schema=False)
    assert (tmp_path / "r.parquet").stat().st_size < 1 << 20
    assert read_all(tmp_path / "r.parquet").read


def test_parquet_that_grows_or_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    parquet.write_table(pa.table({"text": ["a" * 100_000_000], "label": [1]}), path, compression="zstd")
    assert " grow to 100,0" in read_all(path).message
    buffers = [None, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe")]
    text = pa.Array.from_buffers(pa.string(), 1, buffers)
    parquet.write_table(pa.table({"text": text, "label": [1]}), path)
    assert f"{path}: expected a whole file, but got a damaged one (" in read_all(path).message


@pytest.mark.parametrize("name", ["page_size", "size_statistics"])
def test_parquet_that_arrow_cannot_refuse_itself_is_refused(name: str) -> None:
    """A page that claims 1.5 GB, which Arrow makes room for; a column's statistics, at which it ends the process."""
    path = Path(__file__).parent.parent / "fixtures" / f"{name}.parquet"
    message = read_all(path).message
    assert message.startswith(f"{path}: expected a whole file, but got a damaged one (")
    assert "malloc" not in message


@pytest.mark.parametrize(
    ("member", "content", "found"),
    [
        ("y_train", lambda: header((MAX_ARRAY,), "|b1") + bytes(MAX_ARRAY), "bytes, more than"),
        ("x_train", lambda: header((300,)) + b"\x80\x02" + b"]" * MAX_ARRAY, "bytes, more than"),
        ("x_train", lambda: header((300,)) + b"\x80\x02" + b"]" * 10**7, "makes more than 2,500 lists"),
        ("x_train", lambda: header((300,)) + b"\x80\x02]r\0\0\0\x08.", "the pickle holds b'r' at byte 3"),
        ("x_train", lambda: header((300,)) + b"\x80\x04" + b"\x8f" * 10**7, r"the pickle holds b'\x8f' at byte 2"),
        ("x_train", lambda: header((2**62,), "|O") + b"\x80\x02].", "an array of shape (4611686018427387904,)"),
        ("x_train", lambda: npy(of_objects([list(range(1, 10**5))] * 300)), "stand for 29,999,700 or more"),
        ("x_train", lambda: npy(of_objects([np.ones(10**5, "i8")] * 300)), "stand for 240,000,000 or more"),
    ],
)  # fmt: skip
def test_npz_is_held_against_its_limits_before_it_is_read(
    member: str, content: Callable[[], bytes], found: str, tmp_path: Path
) -> None:
    (tmp_path / "imdb.npz").write_bytes(archive(members() | {member: content()}))
    outcome = in_child(lambda: (count_reviews(tmp_path / "imdb.npz"), read_split(tmp_path / "imdb.npz", "train")))
    assert outcome.message.startswith(f"{tmp_path / 'imdb.npz'}: expected an npz file with x_train")
    assert found in outcome.message


def test_npz_that_is_large_or_oddly_compressed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "imdb.npz"
    path.write_bytes(archive(members(), zipfile.ZIP_LZMA))
    with pytest.raises(UserError, match=r"y_train\.npy is compressed by method 14"):
        count_reviews(path)
    os.truncate(path, MAX_NPZ + 1)
    with pytest.raises(UserError, match=rf"bytes, more than {MAX_NPZ:,}"):
        count_reviews(path)


def test_word_index_is_held_against_its_limits(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    path.write_bytes(b'{"the": ' + b"[[]," * 10**6)
    with pytest.raises(UserError, match=r"words and ranks, but got none \(lists or objects in it\)"):
        load_word_index(path)
    os.truncate(path, MAX_INDEX + 1)
    with pytest.raises(UserError, match=rf"expected at most {MAX_INDEX:,} bytes, but got {MAX_INDEX + 1:,}"):
        load_word_index(path)
    path.unlink()
    os.mkfifo(path)
    (tmp_path / "r.csv").write_text("text,label\nfine,1\n")
    config = TextDataConfig(train=str(tmp_path / "r.csv"), vocabulary=str(path))
    assert ", but got a pipe. " in in_child(lambda: check_text(config)).message


@pytest.mark.parametrize("place", ["key", "key.unfinished", "key/manifest.json"])
@pytest.mark.parametrize("make", [os.mkfifo, loop, zeros, Path.touch])
def test_cache_with_something_else_in_its_place_is_built_again(
    place: str, make: Callable[[Path], None], tmp_path: Path
) -> None:
    def build(folder: Path) -> None:
        (folder / "data").write_text("1")

    if "/" in place:
        prepared(tmp_path, "key", build)
        (tmp_path / place).unlink()
    make(tmp_path / place)
    assert in_child(lambda: prepared(tmp_path, "key", build)).read
    assert find_damage(tmp_path / "key") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "key.lock"]


def test_deep_manifest_is_damage(tmp_path: Path) -> None:
    folder = prepared(tmp_path, "key", lambda new: (new / "data").write_text("1"))
    (folder / "manifest.json").write_text("[" * 100_000)
    assert find_damage(folder) is not None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "label", "x"]), inner),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(VALUES, max_size=5))
def test_any_json_is_a_row_or_a_problem(tmp_path_factory: pytest.TempPathFactory, values: list[object]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text('{"text": "fine", "label": 1}\n' + "".join(json.dumps(value) + "\n" for value in values))
    rows = list(read_rows(path, Format()))
    assert len(rows) == 1 + len(values)
    for row, value in zip(rows[1:], values, strict=True):
        text = value.get("text") if isinstance(value, dict) else None
        assert (row.text == text) if isinstance(text, str) else row.problem


# All but what Python's writer leaves to the reader's choice: lone carriage returns, and surrogates, which are no text.
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\0"), min_size=1)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5), st.sampled_from(",;\t|"))
def test_what_csv_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, reviews: list[tuple[str, str]], delimiter: str
) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter).writerows([("text", "label"), *reviews])
    path = tmp_path_factory.getbasetemp() / "any.csv.gz"
    path.write_bytes(gzip.compress(file.getvalue().encode(), 1))
    rows = [(row.text, row.label, row.problem) for row in read_rows(path, Format(delimiter=delimiter))]
    assert rows == [(text, label[:1000], "") for text, label in reviews]


@pytest.mark.slow
def test_predict_says_what_is_wrong_with_a_file(command: Command, trained: Path, tmp_path: Path) -> None:
    text = " ".join(random.Random(0).choices(["a", "wonderful", "film"], k=100))
    os.mkfifo(tmp_path / "pipe.csv")
    loop(tmp_path / "loop.csv")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"text,label\nfine,1\n" * 99)[:-9])
    for name, message in (
        (text, "expected an existing file or folder, but got none. Mend the path; a review itself comes after --text."),
        ("pipe.csv", "pipe.csv: expected an existing file that can be read, but got a pipe."),
        ("loop.csv", "loop.csv: expected an existing file or folder, but got none."),
        ("cut.csv.gz", "cut.csv.gz: expected a whole file, but got a damaged one (Compressed file ended"),
    ):
        answer = command(tmp_path, str(trained), name, module="imdb_lightning.predict")
        assert (answer.returncode, answer.stdout, len(answer.stderr.splitlines())) == (2, "", 1), answer.stderr
        assert message in answer.stderr
