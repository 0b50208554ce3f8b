"""What training minimizes: a loss for each review, and the penalty on kernels.

Losses take logits: the sigmoid inside is computed in float32 also under mixed precision, since a half-precision
sigmoid saturates and then gives no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """`-log p` of the true label, with `p = sigmoid(logit)`; `[B]` to float32 `[B]`."""
    return F.binary_cross_entropy_with_logits(logits.float(), labels, reduction="none")


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """`(sigmoid(logit) - label) ** 2`; `[B]` to float32 `[B]`."""
    return (torch.sigmoid(logits.float()) - labels).square()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bce": binary_cross_entropy,
    "mse": squared_error,
}


def l2_penalty(kernels: Sequence[Tensor], l2: float) -> Tensor:
    """`l2 * sum of w ** 2` over all entries of all kernels, as Keras's `regularizers.l2`; a scalar."""
    return l2 * torch.stack([kernel.square().sum() for kernel in kernels]).sum()
