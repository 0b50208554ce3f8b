"""The optimizer under a loss scaler; `test_parity.py` holds its steps against Keras's."""

from __future__ import annotations

import pytest
import torch

from imdb_lightning.model.optimizer import OPTIMIZERS


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_step_that_overflows_leaves_no_trace(name: str) -> None:
    gradients = [torch.tensor([3e-4, -2e-6]), torch.tensor([float("inf"), 0.0]), torch.tensor([1e-5, 1e-4])]
    results = []
    for scaled, kept in ((True, gradients), (False, [gradients[0], gradients[2]])):
        weight = torch.nn.Parameter(torch.tensor([0.5, -0.5]))
        optimizer = OPTIMIZERS[name]([weight], 1e-3, 0.0)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=scaled)
        for gradient in kept:
            optimizer.zero_grad()
            scaler.scale((weight * gradient).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        results.append(weight.detach())
    assert torch.equal(*results)
