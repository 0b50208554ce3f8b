"""Messages as spreadsheets of Europe save them, from training to a second test: all commands know their format."""

from __future__ import annotations

import csv
import json
import random
import re
from pathlib import Path

import pytest

from tests.support import Command

pytestmark = pytest.mark.slow
WORDS = {"ham": ["home", "later", "love", "ok"], "spam": ["£1000", "prize", "call", "free"]}


def write_messages(path: Path, labels: list[str]) -> Path:
    choice = random.Random(0)
    rows = [(label, " ".join(choice.choices([*WORDS[label], "you", "now"], k=8)), "") for label in labels]
    with path.open("w", newline="", encoding="latin-1") as file:
        csv.writer(file, delimiter=";").writerows(rows)
    return path


@pytest.fixture(scope="module")
def folder(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spam")
    write_messages(folder / "messages.csv", ["spam", "ham", "ham"] * 200)
    assert train(command, folder).returncode == 0
    return folder


def train(command: Command, folder: Path, *arguments: str):
    columns = ["data.header=false", "data.text_column=1", "data.label_column=0", "data.encoding=latin-1"]
    settings = ["data=text", "data.train=messages.csv", *columns, "trainer.max_epochs=6", "model.learning_rate=0.05"]
    return command(folder, *settings, "hydra.run.dir=run", *arguments)


def test_found_labels_stay_with_the_run(command: Command, folder: Path) -> None:
    run = folder / "run"
    assert "  labels:\n  - ham\n  - spam\n" in (run / "config.yaml").read_text()
    assert "Classes: ham (negative) with 400 reviews, spam (positive) with 200" in (run / "train.log").read_text()
    assert json.loads((run / "results.json").read_text())["test"]["f1"] == 1
    before = (run / "status.json").read_bytes()
    for arguments in ([], ["data.labels=[ham,spam]"]):
        assert train(command, folder, *arguments).returncode == 0
    assert (run / "status.json").read_bytes() == before
    other = train(command, folder, "data.labels=[spam,ham]")
    assert other.returncode == 2
    assert "other values of data.labels" in other.stderr


def test_predict_reads_and_answers_as_the_run_was_trained(command: Command, folder: Path) -> None:
    answer = command(folder, "run", "messages.csv", module="imdb_lightning.predict")
    rows = list(csv.DictReader(answer.stdout.splitlines()))
    found = [row["label"] for row in rows]
    assert len(found) == 600
    assert sum(label != true for label, true in zip(found, ["spam", "ham", "ham"] * 200, strict=True)) < 10
    assert "£1000" in rows[0]["text"] + rows[3]["text"]
    wrong = command(folder, "run", "messages.csv", "--encoding=utf-8", module="imdb_lightning.predict")
    assert len(wrong.stdout.splitlines()) == 601
    assert re.fullmatch(
        r"warning: --encoding: expected the encoding of messages.csv, row \d+, but got bytes not in utf-8: 0xa3\. "
        r"Say which it is, as in --encoding=latin-1\. Until then \ufffd stands in their place\.\n",
        wrong.stderr,
    )
    (folder / "other.csv").write_text("text,label\ncall now,spam\n")
    refused = command(folder, "run", "other.csv", "--header=true", module="imdb_lightning.predict")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.endswith("text, label, but got '1'. Try --text-column=text.\n")
    again = command(folder, "run", "other.csv", "--header=true", "--text-column=text", module="imdb_lightning.predict")
    assert again.stdout.splitlines()[1].startswith("call now,spam,")


def test_evaluate_names_the_classes(command: Command, folder: Path, tmp_path: Path) -> None:
    (folder / "wrong.csv").write_text("1;home love\nspam;love home\n HAM;prize free\n")
    answer = command(folder, "run", "--data=wrong.csv", f"--output={tmp_path}", module="imdb_lightning.evaluate")
    assert answer.returncode == 0, answer.stderr
    heading, *reviews = answer.stdout.splitlines()[-5:-1]
    assert heading == "The most confidently wrong reviews, with the probability of being spam:"
    assert sorted(" ".join(line.split()[:4]) for line in reviews) == [
        "row 0, label spam,", "row 1, label spam,", "row 2, label ham,",
    ]  # fmt: skip
    assert "│ spam predicted ham           │      2 │" in answer.stdout
    (folder / "more.csv").write_text("eggs;home\nham;love\nspam;free\n")
    refused = command(folder, "run", "--data=more.csv", module="imdb_lightning.evaluate")
    assert refused.returncode == 2
    assert "--labels: expected two classes only, named ham and spam" in refused.stderr
    assert not (folder / "run" / "evaluation").exists()


def test_test_on_one_class_leaves_metrics_open(command: Command, folder: Path, tmp_path: Path) -> None:
    ham = write_messages(tmp_path / "ham.csv", ["ham"] * 30)
    answer = train(command, folder, f"data.test={ham}", f"hydra.run.dir={tmp_path}/run")
    assert answer.returncode == 0, answer.stderr
    test = json.loads((tmp_path / "run" / "results.json").read_text())["test"]
    assert {name for name, value in test.items() if value is None} >= {"recall", "auroc"}
    assert "warning: All 30 test reviews are of ham" in answer.stderr
    assert "warning: Undefined, as the test reviews or the predictions are of one class: " in answer.stderr
    evaluated = command(folder, f"{tmp_path}/run", module="imdb_lightning.evaluate")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "undefined" in evaluated.stdout
    record = json.loads((tmp_path / "run" / "evaluation" / "test" / "evaluation.json").read_text())
    assert {name: record["metrics"][name] for name in test} == test
    compared = command(folder, f"{tmp_path}/run", "run", "--output=compared", module="imdb_lightning.compare")
    assert compared.returncode == 0, compared.stderr
