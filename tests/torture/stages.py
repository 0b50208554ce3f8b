"""Commands on small reviews in which faults happen, and what must hold after each."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.kill_rounds import check_files
from tests.support import equal, outcome
from tests.torture.forks import Command, Fault, State

MESSAGE = re.compile(r"^(.+?): expected .+, but got .+\. .+\.$", re.MULTILINE)
TRAIN = [
    "model=regularized_relu_bce", "model.hidden_units=[8]", "data.num_words=60", "data.batch_size=50",
    "trainer.max_epochs=2", "checkpoint.every_n_steps=2", "data.cache_dir=cache", "hydra.run.dir=run",
]  # fmt: skip


class Stage(NamedTuple):
    """A command of the package, in a folder of its own beside what it reads."""

    name: str
    module: str
    arguments: list[str]
    root: str  # Where faults happen, in its folder.
    outcome: Callable[[Path], dict[str, object]]  # What must be equal to the bit.

    def command(self, folder: Path, fault: Fault = Fault()) -> Command:  # noqa: B008, it cannot be changed.
        """The command in a folder."""
        return Command(f"imdb_lightning.{self.module}", self.arguments, folder, folder / self.root, fault)


def _contents(folder: Path) -> dict[str, object]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _trained(folder: Path) -> dict[str, object]:
    status = json.loads((folder / "run" / "status.json").read_text())
    return outcome(folder / "run") | {"state": status["state"]}


STAGES = [
    Stage("imdb.npz to report", "__main__", [*TRAIN, "data.path=../imdb.npz", "data.validation_size=50"], "", _trained),
    Stage("text to bags", "__main__", [*TRAIN, "data=text", "data.train=../reviews.csv"], "cache", _trained),
    Stage(
        "evaluate", "evaluate", ["../trained/run", "--cache", "../trained/cache", "--output", "answers"], "", _contents
    ),
    Stage("predict", "predict", ["../trained/run", "../reviews.txt", "--output", "answers.csv"], "", _contents),
    Stage("compare", "compare", ["../trained/run", "--output", "answers"], "", _contents),
]


def write_reviews(folder: Path) -> None:
    """Writes small reviews of each kind that is read."""
    rng, arrays = np.random.default_rng(0), {}
    for split in ("train", "test"):
        rows = np.empty(300, object)
        rows[:] = [rng.zipf(1.3, rng.integers(1, 40)).clip(max=88).tolist() for _ in rows]
        arrays |= {f"x_{split}": rows, f"y_{split}": np.repeat([1, 0], 150)}
    np.savez_compressed(folder / "imdb.npz", **arrays)
    words = {f"word{rank}": rank for rank in range(1, 89)}
    (folder / "imdb_word_index.json").write_text(json.dumps(words))
    texts = [" ".join(rng.choice(list(words), rng.integers(1, 20))) for _ in range(200)]
    (folder / "reviews.txt").write_text("\n".join(texts))
    with (folder / "reviews.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(texts, itertools.cycle((0, 1)))])


def after_fault(folder: Path, fault: Fault, code: int | None, printed: str, state: State) -> Iterator[str]:
    messages = list(MESSAGE.finditer(printed))
    if code is None:
        yield "it hangs"
    elif fault.error == 0:
        if state.fired and code != -signal.SIGKILL:
            yield f"it ends with {code}"
    elif code == 0:
        if messages:
            yield "it has failed, and ends with 0"
    elif len(messages) != 1:
        yield f"{len(messages)} messages: {printed[-300:]!r}"
    elif code != 2:
        yield f"it ends with {code}"
    elif os.strerror(state.error) not in messages[0][0]:
        yield f"another reason: {messages[0][0]}"
    elif not Path(os.path.normpath(folder / messages[0][1])).is_relative_to(folder):
        yield f"it names no file: {messages[0][0]}"
    try:
        check_files(folder)
    except Exception as error:
        yield f"a damaged file: {error!r}"
    status, own = folder / "run" / "status.json", str(folder / "run" / ".status")
    spared = fault.error and not state.path.decode().startswith(own)
    if spared and status.is_file() and json.loads(status.read_text())["state"] == "running":
        yield "its status is running"


def differences(folder: Path, found: dict[str, object], reference: dict[str, object]) -> Iterator[str]:
    if not equal(found, reference):
        keys = [key for key in {**reference, **found} if not equal(found.get(key), reference.get(key))]
        yield f"other bits: {', '.join(keys)}"
    if left := [path.name for path in folder.rglob("*") if re.search(r"^\..*\.\d+$|\.unfinished$", path.name)]:
        yield f"left behind: {', '.join(left)}"
