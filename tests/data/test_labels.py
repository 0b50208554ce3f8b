"""Labels: two values that are found or named become classes, and what is neither is told with its count."""

from __future__ import annotations

from pathlib import Path

import pytest

from imdb_lightning.config.errors import UserError
from imdb_lightning.data.formats import Format
from imdb_lightning.data.labels import BadRows, bad_rows, check_start, find_labels, labelled_rows
from tests.data.test_readers import write


def labels_file(folder: Path, *labels: str, name: str = "r.csv") -> Path:
    path = folder / name
    path.write_text("text,label\n" + "".join(f"film {number},{label}\n" for number, label in enumerate(labels)))
    return path


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["1", "0"], ["negative", "positive"]),
        (["1.0", "0.0", "1"], ["negative", "positive"]),
        (["pos", "neg"], ["neg", "pos"]),
        (["Positive", " negative"], ["negative", "Positive"]),
        (["True", "False"], ["False", "True"]),
        (["yes", "NO"], ["NO", "yes"]),
        (["spam", "Ham", "HAM"], ["Ham", "spam"]),
        (["2", "1", "1.0"], ["1", "2"]),
        (["", "b", "a"], ["a", "b"]),
        (["spam", "SPAM"], ["spam"]),
    ],
)
def test_two_values_are_the_classes(labels: list[str], classes: list[str], tmp_path: Path) -> None:
    assert find_labels([labels_file(tmp_path, *labels)], Format()) == classes


def test_case_and_blanks_do_not_tell_labels_apart(tmp_path: Path) -> None:
    path, bad = labels_file(tmp_path, "ham", " Ham", "SPAM ", "1", "0.0", "eggs", ""), BadRows()
    rows = labelled_rows([path], Format(), ["HAM", "spam"], bad)
    assert [label for _, label in rows] == [0, 0, 1, 1, 0]
    assert [(row.number, row.label, row.problem) for row in bad.first] == [(6, "eggs", ""), (7, "", "no label")]


def test_values_of_more_than_two_classes_are_told_with_their_counts(tmp_path: Path) -> None:
    path = labels_file(tmp_path, *["neutral"] * 5, *["positive"] * 3, "negative", "Negative")
    remedy = r"Pick two of them: 'data\.labels=\[negative,positive\]' data\.on_bad_row=skip\."
    for labels in ((), ("good", "bad")):
        with pytest.raises(UserError, match=r"3 labels: neutral \(5\), positive \(3\), negative \(2\)\. " + remedy):
            check_start((path,), Format(), labels, all_rows=True)
    check_start((path,), Format(), ("negative", "positive"), all_rows=False)
    many = labels_file(tmp_path, *map(str, range(2000)), "1999", name="many.csv")
    with pytest.raises(UserError, match=r"two classes only, but got 1,000 labels: .* and 990 more\. Pick"):
        check_start((many,), Format(), (), all_rows=True)


def test_names_that_hydra_would_take_apart_are_quoted(tmp_path: Path) -> None:
    path = labels_file(tmp_path, "not good", "good")
    with pytest.raises(UserError, match=r"""'data\.labels=\[good,"not good"\]'\."""):
        check_start((path,), Format(), ("a", "b"), all_rows=True)


def test_encoding_comes_before_what_follows_from_it(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes("text,label\nfine,good\n£5,\nfilm,other\n".encode("latin-1"))
    bad = BadRows()
    assert list(labelled_rows([path], Format(), ["bad", "good"], bad)) == [("fine", 1)]
    message = f"data.encoding: expected the encoding of {path}, row 2, but got bytes not in UTF-8: 0xa3. "
    assert str(bad_rows(bad, [path], Format(), ["bad", "good"])).startswith(message)
    with pytest.raises(UserError, match=r"row 2, but got bytes not in UTF-8: 0xa3\..*data\.encoding=latin-1"):
        check_start((path,), Format(), (), all_rows=True)
    check_start((path,), Format(encoding="latin-1"), ("other", "good"), all_rows=True)


def test_labels_are_numbers_or_names(tmp_path: Path) -> None:
    path, bad = write(tmp_path, "r.csv"), BadRows()
    found = list(labelled_rows([path], Format(), ["negative", "positive"], bad))
    assert ([label for _, label in found], bad.count) == ([1, 0, 1, 0], 0)
    found = list(labelled_rows([path], Format(), ["bad", "good"], bad))
    assert [label for _, label in found] == [1, 0]
    assert [(row.number, row.problem) for row in bad.first] == [(1, ""), (2, "")]


def test_bad_rows_are_named(tmp_path: Path) -> None:
    delimited = tmp_path / "r.csv"
    delimited.write_bytes(b"text,label\nfine,1\n,0\nthree,fields,here\n\xff\xfe,1\nunknown,maybe\n")
    lines = tmp_path / "r.jsonl"
    lines.write_bytes(b'{"text": "fine", "label": 1}\nnonsense\n\n{"label": 1}\n{"text": "\xff", "label": 0}\n')
    bad = BadRows()
    good = list(labelled_rows([delimited, lines], Format(), ["negative", "positive"], bad))
    assert good == [("fine", 1), ("fine", 1)]
    assert [(Path(row.place.rpartition(",")[0]).name, row.number, row.problem) for row in bad.first] == [
        ("r.csv", 2, "no text"), ("r.csv", 3, "3 fields instead of 2"), ("r.csv", 4, "bytes not in UTF-8: 0xff"),
        ("r.csv", 5, ""), ("r.jsonl", 2, "no JSON"), ("r.jsonl", 3, "no text under 'text'"),
        ("r.jsonl", 4, "bytes not in UTF-8: 0xff"),
    ]  # fmt: skip
    assert str(bad).startswith(f"7 bad rows ({delimited}, row 2: no text; ")
    assert f"{delimited}, row 5: label 'maybe'; " in str(bad)
