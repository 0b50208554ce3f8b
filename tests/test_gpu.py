"""On a CUDA device: every precision trains to the CPU's accuracy, one process or one per device, and resumes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

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


@pytest.mark.distributed
def test_one_process_per_device(data: list[str], command: Command, tmp_path: Path) -> None:
    expected = accuracy(command, tmp_path, *data, "trainer=gpu")
    assert accuracy(command, tmp_path, *data, "trainer=ddp") == pytest.approx(expected, abs=0.005)
