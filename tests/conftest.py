"""What tests share: the data, real where it is to be had, and real runs of the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imdb_lightning.composition import read_command_line, register_schema
from imdb_lightning.config import Config

CACHE = "IMDB_LIGHTNING_CACHE"
REAL = os.environ.get("IMDB_NPZ")
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_report_header() -> str:
    """Says which reviews the tests see."""
    return f"reviews: {REAL}" if REAL else "reviews: synthetic ones; set IMDB_NPZ to a real imdb.npz to test on that"


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that starts empty and that all tests of this process share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real `imdb.npz`, or a small one of the same kind."""
    if REAL:
        return Path(REAL)
    path = tmp_path_factory.mktemp("npz") / "imdb.npz"
    rng = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "test"):
        rows = [rng.zipf(1.3, rng.integers(1, 300)).clip(max=88_000).tolist() for _ in range(600)]
        array = np.empty(len(rows), object)
        array[:] = rows
        arrays |= {f"x_{split}": array, f"y_{split}": np.repeat([1, 0], 300)}
    np.savez_compressed(path, **arrays)
    return path


@pytest.fixture(scope="session")
def real_npz() -> Path:
    """The real `imdb.npz`; tests that mean nothing on other data ask for it."""
    if not REAL:
        pytest.skip("needs the real reviews: set IMDB_NPZ")
    return Path(REAL)


@pytest.fixture(scope="session")
def compose(cache: Path) -> Callable[..., Config]:
    """Settings as a command line gives them: `compose("seed=1")`."""
    register_schema()

    def build(*arguments: str) -> Config:
        return read_command_line(
            [*arguments, f"data.cache_dir={cache}"], preflight=lambda config, launcher: None
        ).configs[0]

    return build


@pytest.fixture(scope="session")
def command(cache: Path) -> Command:
    """Runs `python -m imdb_lightning...` as a user would: `command(folder, *arguments, module=..., **variables)`."""

    def run(
        folder: Path, *arguments: str, module: str = "imdb_lightning", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name != "IMDB_NPZ"}
        environment |= {CACHE: str(cache), "COLUMNS": "80"} | variables
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False,
        )  # fmt: skip

    return run
