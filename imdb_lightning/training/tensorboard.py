"""What TensorBoard shows of a run: the curves while it trains, its settings, test metrics and pictures afterwards."""

from collections.abc import Mapping
from pathlib import Path

import pytorch_lightning as pl
from matplotlib.figure import Figure
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams as hparams_summaries

from imdb_lightning.runs.records import TRAIN, VALIDATION
from imdb_lightning.training.callbacks import History

# What the HPARAMS tab shows first.
_FIRST_HPARAMS = ("seed", "learning_rate")


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
    folder: Path, hparams: dict[str, str | float], metrics: Mapping[str, float | None], figures: Mapping[str, Figure],
    epoch: int,
) -> None:  # fmt: skip
    """Gives a run its row in the HPARAMS tab and its test's numbers and pictures, under the name of its folder.

    All by their names, at the epoch whose weights were tested; the figures are in the folder as `NAME.png` already.
    """
    for path in folder.glob("events.out.tfevents.*"):
        path.unlink()  # Of a test after fewer epochs: of two that say the same, TensorBoard shows the first.
    # The dashboard opens with one metric, and with five settings.
    names = sorted(metrics, key=lambda name: name != "accuracy")
    scalars = {f"test/{name}": value for name in names if (value := metrics[name]) is not None}
    with SummaryWriter(folder) as writer:
        # Not add_hparams: it would open a second writer in a folder of its own, named by the time.
        experiment, *session = hparams_summaries(hparams, scalars)  # type: ignore[no-untyped-call]
        metadata = experiment.value[0].metadata.plugin_data
        content = HParamsPluginData.FromString(metadata.content)
        for info in content.experiment.hparam_infos:
            # TensorBoard sorts by this, then by name. What else differs between runs a run cannot know.
            info.differs = info.name in _FIRST_HPARAMS
        metadata.content = content.SerializeToString()
        for summary in (experiment, *session):
            writer.file_writer.add_summary(summary)
        for tag, value in scalars.items():
            writer.add_scalar(tag, value, epoch)
        for name, figure in figures.items():
            # Not add_figure or add_image: both would draw the picture once more, in a tenth of a second each.
            width, height = figure.canvas.get_width_height()
            content = (folder / f"{name}.png").read_bytes()
            image = Summary.Image(encoded_image_string=content, width=width, height=height, colorspace=4)
            writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=f"test/{name}", image=image)]), epoch)
