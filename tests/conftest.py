"""What tests share: the data, real where it is to be had, and real runs of the command line."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imdb_lightning.config.schema import Config
from imdb_lightning.launch.command_line import read_command_line, register_schema
from tests.support import CACHE, REAL, Command

# A shell starts what it runs in the background with SIGINT ignored, and what is started from there inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """Says which reviews the tests see."""
    return f"reviews: {REAL}" if REAL else "reviews: synthetic ones; set IMDB_NPZ to a real imdb.npz to test on that"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what does something else on the real reviews."""
    for item in items:
        if {"npz", "real_npz"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("reviews")


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
        return read_command_line([*arguments, f"data.cache_dir={cache}"], check=False).configs[0]

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


@pytest.fixture(scope="session")
def labelled() -> list[tuple[str, int]]:
    """Raw reviews and labels: with markup, apostrophes, other letters, and one in 17 that says the opposite."""
    rng = np.random.default_rng(0)
    leaning = {0: ["bad", "awful", "dull", "isn't"], 1: ["good", "great", "naïve", "wonderful"]}
    reviews = []
    for number in range(900):
        label = number % 2
        words = [
            *rng.choice([f"word{i}" for i in range(60)], rng.integers(1, 40)),
            *rng.choice(leaning[label if number % 17 else 1 - label], 4),
        ]
        reviews.append((" ".join(rng.permutation(words)) + [".<br />", "!", " 😀", ""][number % 4], label))
    return reviews


@pytest.fixture(scope="session")
def labelled_csv(labelled: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a CSV file."""
    path = tmp_path_factory.mktemp("labelled") / "reviews.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *labelled])
    return path


@pytest.fixture(scope="session")
def trained(command: Command, labelled_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on own reviews, by two processes; tests read it and leave it as it is."""
    folder = tmp_path_factory.mktemp("trained")
    arguments = ["data=text", f"data.train={labelled_csv}", "data.num_words=50", "data.batch_size=64"]
    settings = ["model=regularized_relu_bce", "model.hidden_units=[16,8]", "trainer=ddp_cpu", "trainer.max_epochs=4"]
    settings += ["model.learning_rate=0.02"]
    answer = command(folder, *arguments, *settings, "hydra.run.dir=run")
    assert answer.returncode == 0, answer.stderr
    return folder / "run"
