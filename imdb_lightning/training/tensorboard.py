"""What TensorBoard shows of a run: the curves while it trains, its settings and test metrics when it is done."""

from __future__ import annotations

import struct
from pathlib import Path

import pytorch_lightning as pl
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams as hparams_summaries

from imdb_lightning.runs.records import TRAIN, VALIDATION
from imdb_lightning.training.callbacks import History


class TensorBoardCurves(pl.Callback):
    """Writes each epoch's numbers for TensorBoard, training and validation under the same tags.

    Args:
        folder: the run's.
        history: gives the numbers.
    """

    def __init__(self, folder: Path, history: History) -> None:
        self.folder, self.history = folder, history
        self.writers: list[SummaryWriter] = []  # Of the first process alone.

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Opens both event files."""
        if trainer.is_global_zero:
            # What an interrupted run has written of epochs that are now trained again is to be forgotten.
            first = trainer.current_epoch + 1
            self.writers = [SummaryWriter(self.folder / name, purge_step=first) for name in (TRAIN, VALIDATION)]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds a point to each curve."""
        epoch = self.history.epochs[-1]
        numbers = ((epoch.loss, epoch.accuracy), (epoch.val_loss, epoch.val_accuracy))
        for writer, (loss, accuracy) in zip(self.writers, numbers, strict=False):
            writer.add_scalar("loss", loss, epoch.epoch)
            writer.add_scalar("accuracy", accuracy, epoch.epoch)
            writer.flush()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Closes the files, also when training failed."""
        for writer in self.writers:
            writer.close()


def write_pictures(folder: Path, files: list[Path]) -> None:
    """Shows PNG files under IMAGES as `test/<name>`, as they are: drawing one again would take a tenth of a second.

    Args:
        folder: the run's.
        files: the pictures.
    """
    with SummaryWriter(folder / VALIDATION) as writer:
        for file in files:
            content = file.read_bytes()
            # A PNG begins with its signature and the chunk that says its width and height.
            width, height = struct.unpack(">II", content[16:24])
            image = Summary.Image(encoded_image_string=content, width=width, height=height, colorspace=4)
            summary = Summary(value=[Summary.Value(tag=f"test/{file.stem}", image=image)])
            writer.file_writer.add_summary(summary)


def write_hparams(folder: Path, hparams: dict[str, str | float], metrics: dict[str, float]) -> None:
    """Gives the run its row in the HPARAMS tab, as a session of its `validation` run.

    Args:
        folder: the run's.
        hparams: settings by name.
        metrics: test metrics by tag.
    """
    with SummaryWriter(folder / VALIDATION) as writer:
        # Not add_hparams: it would open a second writer in a folder of its own, named by the time.
        for summary in hparams_summaries(hparams, metrics):  # type: ignore[no-untyped-call]
            writer.file_writer.add_summary(summary)
        for tag, value in metrics.items():
            writer.add_scalar(tag, value)
