"""`experiment.run` in this process: repeatability, best weights, early stopping, precision."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from safetensors.numpy import load_file

from imdb_lightning.config.errors import UserError
from imdb_lightning.runs.records import RunResult
from imdb_lightning.training import experiment

SMALL = [
    "data=synthetic", "data.reviews=3000", "data.validation_size=1000", "data.test_size=700", "data.num_words=800",
    "data.batch_size=128", "model.learning_rate=0.01",
]  # fmt: skip


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


def same(first: Path, second: Path) -> bool:
    return all((weights(first)[name] == array).all() for name, array in weights(second).items())


def history(folder: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_machine_without_git_loses_no_run(compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = experiment.run(compose(*SMALL, "trainer.max_epochs=1"), tmp_path / "run")
    assert result.provenance["git"] is None


@pytest.mark.parametrize("model", ["shallow_relu_bce", "deep_tanh_mse", "regularized_relu_bce"])
def test_one_seed_gives_the_same_bits_twice(model: str, compose, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        experiment.run(compose(*SMALL, f"model={model}", f"seed={seed}", "trainer.max_epochs=3"), tmp_path / name)
    assert same(tmp_path / "a", tmp_path / "b")
    assert history(tmp_path / "a") == history(tmp_path / "b")
    assert (tmp_path / "a" / "predictions.csv").read_bytes() == (tmp_path / "b" / "predictions.csv").read_bytes()
    assert not same(tmp_path / "a", tmp_path / "c")


def test_dropout_of_a_step_does_not_depend_on_what_was_drawn_before(compose, tmp_path: Path) -> None:
    config = compose(*SMALL, "model=regularized_relu_bce", "trainer.max_epochs=2")
    experiment.run(config, tmp_path / "a")

    class Draws(pl.Callback):
        def on_train_batch_start(self, *arguments: object) -> None:
            torch.rand(3)

    experiment.run(config, tmp_path / "b", callbacks=[Draws()])
    assert same(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("monitor", ["val/loss", "val/accuracy"])
def test_early_stopping_tests_the_weights_of_the_best_epoch(monitor: str, compose, tmp_path: Path) -> None:
    stopped = experiment.run(compose(*SMALL, f"callbacks.monitor={monitor}"), tmp_path / "stopped")
    assert stopped.stopped == "early"
    column = [float(row[monitor.replace("/", "_")]) for row in history(tmp_path / "stopped")]
    best = column.index(min(column) if monitor == "val/loss" else max(column)) + 1
    assert (stopped.best_epoch, stopped.epochs) == (best, best + 2)
    # The same run, ended by hand at that epoch, has these weights as its last ones.
    cut = experiment.run(compose(*SMALL, "callbacks=none", f"trainer.max_epochs={best}"), tmp_path / "cut")
    assert same(tmp_path / "stopped", tmp_path / "cut")
    assert (cut.test, cut.validation) == (stopped.test, stopped.validation)


@pytest.mark.parametrize("monitor", ["val/loss", "val/accuracy"])
def test_run_that_is_behind_others_stops_and_one_that_is_not_goes_on(monitor: str, compose, tmp_path: Path) -> None:
    """Limits are for epochs 2, 3, ...; a best value that is equal to its limit is not behind."""
    settings = [*SMALL, "trainer.max_epochs=5", "callbacks=none", f"callbacks.monitor={monitor}"]
    experiment.run(compose(*settings), tmp_path / "whole")
    values = [float(row[monitor.replace("/", "_")]) for row in history(tmp_path / "whole")]
    better, away = (min, -1e-6) if monitor == "val/loss" else (max, 1e-6)
    best = [better(values[: place + 1]) for place in range(len(values))]
    equal = experiment.run(compose(*settings, f"callbacks.stop_behind={best[1:]}"), tmp_path / "equal")
    assert (equal.epochs, equal.stopped) == (5, "max_epochs")
    limits = [best[1], best[2], best[3] + away, best[4]]
    behind = experiment.run(compose(*settings, f"callbacks.stop_behind={limits}"), tmp_path / "behind")
    assert (behind.epochs, behind.stopped) == (4, "pruned")
    assert behind.validation["loss"] == float(history(tmp_path / "whole")[3]["val_loss"])


def test_without_callbacks_all_epochs_run_and_the_last_weights_are_tested(compose, tmp_path: Path) -> None:
    result = experiment.run(compose(*SMALL, "callbacks=none", "trainer.max_epochs=8"), tmp_path)
    assert (result.epochs, result.stopped) == (8, "max_epochs")
    assert result.best_epoch < 8
    assert result.validation["loss"] == float(history(tmp_path)[-1]["val_loss"])


def test_dense_layout_gives_equal_results(compose, tmp_path: Path) -> None:
    sparse, dense = (
        experiment.run(compose(*SMALL, f"data.layout={layout}", "trainer.max_epochs=3"), tmp_path / layout)
        for layout in ("sparse", "dense")
    )
    for name, value in sparse.test.items():
        assert dense.test[name] == pytest.approx(value, abs=2e-3 if name != "loss" else 1e-4)


def test_bfloat16_trains_to_a_like_accuracy(compose, tmp_path: Path) -> None:
    full, half = (
        experiment.run(compose(*SMALL, f"trainer.precision={precision}", "model=deep_tanh_mse"), tmp_path / precision)
        for precision in ("32-true", "bf16-mixed")
    )
    assert half.precision == "bf16-mixed"
    assert half.test["accuracy"] == pytest.approx(full.test["accuracy"], abs=0.03)
    assert half.test["loss"] != full.test["loss"]


def test_returned_result_is_the_written_one(compose, tmp_path: Path) -> None:
    result = experiment.run(compose(*SMALL, "trainer.max_epochs=1"), tmp_path)
    assert isinstance(result, RunResult)
    assert json.loads((tmp_path / "results.json").read_text()) == dataclasses.asdict(result)


def test_diverged_run_fails_and_keeps_what_it_has(compose, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"finite number, but got nan in epoch 1\. The training diverged"):
        experiment.run(compose(*SMALL, "model.learning_rate=1e30"), tmp_path)
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["state"], status["last_epoch"]) == ("failed", 0)
    assert "The training diverged" in (tmp_path / "train.log").read_text()
    assert not (tmp_path / "results.json").exists()


def test_trainer_flags_reach_lightning(compose, tmp_path: Path) -> None:
    flags = ["trainer.flags.limit_train_batches=1", "trainer.max_epochs=1"]
    short = experiment.run(compose(*SMALL, *flags), tmp_path / "short")
    whole = experiment.run(compose(*SMALL, "trainer.max_epochs=1"), tmp_path / "whole")
    assert short.validation["loss"] > whole.validation["loss"]
