"""Other people's parts: loggers, callbacks and schedules, from the command line and from Python."""

from __future__ import annotations

import csv
import json
import math
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import pytorch_lightning as pl

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import Config
from imdb_lightning.training import experiment
from imdb_lightning.training.trainer import build_targets
from tests.support import CACHE, Command

SMALL = [
    "data=synthetic", "data.reviews=1500", "data.validation_size=500", "data.test_size=400", "data.num_words=500",
    "data.batch_size=100", "trainer.max_epochs=3",
]  # fmt: skip
STEPS = 30

# A user's own module: a callback and a logger that write down what they are told.
MINE = """
from pathlib import Path
import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger

class Witness(pl.Callback):
    def __init__(self, folder):
        self.folder = Path(folder)
    def on_fit_end(self, trainer, pl_module):
        (self.folder / f"callback-{trainer.global_rank}").touch()

class Logger(CSVLogger):
    def log_metrics(self, metrics, step=None):
        (Path(self.root_dir).parent / "logger").touch()
        super().log_metrics(metrics, step)
"""


class Keeps(pl.Callback):
    def __init__(self, values: list) -> None:
        self.values = values


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.slow
def test_csv_logger_and_learning_rate_monitor(command: Command, tmp_path: Path) -> None:
    monitor = "callbacks.extra.lr._target_=pytorch_lightning.callbacks.LearningRateMonitor"
    schedule = ["model.schedule=cosine", "model.warmup_epochs=0.5", "model.learning_rate=0.01"]
    answer = command(tmp_path, *SMALL, "logger=csv", monitor, *schedule, "hydra.run.dir=run")
    assert answer.returncode == 0, answer.stderr
    rows = rows_of(tmp_path / "run" / "csv" / "version_0" / "metrics.csv")
    history = rows_of(tmp_path / "run" / "history.csv")
    for logged, kept in (
        ("train/loss", "loss"), ("train/accuracy", "accuracy"), ("val/loss", "val_loss"),
        ("val/accuracy", "val_accuracy"),
    ):  # fmt: skip
        values = [float(row[logged]) for row in rows if row[logged]]
        assert values == pytest.approx([float(row[kept]) for row in history], rel=1e-6)
    rates = {int(row["step"]): float(row["lr-KerasAdam"]) for row in rows if row["lr-KerasAdam"]}
    rise = [0.01 * (step + 1) / 5 for step in range(5)]
    fall = [0.01 * (1 + math.cos(math.pi * (step - 5) / (STEPS - 5))) / 2 for step in range(5, STEPS)]
    assert [rates[step] for step in range(STEPS)] == pytest.approx(rise + fall, rel=1e-9)
    assert (tmp_path / "run" / "history.csv").is_file()  # What we write ourselves stays.


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("processes", [1, 2])
def test_own_callback_and_logger_from_the_python_path(processes: int, command: Command, tmp_path: Path) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "mine.py").write_text(MINE)
    own = [
        "callbacks.extra.witness._target_=mine.Witness", f"callbacks.extra.witness.folder={tmp_path}",
        "logger.mine._target_=mine.Logger", "logger.mine.name=rows", "logger=csv",
    ]  # fmt: skip
    several = ["trainer=ddp_cpu", f"trainer.devices={processes}"] if processes > 1 else []
    variables = {"PYTHONPATH": str(tmp_path / "modules")}
    answer = command(tmp_path, *SMALL, *own, *several, "hydra.run.dir=run", **variables)
    assert answer.returncode == 0, answer.stderr
    assert len(list(tmp_path.glob("callback-*"))) == processes
    assert (tmp_path / "run" / "logger").exists()
    for name in ("csv", "rows"):  # Several loggers at once.
        assert rows_of(tmp_path / "run" / name / "version_0" / "metrics.csv")


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("processes", [1, 2])
def test_mlflow_keeps_a_local_store(processes: int, command: Command, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    several = ["trainer=ddp_cpu", f"trainer.devices={processes}"] if processes > 1 else []
    answer = command(tmp_path, *SMALL, *several, "logger=[mlflow,csv]", "name=mine", "hydra.run.dir=run")
    assert answer.returncode == 0, answer.stderr
    with closing(sqlite3.connect(tmp_path / "run" / "mlflow.db")) as store:
        (run,) = store.execute("select name from runs").fetchall()
        losses = store.execute("select value from metrics where key = 'val/loss' order by step").fetchall()
        settings = dict(store.execute("select key, value from params").fetchall())
    assert run == ("mine",)
    expected = [float(row["val_loss"]) for row in rows_of(tmp_path / "run" / "history.csv")]
    assert [loss for (loss,) in losses] == pytest.approx(expected, rel=1e-6)
    assert (settings["hidden_units"], settings["seed"], settings["batch_size"]) == ("[16]", "0", "100")
    assert (tmp_path / "run" / "csv" / "version_0" / "metrics.csv").is_file()


@pytest.mark.slow
@pytest.mark.distributed
def test_wandb_works_offline(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    answer = command(tmp_path, *SMALL, "logger=wandb", "logger.wandb.offline=true", "hydra.run.dir=run")
    assert answer.returncode == 0, answer.stderr
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_callbacks_of_a_python_caller_are_called(compose: Callable[..., Config], tmp_path: Path) -> None:
    class Counts(pl.Callback):
        steps = 0

        def on_train_batch_end(self, *arguments: object) -> None:
            self.steps += 1

    counts = Counts()
    experiment.run(compose(*SMALL), tmp_path, callbacks=[counts])
    assert counts.steps == STEPS


def test_arguments_of_a_target_are_plain_values() -> None:
    settings = {"x": {"_target_": f"{__name__}.Keeps", "values": [1, {"a": [2]}]}}
    (made,) = build_targets("callbacks.extra", settings, pl.Callback)
    assert type(made.values) is list
    assert type(made.values[1]["a"]) is list


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nosuch.Module", r"extra\.x: expected the class of a Callback .* Mend it"),
        ("pytorch_lightning.NoSuch", r"extra\.x: expected the class of a Callback"),
        ("pytorch_lightning.callbacks.Timer", r"extra\.x: expected .* but got .*unexpected keyword argument 'colour'"),
        ("argparse.Namespace", r"extra\.x: expected the class of a Callback .* but got a Namespace"),
    ],
)
def test_target_that_cannot_be_made_is_refused(target: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_targets("callbacks.extra", {"x": {"_target_": target, "colour": "red"}}, pl.Callback)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("callbacks.extra.x=3", "callbacks.extra.x: expected a mapping with a class as _target_, but got 3"),
        ("logger.x.project=a", "logger.x: expected a mapping with a class as _target_"),
        ("trainer.gradient_clip_val=1", "use trainer.flags.gradient_clip_val."),
        ("model.schedule=step", "model.schedule: expected one of constant, cosine, linear"),
        ("model.warmup_epochs=-1", "model.warmup_epochs: expected a number, at least 0"),
    ],
)
def test_mistakes_name_the_key_that_works(argument: str, message: str, command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, argument)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert message in answer.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flag", "remedy"),
    [
        ("strategy=fsdp", "Use trainer=cpu, gpu, ddp_cpu or ddp."),
        ("max_epochs=3", "Use trainer.max_epochs."),
        ("use_distributed_sampler=true", "Remove it: its value is fixed."),
    ],
)
def test_flags_that_are_set_elsewhere_name_the_key(flag: str, remedy: str, command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, *SMALL, f"trainer.flags.{flag}")
    assert answer.returncode == 2
    assert answer.stderr.splitlines()[-1].endswith(remedy)


@pytest.mark.slow
def test_targets_of_a_saved_run_are_made_by_training_alone(trained: Path, tmp_path: Path, cache: Path) -> None:
    """A stranger's run may name any class."""
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", trained, run], check=True)
    settings = run / "config.yaml"
    target = f"{{x: {{_target_: subprocess.Popen, args: [touch, {tmp_path / 'ran'}]}}}}"
    text = settings.read_text().replace("  extra: {}", f"  extra: {target}")
    settings.write_text(text.replace("logger: {}", f"logger: {target}"))
    assert settings.read_text().count("subprocess.Popen") == 2
    for module, *arguments in (
        ("predict", run, "--text", "good"), ("evaluate", run), ("compare", run), ("export", run),
    ):  # fmt: skip
        answer = subprocess.run(
            [sys.executable, "-m", f"imdb_lightning.{module}", *map(str, arguments)],
            env=os.environ | {CACHE: str(cache)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr
    assert not (tmp_path / "ran").exists()
    assert json.loads((run / "status.json").read_text())["state"] == "completed"
