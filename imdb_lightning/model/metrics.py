"""What is reported: mean loss and accuracy as sums and counts, and the test's classification metrics.

All take probabilities, never logits, and predict 1 above 0.5, as Keras does.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_f1_score,
    binary_precision,
    binary_recall,
)


class LossAndAccuracy(Metric):
    """Adds up losses, hits and reviews; one reduction over processes when it is computed.

    A mean of batch means would weigh the reviews of a short last batch more. The loss is summed in float64, so that
    the order of processes shows in no digit that is reported.
    """

    full_state_update = False
    loss_sum: Tensor
    hits: Tensor
    reviews: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("loss_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("hits", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("reviews", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, losses: Tensor, penalty: Tensor | None, probabilities: Tensor, labels: Tensor) -> None:
        """Adds a batch.

        Args:
            losses: of each review, float32 `[B]`.
            penalty: scalar that every review's loss bears in addition; None for no penalty.
            probabilities: of being positive, float32 `[B]`.
            labels: float32 `[B]` of 0 and 1.
        """
        self.loss_sum += losses.sum(dtype=torch.float64)
        if penalty is not None:
            self.loss_sum += penalty.double() * len(labels)
        self.hits += ((probabilities > 0.5) == (labels > 0.5)).sum()
        self.reviews += len(labels)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Mean loss and accuracy, float64 scalars."""
        return self.loss_sum / self.reviews, self.hits / self.reviews.double()


def classification_metrics(probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    """Precision, recall and F1 of the positive class, and the area under the ROC curve.

    Args:
        probabilities: float32 `[R]`.
        labels: int64 `[R]` of 0 and 1.

    Example:
        >>> metrics = classification_metrics(torch.tensor([0.9, 0.6, 0.4, 0.2]), torch.tensor([1, 0, 1, 0]))
        >>> {name: round(value, 3) for name, value in metrics.items()}
        {'precision': 0.5, 'recall': 0.5, 'f1': 0.5, 'auroc': 0.75}
    """
    return {
        "precision": float(binary_precision(probabilities, labels)),
        "recall": float(binary_recall(probabilities, labels)),
        "f1": float(binary_f1_score(probabilities, labels)),
        "auroc": float(binary_auroc(probabilities, labels)),
    }
