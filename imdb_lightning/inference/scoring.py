"""How good a trained network is on labelled reviews: all numbers and pictures of a test."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional import classification as metrics

from imdb_lightning.config.data import LABELS
from imdb_lightning.config.schema import Config
from imdb_lightning.data.bags import Bags
from imdb_lightning.data.datamodule import EVALUATION_BATCH_FACTOR
from imdb_lightning.data.sampling import BatchLoader
from imdb_lightning.model.metrics import LossAndAccuracy, add_up, classification_metrics, join_parts
from imdb_lightning.model.network import SentimentNetwork
from imdb_lightning.model.objective import check_finite, outcome_of
from imdb_lightning.model.shards import Shards
from imdb_lightning.runs import plots
from imdb_lightning.runs.averaging import mean_probabilities

# As in Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", 2017.
CALIBRATION_BINS = 15


class Scores(NamedTuple):
    """A network on a split."""

    labels: Tensor  # Int64 `[R]` of 0 and 1.
    probabilities: Tensor  # Of being positive, float32 `[R]`.
    # `loss` (penalty included; None of an ensemble), `accuracy`, `precision`, `recall`, `f1`, `auroc`,
    # `calibration_error`.
    metrics: dict[str, float | None]


@torch.inference_mode()
def score(
    network: SentimentNetwork, config: Config, bags: Bags, world_size: int, class_weights: tuple[float, float] | None
) -> Scores:
    """Tests a network (in its evaluation state, on the CPU) to the digit as a run of so many processes on CPUs does.

    `class_weights` are those of the run, in the loss alone.
    """
    data, use_bfloat16 = config.data, config.trainer.precision == "bf16-mixed"
    if config.trainer.shards is not None:
        # Each of its processes had all reviews.
        network.shards, world_size = Shards(config.trainer.shards), 1
    batch_size, totals = EVALUATION_BATCH_FACTOR * data.batch_size, []
    parts: list[list[Tensor]] = []
    # One rank's part of each batch after the other's: sums and small matrix products are rounded by parts.
    for rank in range(world_size):
        totals.append(LossAndAccuracy())
        parts.append([])
        for labels, _, inputs, offsets, weights in BatchLoader(
            bags, batch_size, len(network.words.weight), data.layout, None, rank, world_size, class_weights
        ):
            with torch.autocast("cpu", torch.bfloat16, enabled=use_bfloat16):
                outcome = outcome_of(network, inputs, offsets, labels, weights, config.model.loss, config.model.l2)
            totals[-1].update(outcome, labels)
            parts[-1].append(outcome.probabilities)
    (loss, accuracy), all_labels = add_up(totals), torch.from_numpy(bags.labels.astype(np.int64))
    return _to_scores(loss, accuracy, check_finite(join_parts(parts)), all_labels)


def score_mean(scores: Sequence[Scores]) -> Scores:
    """The mean of several networks' probabilities of the same reviews, tested.

    It has no loss: none was minimized, and those of the networks may be of different kinds.
    """
    labels = scores[0].labels
    probabilities = torch.from_numpy(mean_probabilities([one.probabilities.numpy() for one in scores]))
    accuracy = float(((probabilities > 0.5) == (labels > 0)).double().mean())
    return _to_scores(None, accuracy, probabilities, labels)


def _to_scores(loss: float | None, accuracy: float, probabilities: Tensor, labels: Tensor) -> Scores:
    numbers = {"loss": loss, "accuracy": accuracy, **classification_metrics(probabilities, labels)}
    error = metrics.binary_calibration_error(probabilities, labels, n_bins=CALIBRATION_BINS)
    return Scores(labels, probabilities, numbers | {"calibration_error": float(error)})


def draw_test(labels: Tensor, probabilities: Tensor, title: str, classes: Sequence[str] = LABELS) -> dict[str, Figure]:
    """The pictures of a test, by name, of labels int64 `[R]` and probabilities float32 `[R]`.

    `classes` names the negative and the positive one. Reviews of one class alone have no curves over thresholds.
    """
    confusion = metrics.binary_confusion_matrix(probabilities, labels).numpy()
    figures = {
        "confusion": plots.plot_confusion(confusion, title, classes),
        "calibration": plots.plot_calibration(labels.numpy(), probabilities.numpy(), title, classes[1]),
    }
    if not 0 < labels.sum() < len(labels):
        return figures
    false_rate, true_rate, _ = metrics.binary_roc(probabilities, labels)
    precision, recall, _ = metrics.binary_precision_recall_curve(probabilities, labels)
    area = float(metrics.binary_auroc(probabilities, labels))
    average = float(metrics.binary_average_precision(probabilities, labels))
    share = float(labels.double().mean())
    return figures | {
        "roc": plots.plot_rates(
            ("false positive rate", false_rate.numpy()), ("true positive rate", true_rate.numpy()),
            f"area {area:.4f}", (0.0, 1.0), title,
        ),
        "precision_recall": plots.plot_rates(
            ("recall", recall.numpy()), ("precision", precision.numpy()),
            f"average precision {average:.4f}", (share, share), title,
        ),
    }  # fmt: skip


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
