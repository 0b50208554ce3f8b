"""The one LightningModule for all networks: steps, exact totals, optimizer.

Batches are those of `imdb_lightning.data.sampling.Batch`, or `(x, y)` of any DataLoader: multi-hot rows `[B, V]` and
labels `[B]` of 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from imdb_lightning.config.schema import ModelConfig
from imdb_lightning.model.metrics import LossAndAccuracy
from imdb_lightning.model.network import SentimentNetwork
from imdb_lightning.model.objective import LOSSES, l2_penalty
from imdb_lightning.model.optimizer import OPTIMIZERS, learning_rate_factor

Batch = Sequence[Any]
"""`(labels, scale, inputs, offsets)`, or `(x, y)`."""


class SentimentClassifier(pl.LightningModule):
    """Learns whether a review is positive.

    Logs `train/loss`, `train/accuracy`, `val/loss`, `val/accuracy`, `test/loss` and `test/accuracy` once an epoch,
    penalty included, equal for any number of processes.

    Args:
        hidden_units: units of each hidden layer, first to last.
        activation: `relu`, `tanh`, `sigmoid` or `gelu`.
        loss: `bce` or `mse`.
        l2: penalty `l2 * sum(w ** 2)` on each hidden kernel, at least 0.
        dropout: after each hidden activation, from 0 to below 1.
        optimizer: `adam`, `rmsprop` or `sgd`, with Keras's settings.
        learning_rate: above 0.
        schedule: `constant`, `cosine` or `linear`, step by step to the end of training.
        warmup_epochs: over which the learning rate rises from 0, step by step.
        num_words: width of the multi-hot input.

    Raises:
        UserError: an argument is out of its range.

    Attributes:
        test_probabilities: of all test reviews in their order, float32 `[R]`, after a test.

    Example:
        >>> classifier = SentimentClassifier(hidden_units=[16], activation="relu", loss="bce")
        >>> sum(p.numel() for p in classifier.parameters())
        160033
    """

    def __init__(
        self,
        hidden_units: list[int],
        activation: str,
        loss: str,
        l2: float = 0.0,
        dropout: float = 0.0,
        optimizer: str = "adam",
        learning_rate: float = 1e-3,
        schedule: str = "constant",
        warmup_epochs: float = 0.0,
        num_words: int = 10_000,
    ) -> None:
        super().__init__()
        config = ModelConfig(
            name="python", hidden_units=hidden_units, activation=activation, loss=loss, l2=l2, dropout=dropout,
            optimizer=optimizer, learning_rate=learning_rate, schedule=schedule, warmup_epochs=warmup_epochs,
        )  # fmt: skip
        hidden_units = list(config.hidden_units)
        self.save_hyperparameters(ignore="config")
        self.network = SentimentNetwork(num_words, hidden_units, activation, dropout)
        self.losses = LOSSES[loss]
        self.l2 = l2
        self.totals = nn.ModuleDict({f"{split}_totals": LossAndAccuracy() for split in ("train", "val", "test")})
        self.test_probabilities = torch.empty(0)
        self._parts: list[Tensor] = []
        self._schedule = partial(learning_rate_factor, schedule="constant", warmup_steps=0, steps=1)
        self._saved_totals: list[list[float]] | None = None

    def forward(self, inputs: Tensor, offsets: Tensor | None = None) -> Tensor:
        """Logits `[B]` of being positive; arguments as of `MultiHotLinear.forward`."""
        logits: Tensor = self.network(inputs, offsets)
        return logits

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """A rank's loss, whose gradient's mean over ranks is that of the global batch's mean loss."""
        batch = _unpack(batch)
        losses, penalty, _ = self._step("train", batch)
        loss: Tensor = losses.sum() * batch[1]
        return loss if penalty is None else loss + penalty

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Adds the batch to validation's totals."""
        self._step("val", _unpack(batch))

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Adds the batch to the test's totals and keeps its probabilities."""
        self._parts.append(self._step("test", _unpack(batch))[2].cpu())

    def predict_step(self, batch: Tensor | Batch, batch_index: int) -> Tensor:
        """Probabilities of being positive, float32 `[B]`; of a DataLoader, labels may be left out."""
        if isinstance(batch, Tensor):
            return torch.sigmoid(self(batch).float())
        inputs, offsets = batch[2:] if len(batch) == 4 else (batch[0], None)
        return torch.sigmoid(self(inputs, offsets).float())

    def on_train_epoch_start(self) -> None:
        """Starts training's totals anew."""
        self.totals_of("train").reset()

    def on_train_epoch_end(self) -> None:
        """Logs training's totals."""
        self._log_totals("train")

    def on_validation_epoch_end(self) -> None:
        """Logs validation's totals."""
        self._log_totals("val")
        self.totals_of("val").reset()

    def on_test_epoch_start(self) -> None:
        """Forgets an earlier test."""
        self._parts = []

    def on_test_epoch_end(self) -> None:
        """Logs the test's totals and puts all processes' probabilities together."""
        self._log_totals("test")
        self.totals_of("test").reset()
        parts_of_ranks = [self._parts]
        if self.trainer.world_size > 1:
            parts_of_ranks = [[]] * self.trainer.world_size
            dist.all_gather_object(parts_of_ranks, self._parts)
        # A batch is cut into one part a rank, in their order.
        self.test_probabilities = torch.cat([part for batch in zip(*parts_of_ranks, strict=True) for part in batch])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds each process's training totals so far, for an epoch that is to go on in the middle.

        Their sum would be rounded in another order than that of an uninterrupted epoch.
        """
        totals = self.totals_of("train")
        sums = torch.stack([totals.loss_sum, totals.hits.double(), totals.reviews.double()])
        checkpoint["train_totals"] = self.trainer.strategy.all_gather(sums).reshape(-1, len(sums)).tolist()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remembers the totals until training goes on; `load_from_checkpoint` has no trainer that could share them."""
        self._saved_totals = checkpoint.get("train_totals")

    def on_train_start(self) -> None:
        """Starts the schedule, and takes this process's totals back; of another number of processes, each its share."""
        if self._saved_totals is not None:
            trainer, totals = self.trainer, self.totals_of("train")
            of_processes = torch.tensor(self._saved_totals, dtype=torch.float64)
            loss_sum, hits, reviews = of_processes[trainer.global_rank :: trainer.world_size].sum(0).tolist()
            totals.loss_sum.fill_(loss_sum)
            totals.hits.fill_(int(hits))
            totals.reviews.fill_(int(reviews))
            self._saved_totals = None
        self._start_schedule()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer by name, over all parameters, and the schedule of its learning rate, if there is one."""
        optimizer = OPTIMIZERS[self.hparams["optimizer"]](self.parameters(), self.hparams["learning_rate"])
        if self.hparams["schedule"] == "constant" and not self.hparams["warmup_epochs"]:
            return optimizer
        scheduler = LambdaLR(optimizer, lambda step: self._schedule(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _start_schedule(self) -> None:
        """Gives the schedule its length, which depends on the loader.

        To ask for it any earlier would make Lightning set up the loader before it has read, from a checkpoint within
        an epoch, how many batches the loader is to leave out; it would then leave out none.
        """
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, LambdaLR):
            steps, epochs = int(self.trainer.estimated_stepping_batches), self.trainer.max_epochs or 1
            warmup_steps = round(self.hparams["warmup_epochs"] * steps / epochs)
            self._schedule = partial(
                learning_rate_factor, schedule=self.hparams["schedule"], warmup_steps=warmup_steps, steps=steps
            )
            for group, rate in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, strict=True):
                group["lr"] = rate * self._schedule(scheduler.last_epoch)

    def totals_of(self, split: str) -> LossAndAccuracy:
        """The totals of `train`, `val` or `test`; those of training hold the last epoch until the next begins."""
        totals = self.totals[f"{split}_totals"]
        assert isinstance(totals, LossAndAccuracy)
        return totals

    def _step(self, split: str, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor]:
        labels, _, inputs, offsets = batch
        logits = self(inputs, offsets)
        losses = self.losses(logits, labels)
        penalty = l2_penalty(self.network.hidden_kernels(), self.l2) if self.l2 else None
        probabilities = torch.sigmoid(logits.detach().float())
        detached = None if penalty is None else penalty.detach()
        self.totals_of(split).update(losses.detach(), detached, probabilities, labels)
        return losses, penalty, probabilities

    def _log_totals(self, split: str) -> None:
        loss, accuracy = self.totals_of(split).compute()
        # Already reduced over processes.
        self.log_dict({f"{split}/loss": loss, f"{split}/accuracy": accuracy}, prog_bar=True)


def _unpack(batch: Batch) -> Batch:
    """`(labels, scale, inputs, offsets)` of a batch of either kind."""
    if len(batch) == 4:
        return batch
    rows, labels = batch
    return labels.float(), 1 / len(labels), rows.float(), None


def build_module(config: ModelConfig, num_words: int) -> SentimentClassifier:
    """The module that the settings ask for, its weights drawn from torch's global generator."""
    settings = {key: value for key, value in asdict(config).items() if key != "name"}
    return SentimentClassifier(**settings, num_words=num_words)
