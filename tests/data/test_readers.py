"""Readers: every format gives the same rows, and every bad row its place."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from imdb_lightning.config.errors import UserError
from imdb_lightning.data.formats import Format
from imdb_lightning.data.readers import find_files, read_rows

REVIEWS = [
    ('A "quoted", long\nand winding film', "positive"), ("naïve — 😀 \x85 end", "negative"), ("plain", "1"),
    ("tab\there", "0"),
]  # fmt: skip


def write(folder: Path, name: str) -> Path:
    path = folder / name
    opened = gzip.open if name.endswith(".gz") else open
    kind = name.removesuffix(".gz").rpartition(".")[2]
    if kind in ("csv", "tsv"):
        with opened(path, "wt", newline="", encoding="utf-8") as file:
            rows = [("id", "label", "text"), *((number, label, text) for number, (text, label) in enumerate(REVIEWS))]
            csv.writer(file, delimiter="," if kind == "csv" else "\t").writerows(rows)
    elif kind == "jsonl":
        with opened(path, "wt", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text, "label": label}) + "\n" for text, label in REVIEWS)
    else:
        columns = zip(*REVIEWS, strict=True)
        parquet.write_table(pa.table(dict(zip(("text", "label"), map(list, columns), strict=True))), path)
    return path


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz", "r.tsv", "r.tsv.gz", "r.jsonl", "r.jsonl.gz", "r.parquet"])
def test_all_formats_give_the_same_rows(name: str, tmp_path: Path) -> None:
    rows = list(read_rows(write(tmp_path, name), Format()))
    assert [(row.text, row.label, row.problem) for row in rows] == [(*review, "") for review in REVIEWS]
    assert [row.number for row in rows] == [1, 2, 3, 4]


def test_row_with_a_nul_does_not_stop_the_others(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b"text,label\nfirst,1\na\0b,0\nlast,1\n")
    first, odd, last = read_rows(path, Format())
    assert (first.text, last.text, last.number) == ("first", "last", 3)
    if sys.version_info >= (3, 11):
        assert (odd.text, odd.label, odd.problem) == ("a\0b", "0", "")
    else:
        assert odd.problem == "line contains NUL"


def test_folder_of_files(tmp_path: Path) -> None:
    for name, text in (("neg/2_1.txt", "bad"), ("pos/1_9.txt", "good"), ("neg/1_2.txt", "dull")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert [(row.text, row.label) for row in read_rows(tmp_path, Format())] == [
        ("dull", "0"),
        ("bad", "0"),
        ("good", "1"),
    ]


@pytest.mark.parametrize(
    ("column", "values", "found"),
    [
        ("text", [1, 2], "int64"), ("text", [b"a", b"b"], "binary"), ("text", [["a"], []], "list"),
        ("text", [{"a": 1}, None], "struct"), ("label", [[0], [1]], "list"), ("label", [b"0", b"1"], "binary"),
        ("label", [datetime(2020, 1, 1)] * 2, "timestamp"),
    ],
)  # fmt: skip
def test_column_of_another_type_is_refused(column: str, values: list, found: str, tmp_path: Path) -> None:
    columns = {"text": ["fine", "dull"], "label": [1, 0]} | {column: values}
    parquet.write_table(pa.table(columns), tmp_path / "r.parquet")
    with pytest.raises(
        UserError, match=rf"data\.{column}_column: expected a column of .*'{column}', which holds {found}"
    ):
        list(read_rows(tmp_path / "r.parquet", Format()))


def test_columns_of_parquet_are_guessed_among_those_of_any_type(tmp_path: Path) -> None:
    when = pa.array([2**62, 1], pa.timestamp("ns"))
    columns = {"when": when, "review": ["a long one", "a longer one"], "raw": [b"1", b"2"], "stars": [1, 0]}
    parquet.write_table(pa.table(columns), tmp_path / "r.parquet")
    message = r"when, review, raw, stars, but got 'text'\. Try data\.text_column=review data\.label_column=stars\."
    with pytest.raises(UserError, match=message):
        list(read_rows(tmp_path / "r.parquet", Format()))


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.table([pa.array(["a"]), pa.array(["b"]), pa.array([1])], names=["text", "text", "label"])
    parquet.write_table(table, tmp_path / "r.parquet")
    with pytest.raises(UserError, match=r"data\.text_column: .* but got 2 of the name 'text'"):
        list(read_rows(tmp_path / "r.parquet", Format()))


def test_labels_of_any_simple_type_are_read(tmp_path: Path) -> None:
    texts = pa.array(["a", None, "c"]).dictionary_encode()
    for labels in (pa.array([1, 0, 1], pa.uint8()), [True, False, True], [1.0, 0.0, 1.0], ["1", "0", "1"]):
        parquet.write_table(pa.table({"text": texts, "label": labels}), tmp_path / "r.parquet")
        rows = [(row.text, row.label, row.problem) for row in read_rows(tmp_path / "r.parquet", Format())]
        assert rows == [("a", "1", ""), ("", "0", "no text"), ("c", "1", "")]


def test_json_too_deep_to_be_read_is_a_bad_row(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text("[" * 100_000 + '\n{"text": "fine", "label": 1}\n')
    assert [row.problem for row in read_rows(tmp_path / "r.jsonl", Format())] == ["no JSON", ""]


def test_half_of_a_character_in_json_is_shown_as_none(tmp_path: Path) -> None:
    # A pair is one character; a half of one cannot be written to any file.
    (tmp_path / "r.jsonl").write_text(r'{"text": "\ud83d\ude00 \ud83d", "label": "\udfff"}')
    rows = [(row.text, row.label, row.problem) for row in read_rows(tmp_path / "r.jsonl", Format())]
    assert rows == [("\U0001f600 \ufffd", "\ufffd", "")]


def test_limit_of_fields_is_raised_only_where_rows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("text,label\n" + "x" * 200_000 + ",1\n")
    program = (
        "import csv, pathlib, sys; before = csv.field_size_limit(); from imdb_lightning.data import formats, readers;"
        "assert csv.field_size_limit() == before;"
        "print([len(row.text) for row in readers.read_rows(pathlib.Path(sys.argv[1]), formats.Format())])"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert done.stdout == "[200000]\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.xls", b"", r"expected a file that ends in \.csv"),
        ("r.csv", b"review,label\n", r"data\.text_column: expected one of the columns of .*: review, label"),
        ("r.parquet", b"PAR1 no", r"r\.parquet: expected a whole file, but got a damaged one"),
        ("r.txt", b"a line\n", r"expected a format with labels"),
    ],
)
def test_files_that_cannot_be_used(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(read_rows(tmp_path / name, Format()))


def test_globs_and_lists(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "c.tsv"):
        (tmp_path / name).touch()
    assert [path.name for path in find_files("data.train", str(tmp_path / "*.csv"))] == ["a.csv", "b.csv"]
    assert [path.name for path in find_files("k", [str(tmp_path / "c.tsv"), str(tmp_path / "a*")])] == [
        "c.tsv",
        "a.csv",
    ]
    with pytest.raises(UserError, match=r"data\.test: expected an existing file or folder"):
        find_files("data.test", str(tmp_path / "*.json"))
