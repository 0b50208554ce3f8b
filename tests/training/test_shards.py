"""With `trainer.shards`, all that a run leaves is equal to the bit for any number of processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from imdb_lightning.config.errors import UserError
from imdb_lightning.data.bags import Ids
from imdb_lightning.model.network import SentimentNetwork
from imdb_lightning.model.shards import Shards
from imdb_lightning.runs.signals import Interrupted
from imdb_lightning.training import experiment
from tests.support import Command, equal
from tests.training.test_resume import StopAt

# Batches that 12 parts do not divide, and a last one of training with fewer reviews than parts.
SMALL = [
    "data=synthetic", "data.reviews=1705", "data.validation_size=500", "data.test_size=701", "data.num_words=800",
    "data.batch_size=100", "trainer.max_epochs=3", "callbacks=none", "trainer.shards=12",
]  # fmt: skip
CHANGES = ["trainer.flags.gradient_clip_val=0.05", "model.schedule=cosine", "model.warmup_epochs=0.5"]
KINDS = {
    "shallow_relu_bce": ["model=shallow_relu_bce", "callbacks=early_stopping"],
    "deep_tanh_mse": ["model=deep_tanh_mse"],
    "regularized_relu_bce": ["model=regularized_relu_bce"],
    "accumulated": ["model=regularized_relu_bce", "trainer.flags.accumulate_grad_batches=2", *CHANGES],
    "half precision": ["model=regularized_relu_bce", "trainer.precision=bf16-mixed"],
    "linear": ["model=shallow_relu_bce", "model.hidden_units=[]", "refit=true"],
    "weighted classes": ["model=deep_tanh_mse", "data.class_weights=balanced", "data.shuffle=blocks"],
}


def processes(count: int) -> list[str]:
    return ["trainer=ddp_cpu", f"trainer.devices={count}"] if count > 1 else []


def left(folder: Path) -> dict[str, object]:
    """What a run leaves, but for seconds and for what says how it was run."""
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    for epoch in checkpoint["callbacks"]["History"]["epochs"]:
        del epoch["seconds"]
    result = json.loads((folder / "results.json").read_text())
    history = [line.rpartition(",")[0] for line in (folder / "history.csv").read_text().splitlines()]
    return {
        "checkpoint": checkpoint, "history": history, "test": result["test"], "validation": result["validation"],
        "weights": (folder / "model.safetensors").read_bytes(),
        "predictions": (folder / "predictions.csv").read_bytes(),
    }  # fmt: skip


def assert_same_bits(folder: Path, expected: Path) -> None:
    found, wanted = left(folder), left(expected)
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not equal(found[name], wanted[name])] == []


def bags(seed: int, reviews: int, words: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random bags, of which some are empty."""
    dense = np.random.default_rng(seed).random((reviews, words)) < np.linspace(0, 0.2, reviews)[:, None]
    ids: Ids = np.nonzero(dense)[1].astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(dense.sum(1))]).astype(np.int32)
    return torch.from_numpy(ids), torch.from_numpy(offsets)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("count", [1, 7, 60])
def test_parts_have_the_gradients_of_the_whole(count: int, weighted: bool) -> None:
    torch.manual_seed(0)
    network = SentimentNetwork(90, [6, 4], "tanh", 0.0, weighted, 10.0 if weighted else None)
    if weighted:
        network.words.factors.copy_(torch.rand(90))
    results = []
    for shards in (None, Shards(count)):
        network.shards = shards
        network.zero_grad()
        logits = network(*bags(0, 50, 90))
        (logits.square() * torch.linspace(0, 1, 50)).sum().backward()
        results.append([logits.detach(), *(parameter.grad for parameter in network.parameters())])
    for plain, in_parts in zip(*results, strict=True):
        torch.testing.assert_close(in_parts, plain, rtol=1e-5, atol=1e-6)
        assert count > 1 or torch.equal(in_parts, plain)


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("kind", KINDS)
def test_bits_are_the_same_for_1_to_4_processes(kind: str, command: Command, tmp_path: Path) -> None:
    counts = (1, 2, 3, 4) if kind.endswith(("bce", "mse")) else (1, 3)
    for count in counts:
        answer = command(tmp_path, *SMALL, *KINDS[kind], *processes(count), f"hydra.run.dir={count}")
        assert answer.returncode == 0, answer.stderr
        assert_same_bits(tmp_path / str(count), tmp_path / "1")
        if kind == "linear":
            assert_same_bits(tmp_path / str(count) / "refit", tmp_path / "1" / "refit")
    assert json.loads((tmp_path / str(counts[-1]) / "results.json").read_text())["world_size"] == counts[-1]


