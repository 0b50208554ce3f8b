"""Lightning callbacks: history, best weights, stopping that survives a resume, progress, seeds of each step."""

import dataclasses
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, RichProgressBar
from torch import Tensor

from imdb_lightning.config.schema import MONITORS, CallbacksConfig
from imdb_lightning.model.module import SentimentClassifier
from imdb_lightning.model.shards import seed_draws
from imdb_lightning.runs.records import CHECKPOINT, Epoch
from imdb_lightning.runs.tables import write_history
from imdb_lightning.training.checkpoint import diverged_error

log = logging.getLogger(__name__)


class History(pl.Callback):
    """Records each epoch's metrics, rewrites `history.csv` and logs one line.

    In a trainer's list it comes before the callbacks that read its last row.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.epochs: list[Epoch] = []  # Those that are done.
        self._start = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock."""
        self._start = time.perf_counter()

    # Not called for an epoch that goes on in the middle.
    on_train_epoch_start = on_train_start

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds the epoch.

        Raises:
            UserError: its loss is not finite, so that going on is pointless.
        """
        assert isinstance(pl_module, SentimentClassifier)
        # Read off the totals: Lightning lets the module log them only after this hook.
        loss, accuracy = (float(value) for value in pl_module.totals_of("train").compute())
        val_loss, val_accuracy = (float(trainer.callback_metrics[f"val/{name}"]) for name in ("loss", "accuracy"))
        seconds = round(time.perf_counter() - self._start, 6)
        epoch = Epoch(trainer.current_epoch + 1, loss, accuracy, val_loss, val_accuracy, seconds)
        for name, value in (("loss", loss), ("val_loss", val_loss)):
            if not math.isfinite(value):
                raise diverged_error(name, value, trainer, "its last step", self.folder / CHECKPOINT)
        self.epochs.append(epoch)
        if trainer.is_global_zero:
            write_history(self.folder, self.epochs)
            # Within 80 columns: Rich breaks a line that is longer than the terminal is wide.
            log.info(
                "epoch %2d/%d  loss %.4f  val %.4f  accuracy %.4f  val %.4f  %.2f s",
                epoch.epoch, trainer.max_epochs, loss, val_loss, accuracy, val_accuracy, seconds,
            )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """The epochs so far, for the checkpoint."""
        return {"epochs": [dataclasses.asdict(epoch) for epoch in self.epochs]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores them."""
        self.epochs = [Epoch(**epoch) for epoch in state_dict["epochs"]]


class BestWeights(pl.Callback):
    """Keeps a copy of the best epoch's weights and restores them when training ends, however it ends.

    Lightning has nothing for Keras's `restore_best_weights`; a checkpoint file for it would cost 6 ms an epoch and a
    second file that can disagree with the first. The copy goes into the one checkpoint instead.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self.sign = {"min": 1.0, "max": -1.0}[MONITORS[monitor]]
        self.score = math.inf
        self.weights: dict[str, Tensor] | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copies the weights if they are better than all before."""
        score = self.sign * float(trainer.callback_metrics[self.monitor])
        # Of equally good epochs the first one's stay, as in Keras.
        if score < self.score:
            self.score = score
            self.weights = {name: weight.detach().clone() for name, weight in pl_module.state_dict().items()}

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restores the best weights, also when a resumed run had no epoch left to train."""
        if self.weights is not None:
            pl_module.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        """Score and weights, for the checkpoint."""
        return {"score": self.score, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores them."""
        self.score, self.weights = state_dict["score"], state_dict["weights"]


class ResumableEarlyStopping(EarlyStopping):
    """Lightning's, which forgets in a checkpoint that it has stopped the run and would train one epoch more."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sets `should_stop` again after a resume."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class StopBehind(pl.Callback):
    """Stops a run that is behind others, as `is_behind` says.

    It keeps nothing of its own: the history comes back with a checkpoint, and all ranks have the same.
    """

    def __init__(self, config: CallbacksConfig, history: History) -> None:
        self.config, self.history = config, history

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sets `should_stop`, also after a resume."""
        trainer.should_stop = trainer.should_stop or is_behind(self.history.epochs, self.config)

    on_train_epoch_end = on_train_start


def is_behind(history: Sequence[Epoch], config: CallbacksConfig) -> bool:
    """Whether the best monitored value so far is worse than `stop_behind` asks for after so many epochs."""
    limits, place = config.stop_behind or [], len(history) - 2
    if not 0 <= place < len(limits):
        return False
    values: list[float] = [getattr(epoch, config.monitor.replace("/", "_")) for epoch in history]
    return min(values) > limits[place] if MONITORS[config.monitor] == "min" else max(values) < limits[place]


class EpochBar(RichProgressBar):
    """Lightning's Rich bar below the lines that `History` logs, on standard error, narrow enough for 80 columns."""

    def __init__(self) -> None:
        super().__init__(console_kwargs={"stderr": True})

    def configure_columns(self, trainer: pl.Trainer) -> list[Any]:
        """Leaves out the title, which counts epochs from 0 where the log and all files count from 1."""
        columns: list[Any] = super().configure_columns(trainer)
        return columns[1:]

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Leaves out the metrics: they are those of the epoch before, which has its line in the log."""
        return {}


class StepSeeds(pl.Callback):
    """Seeds torch anew at each step from (seed, epoch, step, rank), so that dropout draws depend on nothing else.

    A resumed run then draws what the uninterrupted one would have drawn. With shards, each part has a seed in place of
    each rank.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seeds the generator of the device that the step runs on."""
        assert isinstance(pl_module, SentimentClassifier)
        shards = pl_module.network.shards
        # Hashed, so that neighbouring steps, ranks and parts draw nothing alike.
        rank, count = (trainer.global_rank, 1) if shards is None else (0, shards.count + 1)
        entropy = np.random.SeedSequence([self.seed, trainer.current_epoch, batch_idx, rank])
        seeds = entropy.generate_state(count, np.uint64).tolist()
        seed_draws(pl_module.device, seeds[-1])
        if shards is not None:
            shards.seeds = seeds
