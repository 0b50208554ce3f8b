"""What a run says of itself: its settings as TensorBoard and loggers take them, and the contents of `results.json`."""

import dataclasses
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytorch_lightning as pl
import torch

from imdb_lightning.config.schema import MONITORS, Config
from imdb_lightning.config.shown import shown_command
from imdb_lightning.data.datamodule import ReviewDataModule
from imdb_lightning.data.sampling import find_class_weights
from imdb_lightning.runs.records import Epoch, RunResult
from imdb_lightning.training.callbacks import is_behind


def best_epoch_of(history: list[Epoch], config: Config) -> int:
    """The epoch, from 1, with the first best monitored value: the one whose weights `BestWeights` keeps."""
    values = [getattr(epoch, config.callbacks.monitor.replace("/", "_")) for epoch in history]
    return history[values.index({"min": min, "max": max}[MONITORS[config.callbacks.monitor]](values))].epoch


def tested_epoch_of(config: Config, best_epoch: int, epochs: int) -> int:
    """The epoch, from 1, whose weights are tested."""
    return best_epoch if config.callbacks.restore_best else epochs


def hparams_of(config: Config) -> dict[str, str | float]:
    """The settings that tell runs apart in tables, as TensorBoard and other loggers take them."""
    model = dataclasses.asdict(config.model)
    units = "-".join(map(str, config.model.hidden_units)) or "none"  # TensorBoard takes no lists.
    return {"model": model.pop("name")} | model | {
        "hidden_units": units, "batch_size": config.data.batch_size, "num_words": config.data.num_words or "all",
        "ngrams": config.data.ngrams,
        "max_epochs": config.trainer.max_epochs, "precision": config.trainer.precision, "seed": config.seed,
    }  # fmt: skip


def build_result(
    config: Config, trainer: pl.Trainer, datamodule: ReviewDataModule, epochs: list[Epoch], best_epoch: int,
    test: dict[str, float | None], seconds: dict[str, float],
) -> RunResult:  # fmt: skip
    """What `results.json` holds of a run with these epochs, of which `best_epoch` counts from 1."""
    tested, splits = epochs[tested_epoch_of(config, best_epoch, len(epochs)) - 1], datamodule.splits
    stopped = "pruned" if is_behind(epochs, config.callbacks) else "early"
    return RunResult(
        name=config.name, model=config.model.name, seed=config.seed, test=test,
        validation={"loss": tested.val_loss, "accuracy": tested.val_accuracy},
        epochs=len(epochs), best_epoch=best_epoch,
        stopped=stopped if len(epochs) < (trainer.max_epochs or 0) else "max_epochs",
        parameters=sum(parameter.numel() for parameter in trainer.lightning_module.parameters()),
        world_size=trainer.world_size, precision=config.trainer.precision, seconds=seconds,
        data={
            "source": splits.source, "sha256": splits.sha256, "prepared": splits.prepared,
            "num_words": config.data.num_words, "width": datamodule.width,
            "train": len(splits.train), "validation": len(splits.validation), "test": len(splits.test),
            "class_weights": find_class_weights(config.data.class_weights, splits.train.labels),
            "larger_class": {"validation": splits.validation.larger_class(), "test": splits.test.larger_class()},
        },
        provenance={
            "git": _git_commit(), "python": platform.python_version(), "torch": torch.__version__,
            "lightning": version("pytorch-lightning"), "command": shown_command(sys.orig_argv), "host": platform.node(),
        },
    )  # fmt: skip


def _git_commit() -> str | None:
    """The commit of the code that runs; None outside its own checkout, as when it was installed from a wheel."""
    root = Path(__file__).resolve().parent.parent.parent
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    command = ["git", "-C", str(root), "rev-parse", "--verify", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None
