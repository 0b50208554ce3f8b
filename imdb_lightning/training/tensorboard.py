"""What TensorBoard shows of a run: the curves while it trains, its settings, test metrics and pictures afterwards."""

from collections.abc import Mapping
from pathlib import Path

import pytorch_lightning as pl
from matplotlib.figure import Figure
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams as hparams_summaries

from imdb_lightning.runs.records import TRAIN, VALIDATION
from imdb_lightning.training.callbacks import History


class TensorBoardCurves(pl.Callback):
    """Writes each epoch's numbers for TensorBoard, training and validation under the same tags.

    One `TensorBoardLogger` could not: it has one folder, and TensorBoard overlays the curves of two.
    """

    def __init__(self, folder: Path, history: History) -> None:
        self.folder, self.history = folder, history
        self.writers: list[SummaryWriter] = []  # Empty on other ranks than 0.

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Opens both event files."""
        if trainer.is_global_zero:
            # Hides what an interrupted run has written of epochs that are now trained again.
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


def write_test(
    folder: Path, hparams: dict[str, str | float], metrics: dict[str, float], figures: Mapping[str, Figure]
) -> None:
    """Gives a run its row in the HPARAMS tab, as a session of its `validation` run, and its pictures under IMAGES.

    All by their names; the figures are in the folder as `NAME.png` already.
    """
    scalars = {f"test/{name}": value for name, value in metrics.items()}
    with SummaryWriter(folder / VALIDATION) as writer:
        # Not add_hparams: it would open a second writer in a folder of its own, named by the time.
        for summary in hparams_summaries(hparams, scalars):  # type: ignore[no-untyped-call]
            writer.file_writer.add_summary(summary)
        for tag, value in scalars.items():
            writer.add_scalar(tag, value)
        for name, figure in figures.items():
            # Not add_figure or add_image: both would draw the picture once more, in a tenth of a second each.
            width, height = figure.canvas.get_width_height()
            content = (folder / f"{name}.png").read_bytes()
            image = Summary.Image(encoded_image_string=content, width=width, height=height, colorspace=4)
            writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=f"test/{name}", image=image)]))
