"""Folders that a command line names, and the command that goes on in one."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from imdb_lightning.launch.folders import command_in, job_folder
from tests.support import Command

TINY = ["data=synthetic", "data.reviews=300", "data.validation_size=100", "data.test_size=50", "data.num_words=100"]


@pytest.mark.slow
def test_jobs_of_a_sweep_are_named_by_what_differs(command: Command, tmp_path: Path) -> None:
    sweep = ["-m", *TINY, "trainer.max_epochs=1", "model=deep_tanh_mse,shallow_relu_bce", "hydra.sweep.dir=sweep"]
    sweep += ["model.hidden_units=[4],[8,4]", "callbacks=none,early_stopping", "seed=3"]
    answer = command(tmp_path, *sweep)
    assert answer.returncode == 0, answer.stderr
    names = {path.parent.name for path in tmp_path.glob("sweep/*/results.json")}
    assert names == {
        f"{4 * first + 2 * second + third}_{model}_hidden_units={units}_callbacks={callbacks}"
        for first, model in enumerate(("deep_tanh_mse", "shallow_relu_bce"))
        for second, units in enumerate(("4", "8-4"))
        for third, callbacks in enumerate(("none", "early_stopping"))
    }
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("sweep/*/*")}
    assert command(tmp_path, *sweep).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("sweep/*/*")} == written


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["seed=1", "data.batch_size=64"], "7_net_seed=1"),
        (["model=net", "+experiment=own/net", "name=net"], "7_net"),
        (["+experiment=own/other"], "7_net_experiment=other"),
        (["model.learning_rate=-1e-05"], "7_net_learning_rate=-1e-05"),
        (["data.train=\"/home/me/my reviews, (1).csv\""], "7_net_train=my-reviews-1-.csv"),
        (["trainer.flags.x={a: 1, b: [2]}"], "7_net_x=a-1-b-2"),
        ([f"data.train={'x' * 300}"], f"7_net_train={'x' * 68}"),
    ],
)  # fmt: skip
def test_name_of_a_jobs_folder(overrides: list[str], name: str) -> None:
    assert job_folder(7, "net", overrides, ["data.batch_size"]) == name


@pytest.mark.slow
def test_name_names_the_folder_and_changed_settings_the_table(command: Command, tmp_path: Path) -> None:
    settings = ["name=mine", "model.hidden_units=[6,4]", "++model.dropout=0.3"]
    answer = command(tmp_path, *TINY, *settings, "trainer.max_epochs=1")
    assert answer.returncode == 0, answer.stderr
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["mine"]
    assert answer.stdout.splitlines()[0] == "mine (hidden_units=[6,4] dropout=0.3), seed 0"


@pytest.mark.parametrize(
    ("typed", "folder", "again"),
    [
        (["-m", "seed=0,1"], "logs/a", ["-m", "seed=0,1", "{}=logs/a"]),
        (["seed=0,1", "~callbacks", "-m"], "logs/a", ["seed=0,1", "{}=logs/a", "~callbacks", "-m"]),
        (["--config-dir=mine", "-m"], "a", ["--config-dir=mine", "-m", "{}=a"]),
        (["seed=1", "{}=b"], "b", ["seed=1", "{}=b"]),
        (["a=1"], "x/läufe, (1)", ["a=1", '{}="x/läufe, (1)"']),
        (["a=1"], "../b=1", ["a=1", '{}="../b=1"']),
    ],
)
def test_command_that_goes_on(typed: list[str], folder: str, again: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    key, program = "hydra.sweep.dir", ["python", "-m", "imdb_lightning"]
    monkeypatch.setattr(sys, "orig_argv", [*program, *(word.format(key) for word in typed)])
    assert shlex.split(command_in(key, folder)) == [*program, *(word.format(key) for word in again)]
