"""The one checkpoint, `checkpoints/last.ckpt`: all that is needed to go on, to the bit.

It is written at the end of every epoch, on request every so many steps or minutes, and when a signal asks the run to
stop. It holds the callbacks' states too, the best weights and the history among them, so that no two files can
disagree.
"""

from __future__ import annotations

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
    """Writes the checkpoint when it is due. Lightning calls it after all other callbacks.

    All processes take part in a save, so they agree on it after each step: one reduction of two numbers.

    Args:
        path: of the file.
        every_n_steps: also after every so many steps; None: not.
        every_minutes: also after so many minutes; None: not.
        signals: tells whether the run is to stop.
    """

    def __init__(
        self, path: Path, every_n_steps: int | None, every_minutes: float | None, signals: SignalWatch
    ) -> None:
        self.path, self.every_n_steps, self.every_minutes, self.signals = path, every_n_steps, every_minutes, signals
        self._saved_at = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on signals wait for the end of a step."""
        self._saved_at = time.monotonic()
        # Lightning has just set a handler of its own for SIGTERM, which talks to other processes inside the handler.
        self.signals.install()
        self.signals.deferring = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves if it is due or a signal came; the epoch's last step leaves that to the epoch's end."""
        if trainer.is_last_batch:
            return
        due = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        due |= self.every_minutes is not None and time.monotonic() - self._saved_at > 60 * self.every_minutes
        due, signum = _agree(trainer, due, self.signals.received)
        if due or signum:
            self._save(trainer)
        if signum:
            raise Interrupted(signum)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves, and stops if a signal came."""
        self._save(trainer)
        _, signum = _agree(trainer, False, self.signals.received)
        if signum:
            raise Interrupted(signum)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What follows can be done again: signals end it at once."""
        self.signals.deferring = False

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._saved_at = time.monotonic()


def _agree(trainer: pl.Trainer, due: bool, signum: int) -> tuple[bool, int]:
    """All-reduces (maximum) the save request and the signal, so that all ranks act at the same step."""
    if trainer.world_size == 1:
        return due, signum
    requests = torch.tensor([int(due), signum], device=trainer.strategy.root_device)
    dist.all_reduce(requests, dist.ReduceOp.MAX)
    agreed_due, agreed_signum = requests.tolist()
    return bool(agreed_due), agreed_signum
