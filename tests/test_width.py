"""What commands print fits a terminal of 80 columns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import Command

TINY = ["data=synthetic", "data.reviews=600", "data.validation_size=200", "data.test_size=100", "data.num_words=300"]
# What is there to be copied, messages of the log, the overrides that Hydra prints of each job, and text of reviews.
MAY_BE_LONG = re.compile(r"/|--logdir |--help|\[HYDRA\]|^warning: |^row \d+, |^wonderful ")


def assert_fits(output: str) -> None:
    assert output
    assert [line for line in output.splitlines() if len(line) > 80 and not MAY_BE_LONG.search(line)] == []


@pytest.mark.slow
def test_everything_printed_fits_80_columns(command: Command, tmp_path: Path) -> None:
    settings = [*TINY, "trainer.max_epochs=2", "model.learning_rate=0.01"]
    changed = ["model.hidden_units=[16,16]", "model.activation=gelu", "model.dropout=0.25", "model.l2=0.0001"]
    run = command(tmp_path, *settings, *changed, "model.optimizer=rmsprop", "hydra.run.dir=run")
    swept = ["model=shallow_relu_bce,regularized_relu_bce", "model.activation=relu,tanh", "seed=0,1"]
    sweep = command(tmp_path, "-m", *settings, *swept, "hydra.sweep.dir=sweep")
    commands = {
        "compare": [".", "--output", "compared"],
        "evaluate": ["run"],
        "predict": ["run", "--text", "wonderful " * 40, "--explain"],
    }
    others = [command(tmp_path, *words, module=f"imdb_lightning.{name}") for name, words in commands.items()]
    for answer in (run, sweep, *others):
        assert answer.returncode == 0, answer.stderr
        assert_fits(answer.stdout)
    for answer in (run, sweep):
        assert_fits(answer.stderr)
    check = command(tmp_path, "-m", *settings, "seed=0,-1", module="imdb_lightning.check")
    assert check.returncode == 2
    assert_fits(check.stdout)
    # Labels are whole, in several lines.
    assert {"activation=relu", "activation=tanh"} <= set(sweep.stdout.replace("│", " ").split())
