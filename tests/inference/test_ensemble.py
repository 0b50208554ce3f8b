"""Several runs as one: the mean of their own probabilities by NumPy, whatever words and widths they have."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.file import load_config
from imdb_lightning.data.sources import load_reviews
from imdb_lightning.inference.saved_run import load_run
from imdb_lightning.inference.scoring import best_threshold
from tests import oracle
from tests.support import CACHE, Command

pytestmark = pytest.mark.slow


def train(command: Command, folder: Path, *arguments: str) -> None:
    answer = command(folder, *arguments, "trainer.max_epochs=2", "data.batch_size=64", "model.learning_rate=0.02")
    assert answer.returncode == 0, answer.stderr


@pytest.fixture(scope="module")
def runs(trained: Path, command: Command, labelled_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs on the same reviews: one of words, of two processes, and one of pairs of words, wider and shallower."""
    folder = tmp_path_factory.mktemp("pairs")
    data = ["data=text", f"data.train={labelled_csv}", "data.ngrams=2", "data.num_words=null"]
    train(command, folder, *data, "model.hidden_units=[4]", "seed=3", "hydra.run.dir=run")
    return [trained, folder / "run"]


def write_reviews(path: Path, reviews: list[tuple[str, int]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *reviews])


def mean(parts: list[np.ndarray]) -> np.ndarray:
    return np.stack(parts).astype(np.float64).mean(axis=0).astype(np.float32)


