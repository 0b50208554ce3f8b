"""How much each word of a review pushed its score up or down.

The rescale rule of DeepLIFT (Shrikumar, Greenside and Kundaje, "Learning Important Features Through Propagating
Activation Differences", 2017), with the review without words as the reference: a unit passes what reaches it back to
its inputs by the slope between its activation for the review and for the reference. Unlike gradient times input, the
shares add up exactly, for ReLU and for saturating activations, through any number of layers.
"""

import copy

import torch
from torch import Tensor, nn

from imdb_lightning.model.network import SentimentNetwork


@torch.no_grad()
def word_shares(network: SentimentNetwork, ids: Tensor) -> tuple[Tensor, float]:
    """Shares of a bag's words (ids int64 `[n]`) in its logit, by a network in its evaluation state, on the CPU.

    Returns:
        The words' shares, float64 `[n]`, and the bias: the logit of a review without words. Together they add up to the
        logit, computed in float64.
    """
    kernel, bias = network.words.rows(ids), network.words.bias.double()  # [n, H], [H]
    value, reference = bias + kernel.sum(0), bias
    steps: list[tuple[nn.Module, Tensor, Tensor]] = []
    for layer in copy.deepcopy(network.rest).double():
        before = value - reference
        value, reference = layer(value), layer(reference)
        steps.append((layer, before, value - reference))
    passed = torch.ones(1, dtype=torch.float64)
    for layer, before, after in reversed(steps):
        if isinstance(layer, nn.Linear):
            passed = passed @ layer.weight
        else:
            # A unit that the review did not move has nothing to pass on.
            passed = passed * torch.where(before == 0, 0.0, after / before)
    return kernel @ passed, float(reference)
