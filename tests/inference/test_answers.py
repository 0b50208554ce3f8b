"""The command that predicts: streams, files, reasons, and input that nobody meant to give."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from imdb_lightning.inference.saved_run import load_run
from tests.support import Command

pytestmark = pytest.mark.slow


def predict(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "imdb_lightning.predict", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, check=False)


def rows_of(output: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(output.decode(), newline="")))


def test_lines_are_answered_in_order(trained: Path) -> None:
    answer = predict(trained, "-", stdin=b"a wonderful film\nthe dull, awful end\n")
    assert (answer.returncode, answer.stderr) == (0, b"")
    first, second = rows_of(answer.stdout)
    assert (first["text"], first["label"]) == ("a wonderful film", "positive")
    assert float(first["probability"]) > 0.5 > float(second["probability"])
    expected = load_run(trained).predict_proba(["a wonderful film", "the dull, awful end"])
    assert [float(first["probability"]), float(second["probability"])] == pytest.approx(expected, rel=1e-8)


def test_strange_lines_do_not_stop_the_stream(trained: Path) -> None:
    lines = [b"", b"good " * 2_000_000, b"good\x00bad", b"\xff\xfe good", "wonderful 😀".encode(), b"good\r", b"end"]
    answer = predict(trained, "--format=jsonl", stdin=b"\n".join(lines))
    assert (answer.returncode, answer.stderr) == (0, b"")
    records = [json.loads(line) for line in answer.stdout.splitlines()]
    assert len(records) == 7
    probabilities = [record["probability"] for record in records]
    assert probabilities[1] == probabilities[5]
    assert records[3]["text"] == "\ufffd\ufffd good"
    assert records[4]["text"] == "wonderful 😀"


def test_csv_is_what_pythons_writer_writes(trained: Path) -> None:
    texts = ["plain", "", " blank ", 'a "quoted", film', "a,b", "'", '"', "é ü 漢", "semi;colon", "tab\there"]
    answer = predict(trained, *(word for text in texts for word in ("--text", text)))
    rows = [list(row.values()) for row in rows_of(answer.stdout)]
    assert [row[0] for row in rows] == texts
    expected = io.StringIO(newline="")
    csv.writer(expected, lineterminator="\n").writerows([["text", "label", "probability"], *rows])
    assert answer.stdout == expected.getvalue().encode()


def test_csv_answers_hold_no_nul(trained: Path) -> None:
    answer = predict(trained, stdin=b"good\0bad\n")
    assert (answer.returncode, answer.stderr) == (0, b"")
    assert [row["text"] for row in rows_of(answer.stdout)] == ["good\ufffdbad"]


def test_each_line_is_answered_at_once(trained: Path) -> None:
    command = [sys.executable, "-m", "imdb_lightning.predict", str(trained), "--format=jsonl"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for word in (b"good", b"bad"):
            process.stdin.write(word + b"\n")
            # The stream stays open: an answer that waited for more would never come.
            assert json.loads(process.stdout.readline())["text"] == word.decode()
        process.stdin.close()
    assert process.returncode == 0


def test_file_output_and_rows(
    trained: Path, labelled_csv: Path, labelled: list[tuple[str, int]], tmp_path: Path
) -> None:
    output = tmp_path / "answers.csv"
    answer = predict(trained, labelled_csv, "--rows", "--output", output)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, b"", b"")
    rows = rows_of(output.read_bytes())
    assert [int(row["row"]) for row in rows] == list(range(1, 901))
    expected = load_run(trained).predict_proba(text for text, _ in labelled)
    assert [float(row["probability"]) for row in rows] == pytest.approx(expected, rel=1e-6)
    assert list(tmp_path.iterdir()) == [output]


def test_reasons_as_data_and_in_color(trained: Path) -> None:
    texts = ["--text", "a wonderful film", "--text", "awful"]
    records = [json.loads(line) for line in predict(trained, *texts, "--explain", "--format=jsonl").stdout.splitlines()]
    for record in records:
        assert record["bias"] + sum(record["shares"].values()) == pytest.approx(record["logit"], abs=1e-9)
    (row, _) = rows_of(predict(trained, *texts, "--explain").stdout)
    assert json.loads(row["shares"]) == records[0]["shares"]
    leader, follower = os.openpty()
    command = [sys.executable, "-m", "imdb_lightning.predict", str(trained), *texts, "--explain"]
    subprocess.run(command, stdout=follower, check=True)
    os.close(follower)
    shown = os.read(leader, 1 << 16).decode()
    os.close(leader)
    assert "\x1b[32m wonderful +" in shown
    assert "\x1b[31m awful -" in shown


def test_mistakes_are_one_message(command: Command, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("text,label\none,two,three\nfine,1\n")
    for arguments, message in (
        ([str(trained.parent)], "config.yaml: expected the settings of a run"),
        ([str(trained), "none.csv"], "none.csv: expected an existing file"),
        ([str(trained), "bad.csv"], "bad.csv, row 1: expected a review, but got 3 fields instead of 2"),
        (
            [str(trained), "bad.csv", "--text-column=review"],
            "--text-column: expected one of the columns of bad.csv: text, label, but got 'review'. Try --text-column",
        ),
    ):
        answer = command(tmp_path, *arguments, "--output=out.csv", module="imdb_lightning.predict")
        assert answer.returncode == 2
        assert message in answer.stderr
        assert "Traceback" not in answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]
