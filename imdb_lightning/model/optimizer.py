"""Optimizers with Keras's defaults, so that the notebook's learning curves come out the same."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


class KerasAdam(torch.optim.Adam):
    """Adam with epsilon where Keras has it: beside the root of the uncorrected second moment.

    Kingma and Ba (2015) give both forms; torch adds epsilon after bias correction, Keras before ("epsilon hat" in
    their section 2). It matters here: a word in one review of a batch has a gradient near 2e-4, the root of its
    uncorrected moment is 6e-6 in the first step, and 1e-7 beside that is 2 %. Dividing epsilon by the correction
    turns one form into the other and leaves the work to torch's fused kernel. Over 20 steps from the same weights
    losses then agree with Keras's to 4e-6, and probabilities after them to 3e-4; without it these differ by 1e-2
    (`tests/model/test_parity.py`).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, eps: float = 1e-7) -> None:
        super().__init__(parameters, lr=lr, betas=(0.9, 0.999), eps=eps, fused=True)
        # Torch's private mark of fused optimizers, by which a loss scaler leaves it to the kernel to skip a step that
        # overflowed: `step` below would then count skipped steps, too, and Lightning would refuse to clip gradients
        # (tests/model/test_optimizer.py).
        self._step_supports_amp_scaling = False
        for group in self.param_groups:
            group.update(keras_eps=eps, steps=0)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates the parameters once."""
        for group in self.param_groups:
            group["steps"] += 1
            group["eps"] = group["keras_eps"] / math.sqrt(1 - group["betas"][1] ** group["steps"])
        return super().step(closure)


OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter], float, float], torch.optim.Optimizer]] = {
    "adam": lambda parameters, lr, _: KerasAdam(parameters, lr),
    "adamw": lambda parameters, lr, decay: torch.optim.AdamW(parameters, lr=lr, weight_decay=decay, fused=True),
    "rmsprop": lambda parameters, lr, _: torch.optim.RMSprop(parameters, lr=lr, alpha=0.9, eps=1e-7),
    "sgd": lambda parameters, lr, _: torch.optim.SGD(parameters, lr=lr),
}
"""By name, of parameters, learning rate and weight decay."""


def learning_rate_factor(step: int, schedule: str, warmup_steps: int, steps: int) -> float:
    """What the learning rate is multiplied with in a step: a function of the step alone, so that a resumed run goes on.

    It rises to 1 in equal steps, then stays (`constant`), falls along half a cosine (Loshchilov and Hutter, "SGDR",
    2017) or along a line, to 0 after the last step. Steps count from 0; `steps` is the whole training.

    Example:
        >>> [learning_rate_factor(step, "linear", 2, 6) for step in range(7)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = min((step - warmup_steps) / max(steps - warmup_steps, 1), 1.0)
    return {"constant": 1.0, "cosine": (1 + math.cos(math.pi * done)) / 2, "linear": 1 - done}[schedule]
