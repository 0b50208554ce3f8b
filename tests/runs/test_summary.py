"""Which weights the last lines of a run name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from imdb_lightning.config.schema import Config
from imdb_lightning.runs.records import RunResult
from imdb_lightning.runs.summary import result_text

RESULT = RunResult(
    name="mine", model="mine", seed=3, test={"loss": 0.5, "accuracy": 0.75, "f1": 0.6},
    validation={"loss": 0.25, "accuracy": 1.0},
    epochs=4, best_epoch=2, stopped="max_epochs", parameters=10, world_size=1, precision="32-true",
    seconds={"total": 2.0, "fit": 1.0, "test": 0.5}, data={"larger_class": {"validation": 0.5, "test": 0.625}},
    provenance={},
)  # fmt: skip
REACHED = {"best_epoch": 4}
EARLY = {"stopped": "early"}


@pytest.mark.parametrize(
    ("arguments", "changes", "expected"),
    [
        (["callbacks=early_stopping"], EARLY, "epoch 2, the best of 4 (stopped early)"),
        (["callbacks=early_stopping"], {"stopped": "pruned"}, "epoch 2, the best of 4 (pruned)"),
        (["callbacks=early_stopping"], {}, "epoch 2, the best of 4"),
        (["callbacks=none"], {}, "epoch 4, the last; epoch 2 had the best val/loss"),
        (["callbacks=none"], REACHED, "epoch 4, the last and by val/loss the best"),
        (
            ["callbacks.restore_best=false", "callbacks.monitor=val/accuracy"],
            EARLY,
            "epoch 4, the last (stopped early); epoch 2 had the best val/accuracy",
        ),
    ],
)
def test_tested_weights_are_named(
    arguments: list[str], changes: dict[str, str | int], expected: str, compose: Callable[..., Config]
) -> None:
    result = dataclasses.replace(RESULT, **changes)
    lines = result_text(compose("data=synthetic", *arguments), result).splitlines()
    assert f"tested       the weights of {expected}" in lines
    assert any(line.replace("│", " ").split() == ["test", "0.5000", "0.7500", "0.6250", "0.6000"] for line in lines)
