"""What TensorBoard shows of a run: the curves while it trains, its settings, test metrics and pictures afterwards."""

import itertools
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import pytorch_lightning as pl
from matplotlib.figure import Figure
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import hparams as hparams_summaries

from imdb_lightning.config.errors import explaining
from imdb_lightning.runs.records import TRAIN, VALIDATION
from imdb_lightning.training.callbacks import History

# What the HPARAMS tab shows first.
_FIRST_HPARAMS = ("seed", "learning_rate")


class EventFile:
    """A new file of events in a folder, in the form of `torch.utils.tensorboard.SummaryWriter`.

    That one writes from a thread of its own, which on a full disk ends with a traceback there, and with a message that
    names no file here. This one writes at once, and keeps nothing open.

    Args:
        folder: where TensorBoard looks for it; made if need be.
        purge_step: events of other files in the folder from this step on are not to be shown; None: all are.

    Raises:
        UserError: the disk is full or fails, or this user may not write there; also by `add`.
    """

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        with explaining(folder):
            folder.mkdir(parents=True, exist_ok=True)
            # A clock that was set back gives the same second again.
            self._path = next(path for n in itertools.count() if not (path := folder / f"{name}.{n}").exists())
        self._add(Event(file_version="brain.Event:2"))
        if purge_step is not None:
            self._add(Event(step=purge_step, session_log=SessionLog(status=SessionLog.START)))

    def add(self, summary: Summary, step: int = 0) -> None:
        """Writes a summary."""
        self._add(Event(summary=summary, step=step))

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        with explaining(self._path), self._path.open("ab") as file:
            RecordWriter(file).write(event.SerializeToString())


def _scalar(tag: str, value: float) -> Summary:
    return Summary(value=[Summary.Value(tag=tag, simple_value=value)])


class TensorBoardCurves(pl.Callback):
    """Writes each epoch's numbers for TensorBoard, training and validation under the same tags.

    One `TensorBoardLogger` could not: it has one folder, and TensorBoard overlays the curves of two.
    """

    def __init__(self, folder: Path, history: History) -> None:
        self.folder, self.history = folder, history
        self.writers: list[EventFile] = []  # Empty on other ranks than 0.

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Opens both event files."""
        if trainer.is_global_zero:
            # Hides what an interrupted run has written of epochs that are now trained again.
            first = trainer.current_epoch + 1
            self.writers = [EventFile(self.folder / name, purge_step=first) for name in (TRAIN, VALIDATION)]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Adds a point to each curve."""
        epoch = self.history.epochs[-1]
        numbers = ((epoch.loss, epoch.accuracy), (epoch.val_loss, epoch.val_accuracy))
        for writer, (loss, accuracy) in zip(self.writers, numbers, strict=False):
            writer.add(_scalar("loss", loss), epoch.epoch)
            writer.add(_scalar("accuracy", accuracy), epoch.epoch)


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
    writer = EventFile(folder)
    # Not add_hparams: it would open a second writer in a folder of its own, named by the time.
    experiment, *session = hparams_summaries(hparams, scalars)  # type: ignore[no-untyped-call]
    metadata = experiment.value[0].metadata.plugin_data
    content = HParamsPluginData.FromString(metadata.content)
    for info in content.experiment.hparam_infos:
        # TensorBoard sorts by this, then by name. What else differs between runs a run cannot know.
        info.differs = info.name in _FIRST_HPARAMS
    metadata.content = content.SerializeToString()
    for summary in (experiment, *session):
        writer.add(summary)
    for tag, value in scalars.items():
        writer.add(_scalar(tag, value), epoch)
    for name, figure in figures.items():
        # Not add_figure or add_image: both would draw the picture once more, in a tenth of a second each.
        width, height = figure.canvas.get_width_height()
        content = (folder / f"{name}.png").read_bytes()
        image = Summary.Image(encoded_image_string=content, width=width, height=height, colorspace=4)
        writer.add(Summary(value=[Summary.Value(tag=f"test/{name}", image=image)]), epoch)
