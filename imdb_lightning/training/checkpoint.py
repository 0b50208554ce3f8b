"""The one checkpoint, `checkpoints/last.ckpt`: all that is needed to go on, to the bit.

It is written at the end of every epoch, on request every so many steps or minutes, and when a signal asks the run to
stop. It holds the callbacks' states too, the best weights and the history among them, so that no two files can
disagree.
"""

import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import CheckpointConfig
from imdb_lightning.runs.signals import Interrupted, SignalWatch


class LastCheckpoint(Checkpoint):
    """Writes the checkpoint when it is due: at each epoch's end, and as `checkpoint` in the settings asks.

    Lightning calls it after all other callbacks, so that their states are those of the step. All ranks take part in a
    save, so they agree on it after each step: one reduction of three numbers.

    What is not finite is never saved: a loss that is not ends the run.
    """

    def __init__(self, path: Path, config: CheckpointConfig, signals: SignalWatch) -> None:
        self.path, self.config, self.signals = path, config, signals
        self._saved_at = time.monotonic()
        self._losses: list[Tensor] = []  # Of this epoch's steps that were not looked at yet.
        self._bad = math.nan  # The loss that was not finite; of another rank's it is not known.

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on signals wait for the end of a step."""
        self._saved_at = time.monotonic()
        # Lightning has just set a handler of its own for SIGTERM, which talks to other processes inside the handler;
        # saving is not safe there.
        self.signals.install()
        self.signals.deferring = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves if it is due or a signal came; the last step leaves that to the epoch's end, a moment later."""
        self._losses.append(outputs["loss"].detach())
        steps, minutes = self.config.every_n_steps, self.config.every_minutes
        due = steps is not None and trainer.global_step % steps == 0
        due |= minutes is not None and time.monotonic() - self._saved_at > 60 * minutes
        self._save_together(trainer, due, batch_idx + 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves."""
        # Validation is over by now, and the callbacks before this one hold its numbers.
        self._save_together(trainer, due=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What follows can be done again: signals end it at once."""
        self.signals.deferring = False

    def _save_together(self, trainer: pl.Trainer, due: bool, step: int = 0) -> None:
        """Saves if any rank finds it due or has got a signal; a signal ends the run.

        `step` counts from 1 within the epoch; 0: the epoch is over.

        Raises:
            Interrupted: on all ranks, with the largest number of their signals.
            UserError: on all ranks, a loss or the weights are not finite.
        """
        signum, last = self.signals.received, step > 0 and trainer.is_last_batch
        # On a GPU, to look at a loss is to wait for it.
        look = due or signum or last or trainer.world_size > 1 or trainer.strategy.root_device.type == "cpu"
        diverged = self._first_bad(step) if look else 0
        if trainer.world_size > 1:
            # Each rank has its own clock and gets its signals at its own time, but all must save at the same step.
            requests = torch.tensor([int(due), signum, diverged], device=trainer.strategy.root_device)
            dist.all_reduce(requests, dist.ReduceOp.MAX)
            due, signum, diverged = bool(requests[0]), int(requests[1]), int(requests[2])
        if diverged:
            raise diverged_error("loss", self._bad, trainer, f"step {diverged}", self.path)
        if last or not (due or signum):
            return
        if not all(weight.isfinite().all() for weight in trainer.lightning_module.parameters()):
            place = f"step {step}" if step else "its last step"
            raise diverged_error("weights", math.nan, trainer, place, self.path)
        # On all ranks: rank 0 writes, after the module has gathered the totals of each.
        trainer.save_checkpoint(self.path)
        self._saved_at = time.monotonic()
        if signum:
            # By all ranks after the same step: one that left alone would keep the others waiting in a reduction.
            raise Interrupted(signum)

    def _first_bad(self, step: int) -> int:
        """The first step, from 1, whose loss on this rank is not finite; 0: none of those not looked at yet."""
        losses, self._losses = torch.stack(self._losses).tolist() if self._losses else [], []
        for place, loss in enumerate(losses, start=step - len(losses) + 1):
            if not math.isfinite(loss):
                self._bad = loss
                return place
        return 0


def diverged_error(name: str, value: float, trainer: pl.Trainer, place: str, path: Path) -> UserError:
    """What to say of a run whose numbers are not finite any more, and what its last checkpoint is good for."""
    saved = f"{path} has the last finite state." if path.exists() else "There is no checkpoint yet."
    remedy = "lower model.learning_rate or set trainer.flags.gradient_clip_val."
    found = f"{value} in epoch {trainer.current_epoch + 1}"
    return UserError(name, "a finite number", found, f"The training diverged at {place}: {remedy} {saved}")
