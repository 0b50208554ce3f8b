"""What is reported: mean loss and accuracy as sums and counts, and the test's classification metrics.

All take probabilities, never logits, and predict 1 above 0.5, as Keras does.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc, binary_f1_score, binary_precision, binary_recall

from imdb_lightning.model.objective import Outcome


class LossAndAccuracy(Metric):
    """Adds up losses, hits and reviews; one reduction over processes when it is computed.

    A mean of batch means would weigh the reviews of a short last batch more. The loss is summed in float64, so that
    the order of processes shows in no digit that is reported.

    Args:
        of_ranks: each process has its own reviews; False: each has all.
    """

    full_state_update = False
    loss_sum: Tensor
    hits: Tensor
    reviews: Tensor
    weight: Tensor

    def __init__(self, of_ranks: bool = True) -> None:
        super().__init__(sync_on_compute=of_ranks)
        self.add_state("loss_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("hits", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("reviews", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("weight", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, outcome: Outcome, labels: Tensor) -> None:
        """Adds a batch with its labels, float32 `[B]` of 0 and 1."""
        losses, weight, penalty, probabilities = outcome
        self.loss_sum += losses.detach().sum(dtype=torch.float64)
        if penalty is not None:
            # Each review's loss bears it whole, as in the losses that Keras reports.
            self.loss_sum += penalty.detach().double() * weight
        self.hits += ((probabilities > 0.5) == (labels > 0.5)).sum()
        self.reviews += len(labels)
        self.weight += weight

    def compute(self) -> tuple[Tensor, Tensor]:
        """Mean loss and accuracy, float64 scalars."""
        return self.loss_sum / self.weight, self.hits / self.reviews.double()


def add_up(totals: Sequence[LossAndAccuracy]) -> tuple[float, float]:
    """Mean loss and accuracy over the totals of several ranks, rounded as `compute` does when it reduces over them."""
    states = ("loss_sum", "hits", "reviews", "weight")
    loss_sum, hits, reviews, weight = (
        torch.stack([getattr(part, state) for part in totals]).sum(0) for state in states
    )
    return float(loss_sum / weight), float(hits / reviews.double())


def join_parts(parts_of_ranks: Sequence[Sequence[Tensor]]) -> Tensor:
    """All rows in their order, `[R]`: each batch was cut into one part a rank, in the order of the ranks.

    Example:
        >>> join_parts([[torch.tensor([0, 1]), torch.tensor([3])], [torch.tensor([2]), torch.tensor([4])]])
        tensor([0, 1, 2, 3, 4])
    """
    return torch.cat([part for batch in zip(*parts_of_ranks, strict=True) for part in batch])


def classification_metrics(probabilities: Tensor, labels: Tensor) -> dict[str, float | None]:
    """Precision, recall and F1 of the positive class, and the area under the ROC curve; None where that is 0/0.

    Takes probabilities, float32 `[R]`, and labels, int64 `[R]` of 0 and 1.

    Example:
        >>> metrics = classification_metrics(torch.tensor([0.9, 0.6, 0.4, 0.2]), torch.tensor([1, 0, 1, 0]))
        >>> {name: round(value, 3) for name, value in metrics.items()}
        {'precision': 0.5, 'recall': 0.5, 'f1': 0.5, 'auroc': 0.75}
    """
    predicted, positive = bool((probabilities > 0.5).any()), bool(labels.any())
    return {
        "precision": float(binary_precision(probabilities, labels)) if predicted else None,
        "recall": float(binary_recall(probabilities, labels)) if positive else None,
        "f1": float(binary_f1_score(probabilities, labels)) if predicted or positive else None,
        "auroc": float(binary_auroc(probabilities, labels)) if 0 < labels.sum() < len(labels) else None,
    }
