"""The one LightningModule for all networks: steps, exact totals, optimizer.

Batches are those of `imdb_lightning.data.sampling.Batch`, or `(x, y)` of any DataLoader: multi-hot rows `[B, V]` and
labels `[B]` of 0 and 1.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import ModelConfig
from imdb_lightning.model.metrics import LossAndAccuracy, join_parts
from imdb_lightning.model.network import build_network
from imdb_lightning.model.objective import Outcome, outcome_of, to_probabilities
from imdb_lightning.model.optimizer import OPTIMIZERS, learning_rate_factor
from imdb_lightning.model.shards import Shards

Batch = Sequence[Any]  # `(labels, scale, inputs, offsets, weights)`, or `(x, y)`.


class SentimentClassifier(pl.LightningModule):
    """Learns whether a review is positive.

    Logs `train/loss`, `train/accuracy`, `val/loss`, `val/accuracy`, `test/loss` and `test/accuracy` once an epoch,
    penalty included, equal for any number of processes.

    Args:
        hidden_units: units of each hidden layer, first to last.
        activation: `relu`, `tanh`, `sigmoid` or `gelu`.
        loss: `bce` or `mse`.
        num_words: width of the multi-hot input, `V`.
        shards: parts that each batch is cut into; then every process is given whole batches (`ReviewDataModule` with
            `whole`), and gradients are not to be joined again. None: every process is given its own part.
        settings: any other field of `ModelConfig`: `l2`, `dropout`, `optimizer`, `learning_rate`, `schedule`, ...

    Raises:
        UserError: an argument is out of its range.

    Example:
        >>> classifier = SentimentClassifier(hidden_units=[16], activation="relu", loss="bce")
        >>> sum(p.numel() for p in classifier.parameters())
        160033
    """

    def __init__(
        self, hidden_units: list[int], activation: str, loss: str, *, num_words: int = 10_000,
        shards: int | None = None, **settings: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        settings = {"name": "python"} | settings
        config = ModelConfig(hidden_units=hidden_units, activation=activation, loss=loss, **settings)
        self.save_hyperparameters(asdict(config) | {"num_words": num_words})
        self.network = build_network(config, num_words)
        if shards is not None:
            self.network.shards = Shards(shards)
        self.totals = nn.ModuleDict(
            {f"{split}_totals": LossAndAccuracy(of_ranks=shards is None) for split in ("train", "val", "test")}
        )
        self.test_probabilities = torch.empty(0)  # Of all test reviews in their order, float32 `[R]`, after a test.
        self._parts: list[Tensor] = []
        # Of the schedule; the loader tells when training starts.
        self._steps = self._warmup_steps = 0
        self._saved_totals: list[list[float]] | None = None

    def setup(self, stage: str) -> None:
        """Before training, takes what columns count from the data module, which finds it in the training reviews.

        Raises:
            UserError: there are weights of columns, and no data module that finds them.
        """
        kind, factors = self.hparams["feature_weighting"], self.network.words.factors
        if stage == "fit" and factors is not None:
            find = getattr(getattr(self.trainer, "datamodule", None), "column_factors", None)
            if find is None:
                remedy = "Train with a ReviewDataModule, or fill network.words.factors and override setup."
                raise UserError("feature_weighting", "none without a data module that finds it", kind, remedy)
            factors.copy_(find(kind))

    def forward(self, inputs: Tensor, offsets: Tensor | None = None) -> Tensor:
        """Logits `[B]` of being positive; arguments as of `MultiHotLinear.forward`."""
        logits: Tensor = self.network(inputs, offsets)
        return logits

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """A rank's loss, whose gradient's mean over ranks is that of the global batch's mean loss."""
        batch = _unpack(batch)
        outcome = self._step("train", batch)
        loss: Tensor = outcome.losses.sum() * batch[1]
        return loss if outcome.penalty is None else loss + outcome.penalty

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Adds the batch to validation's totals."""
        self._step("val", _unpack(batch))

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Adds the batch to the test's totals and keeps its probabilities."""
        self._parts.append(self._step("test", _unpack(batch)).probabilities.cpu())

    def predict_step(self, batch: Tensor | Batch, batch_index: int) -> Tensor:
        """Probabilities of being positive, float32 `[B]`; of a DataLoader, labels may be left out."""
        if isinstance(batch, Tensor):
            return to_probabilities(self(batch))
        inputs, offsets = batch[2:4] if len(batch) == 5 else (batch[0], None)
        return to_probabilities(self(inputs, offsets))

    def _step(self, split: str, batch: Batch) -> Outcome:
        labels, _, inputs, offsets, weights = batch
        smoothing = self.hparams["label_smoothing"] if split == "train" else 0.0
        targets = labels * (1 - smoothing) + smoothing / 2 if smoothing else labels
        outcome = outcome_of(self.network, inputs, offsets, targets, weights, self.hparams["loss"], self.hparams["l2"])
        self.totals_of(split).update(outcome, labels)
        return outcome

    def totals_of(self, split: str) -> LossAndAccuracy:
        """The totals of `train`, `val` or `test`; those of training hold the last epoch until the next begins."""
        totals = self.totals[f"{split}_totals"]
        assert isinstance(totals, LossAndAccuracy)
        return totals

    @property
    def _ranks(self) -> int:
        """How many processes have reviews of their own; with shards, all have the same ones."""
        return 1 if self.network.shards is not None else int(self.trainer.world_size)

    def _log_totals(self, split: str) -> None:
        # Already reduced over ranks, once: Lightning's mean over them would only round.
        loss, accuracy = self.totals_of(split).compute()
        self.log_dict({f"{split}/loss": loss, f"{split}/accuracy": accuracy}, prog_bar=True)

    def on_train_epoch_start(self) -> None:
        """Starts training's totals anew."""
        self.totals_of("train").reset()

    def on_train_epoch_end(self) -> None:
        """Logs training's totals."""
        self._log_totals("train")

    def on_validation_epoch_end(self) -> None:
        """Logs validation's totals."""
        self._log_totals("val")
        # Lightning resets only metrics that are logged as such, not by their values.
        self.totals_of("val").reset()

    def on_test_epoch_start(self) -> None:
        """Forgets an earlier test."""
        self._parts = []

    def on_test_epoch_end(self) -> None:
        """Logs the test's totals and joins the probabilities of all ranks."""
        self._log_totals("test")
        self.totals_of("test").reset()
        parts_of_ranks = [self._parts]
        if self._ranks > 1:
            parts_of_ranks = [[]] * self._ranks
            dist.all_gather_object(parts_of_ranks, self._parts)
        self.test_probabilities = join_parts(parts_of_ranks)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds each rank's training totals so far, for an epoch that is to go on in the middle.

        Their sum would be rounded in another order than that of an uninterrupted epoch.
        """
        totals = self.totals_of("train")
        sums = torch.stack([totals.loss_sum, totals.hits.double(), totals.reviews.double(), totals.weight])
        sums_of_ranks = [sums]
        if self._ranks > 1:
            sums_of_ranks = [torch.empty_like(sums) for _ in range(self._ranks)]
            dist.all_gather(sums_of_ranks, sums)
        checkpoint["train_totals"] = torch.stack(sums_of_ranks).tolist()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the totals until training goes on; `load_from_checkpoint` has no trainer that knows the rank."""
        self._saved_totals = checkpoint.get("train_totals")

    def on_train_start(self) -> None:
        """Restores this rank's totals (with another number of ranks, a share of all) and starts the schedule."""
        if self._saved_totals is not None:
            totals, of_ranks = self.totals_of("train"), torch.tensor(self._saved_totals, dtype=torch.float64)
            own = of_ranks[self.trainer.global_rank % self._ranks :: self._ranks].sum(0)
            # Checkpoints from before weights have three sums; a review's weight was 1.
            states = (totals.loss_sum, totals.hits, totals.reviews, totals.weight)
            for state, value in zip(states, [*own, own[2]], strict=False):
                state.copy_(value)
            self._saved_totals = None
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, LambdaLR):
            # Not before: in configure_optimizers, this made Lightning set up the loader before it had read, from a
            # checkpoint within an epoch, how many batches the loader is to leave out; it left out none.
            self._steps = int(self.trainer.estimated_stepping_batches)
            self._warmup_steps = round(self.hparams["warmup_epochs"] * self._steps / (self.trainer.max_epochs or 1))
            for group, rate in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, strict=True):
                group["lr"] = rate * self._factor(scheduler.last_epoch)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer by name, over all parameters, and the schedule of its learning rate, if there is one."""
        optimizer = OPTIMIZERS[self.hparams["optimizer"]](
            self.parameters(), self.hparams["learning_rate"], self.hparams["weight_decay"]
        )
        if self.hparams["schedule"] == "constant" and not self.hparams["warmup_epochs"]:
            return optimizer
        # A plain function: of any other callable LambdaLR puts the attributes in the checkpoint.
        scheduler = LambdaLR(optimizer, lambda step: self._factor(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _factor(self, step: int) -> float:
        return learning_rate_factor(step, self.hparams["schedule"], self._warmup_steps, self._steps)


def _unpack(batch: Batch) -> Batch:
    """`(labels, scale, inputs, offsets, weights)` of a batch of either kind."""
    if len(batch) == 5:
        return batch
    rows, labels = batch
    return labels.float(), 1 / len(labels), rows.float(), None, None


def build_module(config: ModelConfig, num_words: int, shards: int | None = None) -> SentimentClassifier:
    """The module of a config, its weights drawn from torch's global generator."""
    return SentimentClassifier(**asdict(config), num_words=num_words, shards=shards)
