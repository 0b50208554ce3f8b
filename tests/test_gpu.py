"""On a CUDA device: every precision trains to the CPU's accuracy, one process or one per device, and resumes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from imdb_lightning import IMDBDataModule, SentimentClassifier
from tests.support import Command

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(scope="module")
def data(npz: Path) -> list[str]:
    """The real reviews where they are to be had; the small stand-in is too small to compare accuracies on."""
    return [f"data.path={npz}"] if os.environ.get("IMDB_NPZ") else ["data=synthetic"]


def accuracy(command: Command, folder: Path, *arguments: str) -> float:
    answer = command(folder, *arguments, "hydra.run.dir=run-" + str(len(list(folder.iterdir()))))
    assert answer.returncode == 0, answer.stderr
    newest = max(folder.glob("run-*"), key=lambda path: path.stat().st_mtime_ns)
    return json.loads((newest / "results.json").read_text())["test"]["accuracy"]


@pytest.mark.parametrize("model", ["shallow_relu_bce", "deep_tanh_mse", "regularized_relu_bce"])
def test_precisions_train_to_the_accuracy_of_the_cpu(
    model: str, data: list[str], command: Command, tmp_path: Path
) -> None:
    expected = accuracy(command, tmp_path, *data, f"model={model}")
    for precision in ("32-true", "bf16-mixed", "16-mixed"):
        found = accuracy(command, tmp_path, *data, f"model={model}", "trainer=gpu", f"trainer.precision={precision}")
        assert found == pytest.approx(expected, abs=0.005), precision


def test_resumed_run_ends_with_the_same_bits(data: list[str], command: Command, tmp_path: Path) -> None:
    settings = [*data, "model=regularized_relu_bce", "trainer=gpu", "callbacks=none"]
    for folder, epochs in (("whole", [4]), ("again", [4]), ("resumed", [2, 4])):
        for count in epochs:
            answer = command(tmp_path, *settings, f"trainer.max_epochs={count}", f"hydra.run.dir={folder}")
            assert answer.returncode == 0, answer.stderr
    for name in ("model.safetensors", "predictions.csv"):
        contents = {(tmp_path / folder / name).read_bytes() for folder in ("whole", "again", "resumed")}
        assert len(contents) == 1, name


def test_batches_are_made_on_the_device(npz: Path, tmp_path: Path) -> None:
    datamodule = IMDBDataModule(npz, cache_dir=str(tmp_path), validation_size=100)
    module = SentimentClassifier(hidden_units=[4], activation="relu", loss="bce")
    trainer = pl.Trainer(
        accelerator="gpu", devices=1, max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=datamodule)
    (batch, *_) = datamodule.train_dataloader()
    assert all(tensor.is_cuda for tensor in batch if tensor is not None)


def test_sweep_of_forks_trains_on_the_device(data: list[str], command: Command, tmp_path: Path) -> None:
    settings = [*data, "trainer=gpu", "trainer.max_epochs=1", "seed=0,1", "hydra.sweep.dir=sweep"]
    answer = command(tmp_path, "--multirun", "hydra/launcher=local", *settings)
    assert answer.returncode == 0, answer.stderr
    assert len(list(tmp_path.glob("sweep/*/results.json"))) == 2


@pytest.mark.distributed
def test_one_process_per_device(data: list[str], command: Command, tmp_path: Path) -> None:
    expected = accuracy(command, tmp_path, *data, "trainer=gpu")
    assert accuracy(command, tmp_path, *data, "trainer=ddp") == pytest.approx(expected, abs=0.005)
