"""The one checkpoint, `checkpoints/last.ckpt`: all that is needed to go on, to the bit.

It is written at the end of every epoch, on request every so many steps or minutes, and when a signal asks the run to
stop. It holds the callbacks' states too, the best weights and the history among them, so that no two files can
disagree.
"""

import io
import os
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from imdb_lightning.config.schema import CheckpointConfig
from imdb_lightning.runs.files import write_file
from imdb_lightning.runs.signals import Interrupted, SignalWatch


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the file and renames. Lightning's own goes through the temporary folder, often on another disk."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Writes the checkpoint whole or not at all."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        Path(path).parent.mkdir(exist_ok=True)
        write_file(Path(path), buffer.getvalue())


class LastCheckpoint(Checkpoint):
    """Writes the checkpoint when it is due: at each epoch's end, and as `checkpoint` in the settings asks.

    Lightning calls it after all other callbacks, so that their states are those of the step. All ranks take part in a
    save, so they agree on it after each step: one reduction of two numbers.
    """

    def __init__(self, path: Path, config: CheckpointConfig, signals: SignalWatch) -> None:
        self.path, self.config, self.signals = path, config, signals
        self._saved_at = time.monotonic()

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
        if not trainer.is_last_batch:
            steps, minutes = self.config.every_n_steps, self.config.every_minutes
            due = steps is not None and trainer.global_step % steps == 0
            due |= minutes is not None and time.monotonic() - self._saved_at > 60 * minutes
            self._save_together(trainer, due)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves."""
        # Validation is over by now, and the callbacks before this one hold its numbers.
        self._save_together(trainer, due=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What follows can be done again: signals end it at once."""
        self.signals.deferring = False

    def _save_together(self, trainer: pl.Trainer, due: bool) -> None:
        """Saves if any rank finds it due or has got a signal; a signal ends the run.

        Raises:
            Interrupted: on all ranks, with the largest number of their signals.
        """
        signum = self.signals.received
        if trainer.world_size > 1:
            # Each rank has its own clock and gets its signals at its own time, but all must save at the same step.
            requests = torch.tensor([int(due), signum], device=trainer.strategy.root_device)
            dist.all_reduce(requests, dist.ReduceOp.MAX)
            due, signum = bool(requests[0]), int(requests[1])
        if due or signum:
            # On all ranks: rank 0 writes, after the module has gathered the totals of each.
            trainer.save_checkpoint(self.path)
            self._saved_at = time.monotonic()
        if signum:
            # By all ranks after the same step: one that left alone would keep the others waiting in a reduction.
            raise Interrupted(signum)
