"""Files as other programs write them: their delimiters, encodings and columns, and what is said of those."""

from __future__ import annotations

import csv
import gzip
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from imdb_lightning.config.errors import UserError, typed
from imdb_lightning.data.formats import Format
from imdb_lightning.data.readers import read_rows

ROWS = [("ham", "Ok; see you, later"), ("spam", "£100 | call\tnow"), ("ham", 'A "quoted"\nline')]


def write(path: Path, delimiter: str, encoding: str, header: bool = True) -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows([("label", "text"), *ROWS] if header else ROWS)
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_delimiters_and_marks_of_encodings_are_found(delimiter: str, encoding: str, tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", delimiter, encoding)
    compressed = tmp_path / "s.csv.gz"
    compressed.write_bytes(gzip.compress(path.read_bytes()))
    for file in (path, compressed):
        assert [(row.label, row.text, row.problem) for row in read_rows(file, Format())] == [(*row, "") for row in ROWS]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_file_without_header_has_numbers_for_columns(delimiter: str, tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", delimiter, "latin-1", header=False)
    form = Format(text_column="1", label_column="0", header=False, encoding="latin-1")
    assert [(row.number, row.label, row.text) for row in read_rows(path, form)] == [
        (number, *row) for number, row in enumerate(ROWS, start=1)
    ]


def test_delimiter_can_be_named(tmp_path: Path) -> None:
    for name, delimiter in (("r.tsv", ";"), ("r.csv", "tab")):
        path = write(tmp_path / name, {"tab": "\t"}.get(delimiter, delimiter), "utf-8")
        assert [row.label for row in read_rows(path, Format(delimiter=delimiter))] == ["ham", "spam", "ham"]


def refusal(path: Path, form: Format) -> str:
    with pytest.raises(UserError) as refused:
        list(read_rows(path, form))
    return str(refused.value)


def test_missing_columns_are_guessed_by_what_the_others_hold(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    rows = [(number, number % 2, f"a long review {number}", "all", "") for number in range(300)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "is it good", "review", "source", ""), *rows])
    assert refusal(path, Format()) == (
        f"data.text_column: expected one of the columns of {path}: id, is it good, review, source, '', but got 'text'. "
        "Try data.text_column=review 'data.label_column=\"is it good\"'."
    )
    assert refusal(path, Format(text_column="review", options=True)).endswith(
        "but got 'label'. Try '--label-column=is it good'."
    )


def test_missing_columns_of_json_lines_are_guessed(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"stars": 1, "body": "dull"}\nnonsense\n{"body": "a wonderful film", "stars": 2}\n')
    assert refusal(path, Format()).endswith(
        "stars, body, but got 'text'. Try data.text_column=body data.label_column=stars."
    )


def test_missing_header_and_wrong_delimiter_are_seen(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", ",", "utf-8", header=False)
    told = "If its first row is a review: data.header=false data.text_column=1 data.label_column=0."
    assert refusal(path, Format()).endswith(told)
    path = write(tmp_path / "r.tsv", ",", "utf-8")
    assert refusal(path, Format()).endswith("""If that is several columns: 'data.delimiter=","'.""")


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (
            Format(encoding="nonsense"),
            "data.encoding: expected an encoding of text that Python knows, but got 'nonsense'",
        ),
        (Format(encoding="hex"), "data.encoding: expected an encoding of text that Python knows, but got 'hex'"),
        (Format(encoding="utf-16"), "data.encoding: expected the encoding of "),
        (
            Format(delimiter=";;"),
            "data.delimiter: expected a character, or tab, but got ';;'. Try 'data.delimiter=\";\"'.",
        ),
        (Format(delimiter="", options=True), "--delimiter: expected a character, or tab, but got ''."),
    ],
)
def test_settings_that_cannot_be_used(form: Format, message: str, tmp_path: Path) -> None:
    assert refusal(write(tmp_path / "r.csv", ",", "utf-8"), form).startswith(message)


def test_other_encoding_in_the_header_is_one_message_that_can_be_printed(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", ",", "utf-16")
    message = refusal(path, Format(encoding="utf-8"))
    message.encode()
    assert message.endswith("first row, but got bytes not in utf-8: 0xff. Say which it is, as in data.encoding=utf-16.")


@pytest.mark.parametrize(
    "value",
    ["a.csv", "spam (final), v2.csv", "it's.csv", 'a"b\\".csv', "end\\", "naïve", "a=b", "null", "~/x", "[1].csv"],
)
def test_what_a_message_shows_is_taken_as_it_is_meant_when_typed(value: str) -> None:
    for shown, expected in ((typed("data.train", value), value), (typed("data.labels", [value, "b"]), [value, "b"])):
        (word,) = shlex.split(shown)
        parsed = OverridesParser.create().parse_override(word).value()
        assert (list(map(str, parsed)) if isinstance(parsed, list) else parsed) == expected
    assert shlex.split(typed("--labels", [value, "b"])) == ["--labels", value, "b"]
