"""`refit`: chosen on validation, then trained on training and validation reviews together."""

from __future__ import annotations

import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import pytorch_lightning as pl

from imdb_lightning.config.data import IMDBDataConfig, TextDataConfig
from imdb_lightning.config.errors import UserError
from imdb_lightning.data.datamodule import ReviewDataModule
from imdb_lightning.data.sources import load_reviews
from imdb_lightning.runs.comparison import find_runs, group_runs
from imdb_lightning.runs.records import read_result
from imdb_lightning.training import experiment
from tests import oracle
from tests.support import CACHE, Command, equal, outcome
from tests.training.test_longer import differing, untouched

SMALL = [
    "data=synthetic", "data.reviews=3000", "data.validation_size=1000", "data.test_size=700", "data.num_words=800",
    "data.batch_size=128", "model=regularized_relu_bce", "model.learning_rate=0.01", "trainer.max_epochs=20",
]  # fmt: skip


@pytest.fixture(scope="module")
def refitted(compose, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refitted")
    experiment.run(compose(*SMALL, "refit=true"), folder)
    return folder


def accuracy(folder: Path) -> float:
    rows = list(csv.DictReader((folder / "predictions.csv").read_text().splitlines()))
    return float(np.mean([(float(row["probability"]) > 0.5) == (row["label"] == "1") for row in rows]))


def test_refit_is_a_run_on_both_for_the_chosen_epochs(compose, refitted: Path, tmp_path: Path) -> None:
    chosen = experiment.run(compose(*SMALL), tmp_path / "chosen")
    assert differing(tmp_path / "chosen", refitted) == []
    assert (chosen.stopped, chosen.best_epoch < chosen.epochs) == ("early", True)
    both = ["data.with_validation=true", "callbacks=none", f"trainer.max_epochs={chosen.best_epoch}"]
    direct = experiment.run(compose(*SMALL, *both), tmp_path / "direct")
    assert differing(tmp_path / "direct", refitted / "refit") == []
    result = read_result(refitted)
    assert result.test == chosen.test
    assert result.refit == {"test": direct.test, "epochs": chosen.best_epoch}
    assert result.test["accuracy"] == pytest.approx(accuracy(refitted))
    assert result.refit["test"]["accuracy"] == pytest.approx(accuracy(refitted / "refit"))
    assert result.seconds["total"] > result.seconds["refit"] > 0
    assert result.data["train"] == 2000
    assert read_result(refitted / "refit").data["train"] == 3000


def test_refitted_run_is_one_run_of_its_group(refitted: Path) -> None:
    (run,) = find_runs([refitted])
    assert run.folder == refitted
    (group,) = group_runs([run])
    refit = read_result(refitted).refit
    assert refit is not None
    assert group.refitted() == refit["test"]["accuracy"]


def test_refit_can_follow_later(compose, refitted: Path, tmp_path: Path) -> None:
    experiment.run(compose(*SMALL), tmp_path)
    result = experiment.run(compose(*SMALL, "refit=true"), tmp_path)
    assert result.refit == read_result(refitted).refit
    assert differing(refitted, tmp_path) + differing(refitted / "refit", tmp_path / "refit") == []
    before = untouched(tmp_path)
    assert experiment.run(compose(*SMALL, "refit=true"), tmp_path) == result
    with pytest.raises(UserError, match=r"refit \(True there, now False\)"):
        experiment.run(compose(*SMALL), tmp_path)
    assert untouched(tmp_path) == before


class Counts(pl.Callback):
    """Notes how many epochs it has seen, and all that is noted in the class."""

    seen: ClassVar[list[int]] = []

    def __init__(self) -> None:
        self.epochs = 0

    def on_train_epoch_end(self, *_: object) -> None:
        self.epochs += 1
        self.seen.append(self.epochs)


def test_without_early_stopping_all_epochs_are_refitted(compose, tmp_path: Path) -> None:
    last = ["callbacks=none", "trainer.max_epochs=3", "refit=true"]
    result = experiment.run(compose(*SMALL, *last), tmp_path, callbacks=[Counts()])
    assert result.refit is not None
    assert result.refit["epochs"] == 3
    assert Counts.seen == [1, 2, 3, 1, 2, 3]  # The callback as it was before training, each time.


def test_validation_cannot_choose_where_it_is_trained_on(compose) -> None:
    with pytest.raises(UserError, match=r"data\.with_validation: .* callbacks=none"):
        compose(*SMALL, "data.with_validation=true")


@pytest.mark.slow
@pytest.mark.parametrize("steps", ["null", "2"])
def test_killed_refit_goes_on_to_the_same_bits(steps: str, refitted: Path, cache: Path, tmp_path: Path) -> None:
    arguments = [*SMALL, "refit=true", f"checkpoint.every_n_steps={steps}", f"hydra.run.dir={tmp_path / 'cut'}"]
    command = [sys.executable, "-m", "imdb_lightning", *arguments]
    environment = os.environ | {CACHE: str(cache)}
    history = tmp_path / "cut" / "refit" / "history.csv"
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not history.exists():
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut" / "results.json").exists()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    for cut, whole in ((tmp_path / "cut", refitted), (tmp_path / "cut" / "refit", refitted / "refit")):
        assert [key for key, value in outcome(whole).items() if not equal(value, outcome(cut)[key])] == []


@pytest.mark.slow
@pytest.mark.distributed
def test_refit_is_the_same_for_several_processes(compose, command: Command, tmp_path: Path) -> None:
    settings = [*SMALL, "model.dropout=0", "refit=true"]  # Each process draws its own units to leave out.
    single = experiment.run(compose(*settings), tmp_path / "one")
    answer = command(tmp_path, *settings, "trainer=ddp_cpu", "hydra.run.dir=two")
    assert answer.returncode == 0, answer.stderr
    assert "test, refitted" in answer.stdout
    assert "refitted     two/refit" in answer.stdout
    several = read_result(tmp_path / "two")
    assert single.refit is not None
    assert several.refit is not None
    assert several.refit["epochs"] == single.refit["epochs"] < single.epochs
    for folder in ("", "refit"):
        paths = (tmp_path / run / folder / "predictions.csv" for run in ("one", "two"))
        first, second = (np.loadtxt(path, delimiter=",", skiprows=1) for path in paths)
        np.testing.assert_allclose(first, second, atol=2e-6)


def rows(path: Path, reviews: list[tuple[str, int]]) -> str:
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in reviews))
    return str(path)


