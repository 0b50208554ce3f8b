"""On a CUDA device: every precision trains to the CPU's accuracy, one process or one per device, and resumes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from imdb_lightning import IMDBDataModule, SentimentClassifier
from imdb_lightning.model.network import SentimentNetwork
from imdb_lightning.model.shards import Shards
from tests.support import Command, equal

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


def test_weighted_columns_train_to_the_accuracy_of_the_cpu(command: Command, npz: Path, tmp_path: Path) -> None:
    settings = [f"data.path={npz}", "+experiment=best"]
    expected = accuracy(command, tmp_path, *settings)
    assert accuracy(command, tmp_path, *settings, "trainer=gpu") == pytest.approx(expected, abs=0.005)


def test_shards_train_to_the_accuracy_of_the_cpu(data: list[str], command: Command, tmp_path: Path) -> None:
    settings = [*data, "model=regularized_relu_bce"]
    expected = accuracy(command, tmp_path, *settings)
    assert accuracy(command, tmp_path, *settings, "trainer=gpu", "trainer.shards=12") == pytest.approx(
        expected, abs=0.005
    )


@pytest.mark.distributed
def test_shards_have_the_same_bits_with_and_without_nccl(data: list[str], command: Command, tmp_path: Path) -> None:
    settings = [*data, "model=regularized_relu_bce", "trainer.max_epochs=2", "trainer.shards=12"]
    for trainer in ("gpu", "ddp"):  # One process; one for each device.
        answer = command(tmp_path, *settings, f"trainer={trainer}", f"hydra.run.dir={trainer}")
        assert answer.returncode == 0, answer.stderr
    for name in ("model.safetensors", "predictions.csv"):
        assert (tmp_path / "gpu" / name).read_bytes() == (tmp_path / "ddp" / name).read_bytes(), name


def pass_of(network: SentimentNetwork) -> list[torch.Tensor]:
    """Logits and gradients of a batch with dropout."""
    dense = np.random.default_rng(0).random((700, 5000)) < 0.03
    ids = torch.from_numpy(np.nonzero(dense)[1].astype(np.int32)).cuda()
    offsets = torch.from_numpy(np.concatenate([[0], np.cumsum(dense.sum(1))]).astype(np.int32)).cuda()
    network.cuda().train()
    shards = network.shards = Shards(12)
    shards.seeds = list(range(13))
    logits = network(ids, offsets)
    logits.square().sum().backward()
    return [logits.detach().cpu(), *(parameter.grad.cpu() for parameter in network.parameters())]


def one_of_three(rank: int, folder: Path) -> None:
    torch.use_deterministic_algorithms(True)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=3)
    torch.save(pass_of(torch.load(folder / "network.pt", weights_only=False)), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.distributed
def test_processes_share_a_batch_on_the_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By gloo, since nccl wants a device for each process."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.manual_seed(0)
    network = SentimentNetwork(5000, [64, 64], "relu", 0.5)
    torch.save(network, tmp_path / "network.pt")
    torch.use_deterministic_algorithms(True)
    try:
        alone = pass_of(network)
    finally:
        torch.use_deterministic_algorithms(False)
    mp.start_processes(one_of_three, args=(tmp_path,), nprocs=3, start_method="spawn")
    for rank in range(3):
        assert equal(torch.load(tmp_path / f"{rank}.pt"), alone)


@pytest.mark.distributed
def test_one_process_per_device(data: list[str], command: Command, tmp_path: Path) -> None:
    expected = accuracy(command, tmp_path, *data, "trainer=gpu")
    assert accuracy(command, tmp_path, *data, "trainer=ddp") == pytest.approx(expected, abs=0.005)
