"""A run tested again: the same digits on its own reviews, an independent library's on others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_confusion_matrix, binary_f1_score

from imdb_lightning.evaluation import best_threshold
from imdb_lightning.inference import load_run
from tests.conftest import Command


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
        assert (trained / name).stat().st_size > 5000
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
def test_run_whose_reviews_are_gone(command: Command, trained: Path, labelled_csv: Path, tmp_path: Path) -> None:
    moved = labelled_csv.rename(labelled_csv.with_suffix(".moved"))
    try:
        answer = command(tmp_path, str(trained), module="imdb_lightning.evaluate")
        assert answer.returncode == 2
        assert "expected a run whose own reviews are here, but got data.train: expected an existing" in answer.stderr
        shown = tmp_path / "other.csv"
        shown.write_bytes(moved.read_bytes())
        assert "threshold" not in evaluate(command, trained, tmp_path / "out", f"--data={shown}")
    finally:
        moved.rename(labelled_csv)


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


def test_best_threshold_is_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        labels = rng.integers(0, 2, 40)
        probabilities = np.round(np.clip(labels * 0.2 + rng.random(40) * 0.8, 0, 1), 1).astype(np.float32)
        threshold = best_threshold(labels, probabilities)
        best = max(((probabilities > cut) == labels).mean() for cut in np.linspace(-0.05, 1.05, 221))
        assert ((probabilities > threshold) == labels).mean() == best
