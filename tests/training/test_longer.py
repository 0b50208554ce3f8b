"""More epochs in the folder of a run: the missing ones are trained, to the bits of a run that had them all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import pytorch_lightning as pl
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from imdb_lightning.config.errors import UserError
from imdb_lightning.runs.comparison import find_runs
from imdb_lightning.runs.records import RunResult, read_status
from imdb_lightning.runs.signals import Interrupted
from imdb_lightning.training import experiment
from tests.support import Command, equal, outcome
from tests.training.test_resume import StopAt

SMALL = [
    "data=synthetic", "data.reviews=3000", "data.validation_size=1000", "data.test_size=700", "data.num_words=800",
    "data.batch_size=128", "model=regularized_relu_bce",
]  # fmt: skip
EARLY = [*SMALL, "model.learning_rate=0.01"]
KEPT = ("test", "validation", "epochs", "best_epoch", "stopped")


def epochs(count: int) -> str:
    return f"trainer.max_epochs={count}"


def differing(first: Path, second: Path) -> list[str]:
    """What is not equal to the bit in the folders of two runs."""
    outcomes = outcome(first), outcome(second)
    results = [json.loads((folder / "results.json").read_text()) for folder in (first, second)]
    found = [key for key in outcomes[0] if not equal(outcomes[0][key], outcomes[1][key])]
    return found + [key for key in KEPT if results[0][key] != results[1][key]]


def untouched(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def whole(compose, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four epochs in one go, the last weights tested."""
    folder = tmp_path_factory.mktemp("whole")
    experiment.run(compose(*SMALL, "callbacks=none", epochs(4)), folder)
    return folder


@pytest.fixture(scope="module")
def stopped(compose, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    """A run that stopped early, with its best weights tested."""
    folder = tmp_path_factory.mktemp("stopped")
    result = experiment.run(compose(*EARLY, epochs(20)), folder)
    assert result.stopped == "early"
    return folder, result


def test_more_epochs_end_with_the_bits_of_all_in_one_go(compose, whole: Path, tmp_path: Path) -> None:
    for count in (1, 3, 4):
        result = experiment.run(compose(*SMALL, "callbacks=none", epochs(count)), tmp_path)
        assert (result.epochs, result.stopped) == (count, "max_epochs")
    assert differing(whole, tmp_path) == []


@pytest.mark.parametrize("missing", [3, 1, 0])
def test_early_stopping_goes_on_where_it_was(missing: int, compose, stopped, tmp_path: Path) -> None:
    """Cut before the best epoch, after it, and where the last epoch is the one that stops the run."""
    folder, result = stopped
    first = experiment.run(compose(*EARLY, epochs(result.epochs - missing)), tmp_path)
    assert (first.stopped, first.best_epoch < result.best_epoch) == ("max_epochs", missing == 3)
    experiment.run(compose(*EARLY, epochs(20)), tmp_path)
    assert differing(folder, tmp_path) == []


def test_run_that_stopped_early_stays_stopped(compose, stopped) -> None:
    folder, result = stopped
    before = untouched(folder)
    assert experiment.run(compose(*EARLY, epochs(30)), folder) == result
    assert untouched(folder) == before


def test_interrupted_longer_run_is_not_taken_for_finished(compose, whole: Path, tmp_path: Path) -> None:
    short, longer = (compose(*SMALL, "callbacks=none", epochs(count)) for count in (2, 4))
    experiment.run(short, tmp_path)

    class LooksWhileItRuns(pl.Callback):
        def on_train_start(self, *_: object) -> None:
            self.status = read_status(tmp_path)

    looks = LooksWhileItRuns()
    with pytest.raises(Interrupted):
        experiment.run(longer, tmp_path, callbacks=[looks, StopAt(2, 4)])
    assert looks.status is not None
    assert looks.status.state == "running"
    (run,) = find_runs([tmp_path])
    assert (run.status.state, run.status.last_epoch, run.result) == ("interrupted", 2, None)
    with pytest.raises(UserError, match=r"trainer\.max_epochs \(4 there, now 2\)"):
        experiment.run(short, tmp_path)
    assert experiment.run(longer, tmp_path).epochs == 4
    assert differing(whole, tmp_path) == []
    # TensorBoard, too, has forgotten the test after two epochs.
    events = EventAccumulator(str(tmp_path)).Reload()
    content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    assert metadata.parse_session_start_info_plugin_data(content).hparams["max_epochs"].number_value == 4
    assert [point.step for point in events.Scalars("test/accuracy")] == [4]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ([epochs(2)], [epochs(1)], r"other values of trainer\.max_epochs \(2 there, now 1\)\. Name another"),
        (
            [epochs(1)],
            [epochs(2), "seed=1", "model.l2=0", "data.batch_size=64"],
            r"other values of data\.batch_size \(128 there, now 64\), model\.l2 .*, seed .* and 1 more\.",
        ),
        (
            [epochs(1), "model.schedule=linear"],
            [epochs(2), "model.schedule=linear"],
            r"expected trainer\.max_epochs=1, since the learning rate of each step follows from it, "
            r"model\.schedule=linear and .* but got 2\.",
        ),
        ([epochs(1), "model.warmup_epochs=1"], [epochs(2), "model.warmup_epochs=1"], r"warmup_epochs=1\.0, but got 2"),
    ],
)
def test_what_cannot_go_on_is_refused(old: list[str], new: list[str], message: str, compose, tmp_path: Path) -> None:
    experiment.run(compose(*SMALL, *old), tmp_path)
    before = untouched(tmp_path)
    with pytest.raises(UserError, match=message):
        experiment.run(compose(*SMALL, *new), tmp_path)
    assert untouched(tmp_path) == before


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("callbacks", ["none", "early_stopping"])
def test_more_epochs_of_several_processes(callbacks: str, command: Command, tmp_path: Path) -> None:
    arguments = [*SMALL, f"callbacks={callbacks}", "trainer=ddp_cpu"]
    for folder, count in (("cut", 2), ("cut", 4), ("whole", 4)):
        answer = command(tmp_path, *arguments, epochs(count), f"hydra.run.dir={folder}")
        assert answer.returncode == 0, answer.stderr
        assert "warning" not in answer.stderr.lower()
    assert differing(tmp_path / "whole", tmp_path / "cut") == []
    status = read_status(tmp_path / "cut")
    assert status is not None
    assert (status.state, status.last_epoch) == ("completed", 4)
