"""Whole runs with the extra `fast` against whole runs without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import Command

pytestmark = [pytest.mark.fast, pytest.mark.slow]

MODELS = ("shallow_relu_bce", "deep_tanh_mse", "regularized_relu_bce")


def test_scipy_changes_no_byte(command: Command, tmp_path: Path) -> None:
    """SciPy lies beside the environment, on PYTHONPATH, which the second sweep does without."""
    pytest.importorskip("scipy", reason="needs the extra fast")
    without = [sys.executable, "-c", "import scipy"]
    if subprocess.run(without, env={"PYTHONPATH": ""}, capture_output=True, check=False).returncode == 0:
        pytest.skip("SciPy is in the environment itself")
    sizes = ["data.reviews=3000", "data.validation_size=700", "data.test_size=901", "data.num_words=2000"]
    arguments = ["-m", "data=synthetic", *sizes, f"model={','.join(MODELS)}", "trainer.max_epochs=3"]
    for name, variables in (("with", {}), ("without", {"PYTHONPATH": ""})):
        answer = command(tmp_path, *arguments, f"hydra.sweep.dir={name}", **variables)
        assert answer.returncode == 0, answer.stderr
    runs = sorted((tmp_path / "with").glob("*/model.safetensors"))
    assert len(runs) == len(MODELS)
    for path in runs:
        for file in (path, path.with_name("predictions.csv")):
            assert file.read_bytes() == (tmp_path / "without" / file.relative_to(tmp_path / "with")).read_bytes(), file
