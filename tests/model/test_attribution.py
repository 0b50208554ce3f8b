"""Shares of words: they add up for every activation, and for one ReLU layer they are what a person would compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from imdb_lightning.model.attribution import word_shares
from imdb_lightning.model.network import ACTIVATIONS, SentimentNetwork


def network(hidden_units: list[int], activation: str, *weighting: Any) -> SentimentNetwork:
    torch.manual_seed(3)
    made = SentimentNetwork(40, hidden_units, activation, 0.5, *weighting).eval()
    if made.words.factors is not None:
        torch.nn.init.normal_(made.words.factors)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("hidden_units", [[], [6], [5, 4, 3]])
@pytest.mark.parametrize("weighting", [(), (True, None), (False, 10.0), (True, 10.0)])
def test_shares_and_bias_add_up_to_the_logit(hidden_units: list[int], activation: str, weighting: tuple) -> None:
    made = network(hidden_units, activation, *weighting)
    made.requires_grad_(False)
    for ids in ([1, 4, 7, 39], [2], []):
        shares, bias = word_shares(made, torch.tensor(ids, dtype=torch.long))
        logit = made(torch.tensor(ids, dtype=torch.int32), torch.tensor([0, len(ids)], dtype=torch.int32))
        assert len(shares) == len(ids)
        assert bias + float(shares.sum()) == pytest.approx(logit.item(), abs=1e-5)


def test_one_hidden_layer_by_hand() -> None:
    """The rescale rule written out in NumPy for one ReLU layer."""
    made = network([6], "relu")
    kernel, bias = (value.detach().double().numpy() for value in (made.words.weight, made.words.bias))
    out = made.rest[-1].weight.detach().double().numpy()[0]
    ids = [3, 8, 20]
    before, reference = kernel[ids].sum(0) + bias, bias
    slope = (np.maximum(before, 0) - np.maximum(reference, 0)) / (before - reference)
    shares, _ = word_shares(made, torch.tensor(ids))
    np.testing.assert_allclose(shares.numpy(), kernel[ids] @ (slope * out), rtol=1e-12)


def test_word_that_changes_nothing_has_no_share() -> None:
    made = network([6, 4], "tanh")
    with torch.no_grad():
        made.words.weight[5] = 0
    shares, _ = word_shares(made, torch.tensor([5, 6]))
    assert shares[0] == 0
    assert shares[1] != 0
