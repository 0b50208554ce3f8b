"""What training minimizes and tests measure: a loss for each review, the penalty on kernels, and probabilities.

Losses take logits: the sigmoid inside is computed in float32 also under mixed precision, since a half-precision
sigmoid saturates and then gives no gradient.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from imdb_lightning.config.errors import UserError
from imdb_lightning.model.network import SentimentNetwork


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """`-log p` of the true label, with `p = sigmoid(logit)`; `[B]` to float32 `[B]`."""
    return F.binary_cross_entropy_with_logits(logits.float(), labels, reduction="none")


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """`(sigmoid(logit) - label) ** 2`; `[B]` to float32 `[B]`."""
    return (torch.sigmoid(logits.float()) - labels).square()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"bce": binary_cross_entropy, "mse": squared_error}


class Outcome(NamedTuple):
    """A network on one batch: what training, validation, the test and `evaluate` all start from."""

    losses: Tensor  # Of each review, times its weight, without the penalty, float32 `[B]`.
    weight: Tensor | int  # Of all reviews together: how many they are, unless their classes weigh differently.
    penalty: Tensor | None  # Scalar that every review's loss bears in addition; None without L2.
    probabilities: Tensor  # Of being positive, float32 `[B]`, without a gradient.


def outcome_of(
    network: SentimentNetwork, inputs: Tensor, offsets: Tensor | None, labels: Tensor, weights: Tensor | None,
    loss: str, l2: float,
) -> Outcome:  # fmt: skip
    """Runs a network on a batch of inputs (see `MultiHotLinear.forward`) and labels, float32 `[B]` of 0 and 1.

    Weights are those of the reviews' losses, float32 `[B]`; None: all are 1.
    The penalty is `l2 * sum of w ** 2` over all hidden kernels, as Keras's `regularizers.l2`; `loss` a key of `LOSSES`.
    """
    logits = network(inputs, offsets)
    penalty = l2 * torch.stack([kernel.square().sum() for kernel in network.hidden_kernels()]).sum() if l2 else None
    losses, probabilities = LOSSES[loss](logits, labels), to_probabilities(logits)
    if weights is None:
        return Outcome(losses, len(labels), penalty, probabilities)
    return Outcome(losses * weights, weights.sum(dtype=torch.float64), penalty, probabilities)


def check_finite(probabilities: Tensor) -> Tensor:
    """Gives probabilities back, `[B]`.

    Raises:
        UserError: one is NaN, as sums of weights that are finite, and huge, are not.
    """
    if not probabilities.isfinite().all():
        found = "NaN, as sums of this network's weights are too large for float32"
        raise UserError("probabilities", "finite numbers", found, "Name another run.")
    return probabilities


def to_probabilities(logits: Tensor) -> Tensor:
    """`sigmoid(logit)` in float32 and without a gradient, `[B]`."""
    return torch.sigmoid(logits.detach().float())
