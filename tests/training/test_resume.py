"""The one rule for a folder that is used again: finished, unfinished, or another run's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from imdb_lightning.config.errors import UserError
from imdb_lightning.runs.lifecycle import open_run
from imdb_lightning.runs.signals import Interrupted
from imdb_lightning.training import experiment
from tests.support import CACHE, Command, equal, in_use, outcome

SMALL = [
    "data=synthetic", "data.reviews=3000", "data.validation_size=1000", "data.test_size=700", "data.num_words=800",
    "data.batch_size=128", "model=regularized_relu_bce", "trainer.max_epochs=4", "model.schedule=cosine",
    "model.warmup_epochs=1.5",
]  # fmt: skip


class StopAt(pl.Callback):
    """Sends this process a signal at a step, as a scheduler would."""

    def __init__(self, epoch: int, step: int) -> None:
        self.at = (epoch, step)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if (trainer.current_epoch, batch_idx) == self.at:
            signal.raise_signal(signal.SIGUSR1)


@pytest.fixture(scope="module")
def whole(compose, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a run leaves that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    experiment.run(compose(*SMALL), folder)
    return outcome(folder)


@pytest.mark.parametrize("at", [(0, 0), (1, 4), (2, 15), (3, 14)])
@pytest.mark.parametrize("steps", ["null", "3"])
def test_interrupted_run_goes_on_to_the_same_bits(
    at: tuple[int, int], steps: str, compose, whole: dict[str, object], tmp_path: Path
) -> None:
    """Interrupted at a run's first step, in the middle of an epoch, and at an epoch's last step."""
    config = compose(*SMALL, f"checkpoint.every_n_steps={steps}")
    with pytest.raises(Interrupted):
        experiment.run(config, tmp_path / "cut", callbacks=[StopAt(*at)])
    status = json.loads((tmp_path / "cut" / "status.json").read_text())
    assert (status["state"], status["reason"]) == ("interrupted", "SIGUSR1")
    step = torch.load(tmp_path / "cut" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert step == 16 * at[0] + at[1] + 1
    experiment.run(config, tmp_path / "cut")
    cut = outcome(tmp_path / "cut")
    assert [key for key in whole if not equal(whole[key], cut[key])] == []


def test_leftovers_of_a_killed_write_are_removed(compose, tmp_path: Path) -> None:
    for name in (
        ".results.json.4711",
        "checkpoints/.last.ckpt.4711",
        ".notes",
        ".lock",
        "refit/checkpoints/.last.ckpt.1",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    experiment.run(compose(*SMALL, "trainer.max_epochs=1"), tmp_path)
    assert {path.name for path in tmp_path.glob(".*")} == {".notes", ".lock"}
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
    assert not list((tmp_path / "refit" / "checkpoints").iterdir())


def test_finished_run_gives_back_its_results_untouched(compose, tmp_path: Path) -> None:
    config = compose(*SMALL, "trainer.max_epochs=1")
    first = experiment.run(config, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert experiment.run(config, tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    ("setting", "stopped"), [("callbacks.patience=2", "early"), ("callbacks.stop_behind=[1,1,0]", "pruned")]
)
def test_run_that_was_killed_after_stopping_early_trains_no_further(
    setting: str, stopped: str, compose, tmp_path: Path
) -> None:
    config = compose(*SMALL, "trainer.max_epochs=20", "model.learning_rate=0.01", setting)
    first = experiment.run(config, tmp_path)
    assert first.stopped == stopped
    status = json.loads((tmp_path / "status.json").read_text())
    (tmp_path / "status.json").write_text(json.dumps(status | {"state": "running"}))
    (tmp_path / "results.json").unlink()
    again = experiment.run(config, tmp_path)
    assert (again.epochs, again.test, again.validation) == (first.epochs, first.test, first.validation)


def test_run_that_was_killed_after_its_last_epoch_tests_the_best_weights(compose, tmp_path: Path) -> None:
    config = compose(*SMALL, "trainer.max_epochs=6", "callbacks.patience=10", "model.learning_rate=0.02")
    first = experiment.run(config, tmp_path)
    assert first.best_epoch < 6
    status = json.loads((tmp_path / "status.json").read_text())
    (tmp_path / "status.json").write_text(json.dumps(status | {"state": "running"}))
    again = experiment.run(config, tmp_path)
    assert (again.test, again.best_epoch, again.epochs) == (first.test, first.best_epoch, 6)


def test_folder_of_another_run_is_refused_and_kept(compose, tmp_path: Path) -> None:
    experiment.run(compose(*SMALL, "trainer.max_epochs=1"), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(
        UserError, match=r"other values of model\.dropout \(0\.5 there, now 0\.1\), seed \(0 there, now 3\)\."
    ):
        experiment.run(compose(*SMALL, "trainer.max_epochs=1", "seed=3", "model.dropout=0.1"), tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_two_commands_cannot_work_in_one_folder(compose, tmp_path: Path) -> None:
    run = open_run(compose(*SMALL), tmp_path, epochs=lambda: 0, wait=0)
    with in_use(tmp_path, 600), pytest.raises(UserError, match="one that is in use"), run:
        pytest.fail("two processes are at work in the folder")
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_run_waits_for_the_last_process_of_a_killed_one(compose, tmp_path: Path) -> None:
    started = time.monotonic()
    with in_use(tmp_path, 1), open_run(compose(*SMALL), tmp_path, epochs=lambda: 0):
        assert time.monotonic() - started >= 1


@pytest.mark.slow
def test_sweep_started_again_runs_only_what_is_missing(command: Command, tmp_path: Path) -> None:
    arguments = ["-m", *SMALL, "trainer.max_epochs=1", "seed=range(4)", "hydra.sweep.dir=sweep"]
    assert command(tmp_path, *arguments).returncode == 0
    sweep = tmp_path / "sweep"
    untouched = {seed: (sweep / f"{seed}_regularized_relu_bce_seed={seed}" / "results.json") for seed in (0, 1, 3)}
    before = {seed: path.stat().st_mtime_ns for seed, path in untouched.items()}
    broken = sweep / "2_regularized_relu_bce_seed=2"
    expected = (broken / "predictions.csv").read_bytes()
    status = json.loads((broken / "status.json").read_text())
    (broken / "status.json").write_text(json.dumps(status | {"state": "running"}))
    (broken / "results.json").unlink()
    (broken / "predictions.csv").unlink()
    answer = command(tmp_path, *arguments)
    assert answer.returncode == 0, answer.stderr
    assert {seed: path.stat().st_mtime_ns for seed, path in untouched.items()} == before
    assert (broken / "predictions.csv").read_bytes() == expected
    assert "│ regularized_relu_bce │    4 │" in answer.stdout
    before = {path: path.read_bytes() for path in sweep.glob("*/*.json")}
    refused = command(tmp_path, *arguments, "model.dropout=0.1")
    assert refused.returncode == 2
    assert "other values of model.dropout" in refused.stderr
    assert {path: path.read_bytes() for path in sweep.glob("*/*.json")} == before


@pytest.mark.slow
def test_sweep_killed_after_five_of_twelve_jobs_runs_seven(cache: Path, tmp_path: Path) -> None:
    sweep, arguments = tmp_path / "sweep", ["-m", *SMALL, "trainer.max_epochs=2", "seed=range(12)"]
    command = [sys.executable, "-m", "imdb_lightning", *arguments, f"hydra.sweep.dir={sweep}"]
    environment = os.environ | {CACHE: str(cache)}
    with (tmp_path / "output").open("w") as output:
        first = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        while len(list(sweep.glob("*/results.json"))) < 5:
            assert first.poll() is None, (tmp_path / "output").read_text()
            time.sleep(0.05)
        first.kill()
        first.wait()
    # A job that was killed between its results and its status is done again.
    states = {path: json.loads(path.read_text())["state"] for path in sweep.glob("*/status.json")}
    done = {path: path.stat().st_mtime_ns for path, state in states.items() if state == "completed"}
    assert 4 <= len(done) < 12
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert len(list(sweep.glob("*/results.json"))) == 12
    assert (sweep / "comparison.csv").read_text().splitlines()[1].startswith("regularized_relu_bce,12,")


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_runs_end_with_the_bits_of_one_that_was_not(processes: int, cache: Path) -> None:
    command = [sys.executable, "-m", "tests.kill_rounds", "--rounds", "1", "--processes", str(processes)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "all equal to the bit" in answer.stdout