def test_test_labels_change_nothing_but_the_tests_figures(
    labelled: list[tuple[str, int]], compose, tmp_path: Path
) -> None:
    train, test = labelled[:200], labelled[200:300]
    labels = np.random.default_rng(0).permutation([label for _, label in test]).tolist()
    shuffled = [(text, label) for (text, _), label in zip(test, labels, strict=True)]
    assert shuffled != test
    results = {}
    for name, reviews in (("true", test), ("shuffled", shuffled)):
        settings = [
            "data=text", f"data.train={rows(tmp_path / 'train.jsonl', train)}", f"data.cache_dir={tmp_path / name}",
            f"data.test={rows(tmp_path / f'{name}.jsonl', reviews)}", "+experiment=best", "data.batch_size=32",
            "model.learning_rate=0.01", "refit=true",
        ]  # fmt: skip
        results[name] = experiment.run(compose(*settings), tmp_path / "runs" / name)
    assert results["true"].test["accuracy"] != results["shuffled"].test["accuracy"]
    assert results["true"].refit["epochs"] == results["shuffled"].refit["epochs"]
    for folder in ("", "refit"):
        first, second = (tmp_path / "runs" / name / folder for name in results)
        for key in ("weights", "optimizer", "tested", "history"):
            assert equal(outcome(first)[key], outcome(second)[key]), key


@pytest.mark.parametrize("train_size", [None, 200])
@pytest.mark.parametrize("ngrams", [1, 2])
def test_columns_and_batches_are_of_both(ngrams: int, train_size: int | None, npz: Path, tmp_path: Path) -> None:
    settings = {"ngrams": ngrams, "num_words": 200, "validation_size": 70, "train_size": train_size, "batch_size": 64}
    config = IMDBDataConfig(
        path=str(npz), cache_dir=str(tmp_path), offline="error", with_validation=True, **settings
    )  # fmt: skip
    (reviews, labels), _ = oracle.keras_load_data(npz, 200)
    stop = len(reviews) if train_size is None else 270
    datamodule = ReviewDataModule(config)
    datamodule.setup()
    assert len(datamodule.splits.validation) == 70
    np.testing.assert_array_equal(datamodule.splits.train.labels, labels[:stop])
    seen = [label for batch in datamodule.train_dataloader() for label in batch[0].tolist()]
    assert sorted(seen) == sorted(labels[:stop].tolist())
    if ngrams > 1:
        pairs = {pair for review in reviews[:stop] for pair in itertools.pairwise(review[1:]) if 2 not in pair}
        assert len(datamodule.splits.ngrams.tables[1]) == len(pairs)


def test_vocabulary_of_own_text_is_of_both(labelled: list[tuple[str, int]], tmp_path: Path) -> None:
    train = rows(tmp_path / "train.jsonl", labelled[:100])
    validation = rows(tmp_path / "validation.jsonl", [*labelled[100:150], ("onlyinvalidation", 1)])
    named = {"train": train, "validation": validation, "test": rows(tmp_path / "test.jsonl", labelled[150:180])}
    indexes = []
    for both in (False, True):
        splits = load_reviews(TextDataConfig(**named, cache_dir=str(tmp_path), with_validation=both))
        assert (len(splits.train), len(splits.validation)) == (151 if both else 100, 51)
        indexes.append(splits.word_index)
    assert ["onlyinvalidation" in index for index in indexes] == [False, True]


def test_refitted_network_is_used_like_any_other(refitted: Path, cache: Path, command: Command, tmp_path: Path) -> None:
    run = str(refitted / "refit")
    answer = command(tmp_path, run, "--cache", str(cache), "--output", "out", module="imdb_lightning.evaluate")
    assert answer.returncode == 0, answer.stderr
    evaluation = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    refit = read_result(refitted).refit
    assert refit is not None
    assert {name: evaluation["metrics"][name] for name in refit["test"]} == refit["test"]
    assert "threshold" not in evaluation  # Validation was trained on.
    answer = command(tmp_path, run, "--text", "word1 word2", module="imdb_lightning.predict")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("text,label,probability\n")