@pytest.mark.slow
@pytest.mark.distributed
def test_bits_are_the_same_with_weighted_columns(command: Command, labelled_csv: Path, tmp_path: Path) -> None:
    arguments = ["+experiment=best", "data=text", f"data.train={labelled_csv}", "data.batch_size=50"]
    for count in (1, 3):
        settings = ["trainer.shards=12", "trainer.max_epochs=3", *processes(count)]
        answer = command(tmp_path, *arguments, *settings, f"hydra.run.dir={count}")
        assert answer.returncode == 0, answer.stderr
        evaluated = command(tmp_path, str(count), "--output=test", module="imdb_lightning.evaluate")
        assert evaluated.returncode == 0, evaluated.stderr
        assert (tmp_path / "test" / "predictions.csv").read_bytes() == left(tmp_path / str(count))["predictions"]
        metrics = json.loads((tmp_path / "test" / "evaluation.json").read_text())["metrics"]
        assert {name: metrics[name] for name in metrics if name != "calibration_error"} == left(tmp_path / "1")["test"]
    assert_same_bits(tmp_path / "3", tmp_path / "1")


@pytest.mark.slow
@pytest.mark.distributed
def test_run_goes_on_with_other_numbers_of_processes(compose, command: Command, tmp_path: Path) -> None:
    """Stopped within an epoch, and after one; then longer."""
    settings = [*SMALL, "model=regularized_relu_bce", "checkpoint.every_n_steps=3"]
    experiment.run(compose(*settings, "trainer.max_epochs=4"), tmp_path / "whole")
    with pytest.raises(Interrupted):
        experiment.run(compose(*settings), tmp_path / "cut", callbacks=[StopAt(1, 2)])
    for count, epochs in ((3, 3), (2, 4)):
        arguments = [*settings, *processes(count), f"trainer.max_epochs={epochs}", "hydra.run.dir=cut"]
        answer = command(tmp_path, *arguments, "trainer.max_restarts=1")
        assert answer.returncode == 0, answer.stderr
        assert json.loads((tmp_path / "cut" / "results.json").read_text())["world_size"] == count
    assert_same_bits(tmp_path / "cut", tmp_path / "whole")


def test_other_number_of_processes_is_another_run_without_shards(compose, tmp_path: Path) -> None:
    settings = [*SMALL, "trainer.max_epochs=1"]
    result = experiment.run(compose(*settings), tmp_path / "shards")
    assert experiment.run(compose(*settings, "trainer.devices=2"), tmp_path / "shards") == result
    with pytest.raises(UserError, match=r"other values of trainer\.shards \(12 there, now 6\)\."):
        experiment.run(compose(*settings, "trainer.devices=2", "trainer.shards=6"), tmp_path / "shards")
    experiment.run(compose(*settings, "trainer.shards=null"), tmp_path / "parts")
    with pytest.raises(UserError, match=r"other values of trainer\.devices \(1 there, now 2\)\."):
        experiment.run(compose(*settings, "trainer.shards=null", "trainer.devices=2"), tmp_path / "parts")


@pytest.mark.slow
@pytest.mark.distributed
def test_killed_runs_go_on_with_other_numbers_of_processes() -> None:
    command = [sys.executable, "-m", "tests.kill_rounds", "--rounds", "2", "--processes", "3,1,2", "--shards", "12"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "all equal to the bit" in answer.stdout