def predictions(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels int64 `[R]` and probabilities float32 `[R]`."""
    _, labels, probabilities = np.loadtxt(folder / "predictions.csv", delimiter=",", skiprows=1).T
    return labels.astype(np.int64), probabilities.astype(np.float32)


def test_probability_is_the_mean_of_the_runs_own(runs: list[Path], labelled: list[tuple[str, int]]) -> None:
    texts = [text for text, _ in labelled] * 10  # More than are held at once.
    ensemble, members = load_run(runs), list(map(load_run, runs))
    assert len({len(run._network.words.weight) for run in members}) == 2
    found = ensemble.predict_proba(iter(texts))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, mean([run.predict_proba(texts) for run in members]))
    assert not np.array_equal(found, members[0].predict_proba(texts))
    assert (ensemble.label(0.5), ensemble.label(0.51)) == ("negative", "positive")
    assert ensemble.predict_proba([]).shape == (0,)
    alone = np.concatenate([ensemble.predict_proba([text]) for text in texts[:100]])
    np.testing.assert_array_equal(alone, found[:100])
    np.testing.assert_array_equal(load_run(runs[:1]).predict_proba(texts), members[0].predict_proba(texts))


def test_ensemble_refuses_what_it_cannot_answer(runs: list[Path]) -> None:
    ensemble = load_run(map(str, runs))
    with pytest.raises(UserError, match=r"explain: expected one run, but got 2, whose .* Name one of the runs\."):
        ensemble.explain("a film")
    with pytest.raises(UserError, match="expected a list of texts, but got one text"):
        ensemble.predict_proba("a film")
    with pytest.raises(UserError, match="expected a run's folder, or several, but got none"):
        load_run([])


def test_command_answers_with_the_mean(
    runs: list[Path], command: Command, labelled: list[tuple[str, int]], labelled_csv: Path, tmp_path: Path
) -> None:
    folders = [f"{run}/" for run in runs]  # As the shell gives them for */.
    texts = [text for text, _ in labelled]
    expected = mean([load_run(run).predict_proba(texts) for run in runs])
    answer = command(tmp_path, *folders, str(labelled_csv), "--rows", module="imdb_lightning.predict")
    assert (answer.returncode, answer.stderr) == (0, "")
    rows = list(csv.DictReader(io.StringIO(answer.stdout)))
    np.testing.assert_array_equal([np.float32(row["probability"]) for row in rows], expected)
    assert [row["label"] for row in rows] == ["positive" if each > 0.5 else "negative" for each in expected]
    predict = [sys.executable, "-m", "imdb_lightning.predict", *folders, "-"]
    output = subprocess.run(predict, input="good\nbad\n", capture_output=True, text=True, check=True).stdout
    assert [line.split(",")[0] for line in output.splitlines()] == ["text", "good", "bad"]


def test_mistyped_runs_and_questions_for_reasons_are_one_message(
    runs: list[Path], command: Command, tmp_path: Path
) -> None:
    first, second = map(str, runs)
    (tmp_path / "comparison.csv").write_text("model,runs\n")
    for arguments, message in (
        (["nowhere", second], "nowhere/config.yaml: expected the settings of a run"),
        (
            [first, "nowhere", second],
            "nowhere: expected the folder of a run, with a config.yaml in it, where more names",
        ),
        ([first, second, "nowhere"], "nowhere: expected an existing file or folder, but got none. Mend the path;"),
        (
            [first, "comparison.csv", "comparison.md"],
            "comparison.csv: expected the folder of a run, with a config.yaml",
        ),
        ([first, second, "--text=good", "--explain"], "--explain: expected one run, but got 2, whose probability is"),
    ):
        answer = command(tmp_path, *arguments, "--output=out.csv", module="imdb_lightning.predict")
        assert (answer.returncode, answer.stdout) == (2, "")
        assert answer.stderr.startswith(message)
        assert answer.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["comparison.csv"]


def test_runs_of_other_classes_are_refused(
    runs: list[Path], command: Command, labelled_csv: Path, tmp_path: Path
) -> None:
    shutil.copytree(runs[0], tmp_path / "spam")
    settings = (tmp_path / "spam" / "config.yaml").read_text()
    (tmp_path / "spam" / "config.yaml").write_text(settings.replace("  - positive\n", "  - spam\n"))
    for module, others in (("predict", ["--text=good"]), ("evaluate", [f"--data={labelled_csv}", "--output=out"])):
        answer = command(tmp_path, str(runs[0]), "spam", *others, module=f"imdb_lightning.{module}")
        assert answer.returncode == 2
        accepted = f"a run with the classes of {runs[0]}, negative and positive"
        assert answer.stderr.startswith(f"spam: expected {accepted}, but got negative and spam. Name runs with")
    assert [path.name for path in tmp_path.iterdir()] == ["spam"]


def test_own_test_of_the_mean(
    runs: list[Path], command: Command, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = command(tmp_path, *map(str, runs), "--output=out", module="imdb_lightning.evaluate")
    assert answer.returncode == 0, answer.stderr
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    labels, _ = predictions(runs[0])
    probabilities = mean([predictions(run)[1] for run in runs])
    np.testing.assert_array_equal(predictions(tmp_path / "out")[0], labels)
    np.testing.assert_array_equal(predictions(tmp_path / "out")[1], probabilities)
    metrics = record["metrics"]
    assert metrics["accuracy"] == ((probabilities > 0.5) == labels).mean()
    assert metrics["auroc"] == pytest.approx(oracle.auroc(probabilities, labels), abs=1e-6)
    assert metrics["loss"] is None
    own = [json.loads((run / "results.json").read_text())["test"]["accuracy"] for run in runs]
    assert record["runs"] == [{"run": str(run), "accuracy": each} for run, each in zip(runs, own, strict=True)]
    assert f"accuracy of run 2, run │ {own[1]:.4f}" in " ".join(answer.stdout.split())
    # The threshold is that of the mean on validation.
    monkeypatch.setenv(CACHE, str(cache))
    validations = [load_reviews(load_config(run / "config.yaml").data).validation for run in runs]
    scored = [load_run(run).score(*bags.span(0, len(bags))) for run, bags in zip(runs, validations, strict=True)]
    best = best_threshold(validations[0].labels, mean(scored))
    assert record["threshold"]["best_on_validation"] == pytest.approx(best, abs=1e-6)
    assert record["threshold"]["accuracy"] == ((probabilities > best) == labels).mean()
    errors = np.abs(labels - probabilities)
    rows = [row for row in np.argsort(-errors, kind="stable")[:10] if errors[row] > 0.5]
    assert [review["row"] for review in record["most_wrong"]] == rows


def test_other_reviews_and_runs_of_other_tests(
    runs: list[Path], command: Command, labelled: list[tuple[str, int]], labelled_csv: Path, tmp_path: Path
) -> None:
    """A run whose test was cut with another seed: as many reviews of the same files, but not the same."""
    arguments = ["data=text", f"data.train={labelled_csv}", "data.num_words=50", "data.seed=1"]
    train(command, tmp_path, *arguments, "hydra.run.dir=run")
    both = [str(runs[0]), str(tmp_path / "run")]
    answer = command(tmp_path, *both, module="imdb_lightning.evaluate")
    assert answer.returncode == 2
    expected = (
        f"{both[1]}: expected a run with the test reviews of {both[0]}, but got one with others. Name reviews for"
    )
    assert answer.stderr.startswith(expected)
    answer = command(tmp_path, *both, f"--data={labelled_csv}", "--output=out", module="imdb_lightning.evaluate")
    assert answer.returncode == 0, answer.stderr
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    texts, labels = [text for text, _ in labelled], np.array([label for _, label in labelled])
    probabilities = mean([load_run(run).predict_proba(texts) for run in both])
    assert record["metrics"]["accuracy"] == ((probabilities > 0.5) == labels).mean()
    assert "threshold" not in record  # Which is chosen on validation, and the runs share none.


def test_labels_of_the_test_choose_nothing(command: Command, labelled: list[tuple[str, int]], tmp_path: Path) -> None:
    """A sweep over seeds, tested on a file of its own: with its labels, and with shuffled ones."""
    shuffled = np.random.default_rng(0).permutation([label for _, label in labelled[600:]]).tolist()
    test = [(text, label) for (text, _), label in zip(labelled[600:], shuffled, strict=True)]
    outcomes = []
    for name, reviews in (("true", labelled[600:]), ("shuffled", test)):
        folder = tmp_path / name
        folder.mkdir()
        write_reviews(folder / "train.csv", labelled[:600])
        write_reviews(folder / "test.csv", reviews)
        data = ["data=text", "data.train=train.csv", "data.test=test.csv", "data.num_words=50"]
        train(command, folder, "-m", *data, "seed=0,1", "hydra.sweep.dir=sweep")
        for _ in range(2 if name == "true" else 1):  # The second time, */ finds what the first one has left.
            found = [f"{path}/" for path in sorted((folder / "sweep").iterdir()) if path.is_dir()]
            answer = command(tmp_path, *found, module="imdb_lightning.evaluate")
            assert answer.returncode == 0, answer.stderr
        output = Path(found[0]) / "evaluation" / "ensemble_test"
        record = json.loads((output / "evaluation.json").read_text())
        outcomes.append((record["metrics"]["accuracy"], record["threshold"]["best_on_validation"], predictions(output)))
        (row,) = csv.DictReader((folder / "sweep" / "comparison.csv").read_text().splitlines())
        assert float(row["ensemble_test_accuracy"]) == record["metrics"]["accuracy"]
    (first, first_threshold, (_, probabilities)), (second, second_threshold, (labels, others)) = outcomes
    assert first > 0.8 > 0.65 > second
    assert labels.tolist() == shuffled
    assert (probabilities.tolist(), first_threshold) == (others.tolist(), second_threshold)
