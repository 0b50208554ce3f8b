"""A run tested again: the same digits on its own reviews, an independent library's on others."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_confusion_matrix, binary_f1_score

from imdb_lightning.data.vocabulary import tokenize
from imdb_lightning.inference.saved_run import load_run
from tests.support import Command


def evaluate(command: Command, run: Path, output: Path, *arguments: str) -> dict:
    answer = command(output.parent, str(run), f"--output={output}", *arguments, module="imdb_lightning.evaluate")
    assert answer.returncode == 0, answer.stderr
    return json.loads((output / "evaluation.json").read_text())


@pytest.mark.slow
def test_own_test_split_gives_the_same_digits(
    command: Command, trained: Path, labelled: list[tuple[str, int]], tmp_path: Path
) -> None:
    """The run was one of two processes."""
    record = evaluate(command, trained, tmp_path / "out")
    test = json.loads((trained / "results.json").read_text())["test"]
    run = load_run(trained)
    for review in record["most_wrong"]:
        assert abs(review["label"] - review["probability"]) > 0.5
        assert run.predict_proba([review["text"]])[0] == pytest.approx(review["probability"], abs=1e-6)
        assert (review["text"], review["label"]) in labelled
    assert record["most_wrong"]
    assert {name: record["metrics"][name] for name in test} == test
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == (trained / "predictions.csv").read_bytes()
    pictures = {"confusion.png", "roc.png", "precision_recall.png", "calibration.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == pictures | {"evaluation.json", "predictions.csv"}
    for name in pictures:
        assert (tmp_path / "out" / name).stat().st_size > 5000
    assert 0 < record["threshold"]["best_on_validation"] < 1


@pytest.mark.slow
def test_other_reviews(
    command: Command, trained: Path, labelled: list[tuple[str, int]], labelled_csv: Path, tmp_path: Path
) -> None:
    record = evaluate(command, trained, tmp_path / "out", f"--data={labelled_csv}", "--wrong=3")
    probabilities = load_run(trained).predict_proba(text for text, _ in labelled)
    labels = np.array([label for _, label in labelled])
    metrics = record["metrics"]
    assert metrics["accuracy"] == ((probabilities > 0.5) == labels).mean()
    expected = binary_f1_score(torch.from_numpy(probabilities), torch.from_numpy(labels))
    assert metrics["f1"] == pytest.approx(float(expected), abs=1e-6)
    matrix = binary_confusion_matrix(torch.from_numpy(probabilities), torch.from_numpy(labels)).tolist()
    counts = record["confusion"]
    assert matrix == [
        [counts["true_negative"], counts["false_positive"]], [counts["false_negative"], counts["true_positive"]],
    ]  # fmt: skip
    edges = np.linspace(0, 1, 16)
    bins = np.clip(np.digitize(probabilities, edges, right=True) - 1, 0, 14)
    gaps = [abs(probabilities[bins == b].mean() - labels[bins == b].mean()) * (bins == b).mean() for b in set(bins)]
    assert metrics["calibration_error"] == pytest.approx(sum(gaps), abs=1e-5)
    errors = np.abs(labels - probabilities)
    wrong = [(review["text"], review["label"]) for review in record["most_wrong"]]
    assert wrong == [labelled[row] for row in np.argsort(-errors, kind="stable")[:3] if errors[row] > 0.5]


@pytest.mark.slow
def test_run_whose_files_are_gone_is_tested_on_the_prepared_reviews(
    command: Command, labelled_csv: Path, tmp_path: Path
) -> None:
    reviews = tmp_path / "mine.csv"
    reviews.write_bytes(labelled_csv.read_bytes())
    arguments = ["data=text", f"data.train={reviews}", "data.num_words=50", "trainer.max_epochs=1", "hydra.run.dir=run"]
    assert command(tmp_path, *arguments).returncode == 0
    run = tmp_path / "run"
    whole = evaluate(command, run, tmp_path / "whole")
    reviews.unlink()
    gone = evaluate(command, run, tmp_path / "gone")
    assert gone["metrics"] == whole["metrics"]
    assert {**gone, "most_wrong": []} == {**whole, "most_wrong": []}
    for review, complete in zip(gone["most_wrong"], whole["most_wrong"], strict=True):
        # What is left are the words of its bag.
        assert set(review["text"].split()) <= set(tokenize(complete["text"]))


@pytest.mark.slow
def test_nothing_that_the_settings_name_is_touched(command: Command, trained: Path, tmp_path: Path) -> None:
    """A run from elsewhere, whose settings name a file and a cache of this machine."""
    run, secret = tmp_path / "run", tmp_path / "secret.csv"
    shutil.copytree(trained, run)
    os.mkfifo(secret)  # Reading it would wait for ever.
    settings = (run / "config.yaml").read_text().splitlines()
    named = {"  cache_dir:": tmp_path / "made", "  train:": secret, "  test:": secret, "  vocabulary:": secret}
    lines = [next((f"{key} {path}" for key, path in named.items() if line.startswith(key)), line) for line in settings]
    (run / "config.yaml").write_text("\n".join(lines) + "\n")
    answer = command(tmp_path, str(run), module="imdb_lightning.evaluate", IMDB_LIGHTNING_CACHE=str(tmp_path / "own"))
    assert answer.returncode == 2
    assert "expected a run whose reviews are in the cache" in answer.stderr
    assert f"--cache {tmp_path / 'made'}" in answer.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"run", "secret.csv"}
    evaluate(command, run, tmp_path / "out")  # The same reviews in one's own cache will do.


@pytest.mark.slow
@pytest.mark.parametrize("name", ["evaluation", "evaluation/test"])
def test_links_in_the_folder_are_not_written_through(
    name: str, command: Command, trained: Path, tmp_path: Path
) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    shutil.copytree(trained, run)
    outside.mkdir()
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).symlink_to(outside)
    answer = command(tmp_path, str(run), module="imdb_lightning.evaluate")
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"{run / name}: expected a file or folder of the run's own, but got a link")
    assert list(outside.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("content", [None, "{", '{"schema": 1}', "[]"])
def test_damaged_results_are_refused_by_name(
    content: str | None, command: Command, trained: Path, tmp_path: Path
) -> None:
    for name in ("config.yaml", "model.safetensors", "vocabulary.json"):
        shutil.copy(trained / name, tmp_path / name)
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    answer = command(tmp_path, ".", module="imdb_lightning.evaluate")
    assert answer.returncode == 2
    assert answer.stderr.startswith("results.json: expected ")
