"""How good a trained network is on labelled reviews: all numbers of a test, and a threshold chosen on validation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import binary_calibration_error

from imdb_lightning.config.schema import Config
from imdb_lightning.data.bags import Bags
from imdb_lightning.data.datamodule import EVALUATION_BATCH_FACTOR
from imdb_lightning.data.sampling import Batch, BatchLoader
from imdb_lightning.model.metrics import LossAndAccuracy, classification_metrics
from imdb_lightning.model.network import SentimentNetwork
from imdb_lightning.model.objective import LOSSES, l2_penalty

CALIBRATION_BINS = 15
"""As in Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", 2017."""


@dataclass(frozen=True)
class Scores:
    """What a network gives on a split.

    Attributes:
        loss: mean, penalty included, as in training.
        accuracy: at a threshold of 0.5.
        labels: int64 `[R]` of 0 and 1.
        probabilities: float32 `[R]`.
    """

    loss: float
    accuracy: float
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]


@torch.inference_mode()
def score(network: SentimentNetwork, config: Config, bags: Bags, world_size: int) -> Scores:
    """Loss, accuracy and probabilities, to the digit as a run of so many processes on CPUs computes them.

    Args:
        network: in its evaluation state, on the CPU.
        config: the run's settings.
        bags: the split.
        world_size: into how many parts each batch is cut; sums and small matrix products are rounded by parts.
    """
    data = config.data
    totals, parts = [], []
    for rank in range(world_size):
        loader = BatchLoader(
            bags, EVALUATION_BATCH_FACTOR * data.batch_size, data.num_words, data.layout, None, rank, world_size
        )
        rank_totals, rank_parts = _score_part(network, loader, config)
        totals.append(rank_totals)
        parts.append(rank_parts)
    reviews = torch.stack([total.reviews for total in totals]).sum()
    loss = torch.stack([total.loss_sum for total in totals]).sum() / reviews
    accuracy = torch.stack([total.hits for total in totals]).sum() / reviews.double()
    probabilities = torch.cat([part for batch in zip(*parts, strict=True) for part in batch]).numpy()
    return Scores(float(loss), float(accuracy), bags.labels.astype(np.int64), probabilities)


def _score_part(
    network: SentimentNetwork, batches: Iterable[Batch], config: Config
) -> tuple[LossAndAccuracy, list[Tensor]]:
    losses_of, totals, parts = LOSSES[config.model.loss], LossAndAccuracy(), []
    penalty = l2_penalty(network.hidden_kernels(), config.model.l2) if config.model.l2 else None
    use_bfloat16 = config.trainer.precision == "bf16-mixed"
    for labels, _, inputs, offsets in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=use_bfloat16):
            logits = network(inputs, offsets)
            losses = losses_of(logits, labels)
        probabilities = torch.sigmoid(logits.float())
        totals.update(losses, penalty, probabilities, labels)
        parts.append(probabilities)
    return totals, parts


def all_metrics(scores: Scores) -> dict[str, float]:
    """Loss, accuracy, precision, recall, F1, AUROC and expected calibration error; all but the loss from 0 to 1."""
    probabilities, labels = torch.from_numpy(scores.probabilities), torch.from_numpy(scores.labels)
    return {
        "loss": scores.loss,
        "accuracy": scores.accuracy,
        **classification_metrics(probabilities, labels),
        "calibration_error": float(binary_calibration_error(probabilities, labels, n_bins=CALIBRATION_BINS)),
    }


def confusion(scores: Scores) -> dict[str, int]:
    """How many reviews of each class were taken for which, at a threshold of 0.5."""
    positive, predicted = scores.labels == 1, scores.probabilities > 0.5
    return {
        "true_negative": int((~positive & ~predicted).sum()),
        "false_positive": int((~positive & predicted).sum()),
        "false_negative": int((positive & ~predicted).sum()),
        "true_positive": int((positive & predicted).sum()),
    }


def best_threshold(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """The threshold with the highest accuracy, midway between two probabilities; of several, the nearest to 0.5.

    Example:
        >>> best_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.5, 0.8]))
        0.45
    """
    order = np.argsort(probabilities, kind="stable")
    values = probabilities[order].astype(np.float64)
    # Predicting 1 for all but the first k: right are the zeros among those and the ones among the others.
    ones = np.append(0, np.cumsum(labels[order]))
    right = np.arange(len(ones)) - ones + ones[-1] - ones
    cuts = np.concatenate([[0.0], (values[1:] + values[:-1]) / 2, [1.0]])
    possible = np.concatenate([[True], values[1:] > values[:-1], [True]])
    best = cuts[possible & (right == right[possible].max())]
    return float(best[np.argmin(np.abs(best - 0.5))])
