"""Damages every file of a run's folder, and reads it in every way: each must work, or name the file in one line.

A run that goes on from a damaged checkpoint must end with the bits of one whose checkpoint was not.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from imdb_lightning.config.file import load_config
from imdb_lightning.config.schema import Config
from imdb_lightning.inference.evaluation import _test
from imdb_lightning.inference.saved_run import load_run
from imdb_lightning.launch.command_line import read_command_line, register_schema
from imdb_lightning.runs.comparison import find_runs, group_runs
from imdb_lightning.runs.lifecycle import finished_result
from imdb_lightning.training import experiment
from tests.support import equal, outcome
from tests.torture.children import in_child
from tests.torture.table import Row

SETTINGS = [
    "data=text", "data.ngrams=2", "data.num_words=null", "data.validation_size=60", "data.test_size=60",
    "data.batch_size=32", "model.feature_weighting=naive_bayes", "model.hidden_units=[4]", "trainer.max_epochs=2",
]  # fmt: skip
REVIEWS = 240
CASES = 1000
"""Of all files together, at scale 1."""
LONGEST = 3000
"""Characters of a message."""
NASTY = [
    "", "null", "true", "[]", "{}", "-1", "0", "1e999", "NaN", ".nan", "1e-320", str(10**30), "2147483648", "0.5",
    '"x"', '"\\u001b]0;x\\u0007"', "[" * 2000, '{"a":' * 2000, "9" * 5000, "x" * 100_000, "${oc.env:HOME}",
    "!!python/name:os.system", "*a", "\x1b[2J", "\u202e", "../../../etc/passwd",
]  # fmt: skip
"""What takes the place of a value."""

Reader = Callable[[Path, Config, Path], object]


def finished(folder: Path, config: Config, cache: Path) -> object:
    """The same command, after the run has finished."""
    return finished_result(config, folder)


def predict(folder: Path, config: Config, cache: Path) -> object:
    """`predict` and `load_run`."""
    return load_run(folder).predict_proba(["a good film", "", "bad " * 50])


def evaluate(folder: Path, config: Config, cache: Path) -> object:
    """`evaluate` and, as far as it reads, `export`."""
    return _test(folder, None, cache)


def compare(folder: Path, config: Config, cache: Path) -> object:
    """`compare`."""
    return [(group.statistics(), group.refitted()) for group in group_runs(find_runs([folder]))]


def resume(folder: Path, config: Config, cache: Path) -> object:
    """The same command, after the run was killed at the end of its first epoch."""
    return experiment.run(config, folder)


READERS: dict[str, list[Reader]] = {
    "config.yaml": [finished, predict, evaluate, compare],
    "status.json": [finished, compare],
    "results.json": [finished, evaluate, compare],
    "history.csv": [compare],
    "predictions.csv": [compare],
    "model.safetensors": [predict, evaluate],
    "vocabulary.json": [predict],
    "ngrams.safetensors": [predict, evaluate],
    "checkpoints/last.ckpt": [resume],
}
"""Of each file of a run's folder, who reads it."""


def run(scale: float, seed: int) -> Iterator[Row]:
    """Tries `CASES` times `scale` damages, as many of each file."""
    register_schema()
    with tempfile.TemporaryDirectory(prefix="torture-folders-") as name:
        folder, config, cache = prepare(Path(name))
        count = max(1, round(scale * CASES / len(READERS)))
        for file, readers in READERS.items():
            row = Row(f"a run's {file}, damaged and read by {', '.join(reader.__name__ for reader in readers)}")
            for number in range(count):
                draw = random.Random(f"{seed} {file} {number}")
                reader = readers[number % len(readers)]
                try_one(row, f"{file} {number} ({reader.__name__})", folder, file, reader, config, cache, draw)
            yield row


def prepare(place: Path) -> tuple[Path, Config, Path]:
    """A finished run's folder, its settings, and its cache; beside it `cut`, the same after one epoch of two."""
    words = ["bad", "awful", "dull", "good", "great", "fine", *(f"word{number}" for number in range(40))]
    draw = random.Random(0)
    lines = ["text,label"]
    for number in range(REVIEWS):
        own = draw.choices(words[3:6] if number % 2 else words[:3], k=2) + draw.choices(words[6:], k=12)
        lines.append(f"{' '.join(own)},{'pos' if number % 2 else 'neg'}")
    reviews = place / "reviews.csv"
    reviews.write_text("\n".join(lines) + "\n")
    given = [*SETTINGS, f"data.train={reviews}", f"data.cache_dir={place / 'cache'}"]
    (config,) = read_command_line(given, check=False).configs
    (shorter,) = read_command_line([*given, "trainer.max_epochs=1"], check=False).configs

    def train() -> None:
        experiment.run(config, place / "run")
        # After one epoch of two: as a run that was killed there is, or one that is to train on.
        experiment.run(shorter, place / "cut")

    trained = in_child(train)
    assert trained.read, trained
    return place / "run", load_config(place / "run" / "config.yaml"), place / "cache"


def try_one(
    row: Row, name: str, folder: Path, file: str, reader: Reader, config: Config, cache: Path, draw: random.Random
) -> None:
    """One damage, one reader; adds to the row what came of it."""
    place = folder.with_name("case")
    if reader is resume:
        shutil.copytree(folder.with_name("cut"), place)
    else:  # All but the damaged file are only read.
        shutil.copytree(folder, place, copy_function=os.link)
    kind = damage(place / file, draw)
    before = state_of(place)
    ended = in_child(lambda: reader(place, config, cache))
    after = state_of(place)
    message, lost = ended.message, ended.lost
    if message and not (message.startswith(str(place)) and len(message) < LONGEST and message.isprintable()):
        lost = f"wrong message: {message[:300]!r}"
    elif message and after.get(file) != before.get(file):
        lost = "the damaged file was changed"
    elif reader is not resume and after != before:
        lost = "the folder was changed"
    elif reader is resume and ended.read and not equal(outcome(place), outcome(folder)):
        lost = "other bits"
    row.cases += 1
    row.lost += bool(lost)
    row.tracebacks += bool(ended.traceback)
    if (lost or ended.traceback) and len(row.failures) < 10:
        row.failures.append(f"{name}, {kind}: {lost or ended.traceback}")
    shutil.rmtree(place)


def damage(path: Path, draw: random.Random) -> str:
    """Damages a file; says how."""
    content = bytearray(path.read_bytes())
    path.unlink()  # It may be a link to the one that is whole.
    kinds = ["flip", "flips", "truncate", "block", "slice", "kind"]
    text = path.suffix in {".json", ".yaml", ".csv"}
    kind = draw.choice(kinds + ["value"] * 6 if text else kinds)
    place = draw.randrange(len(content))
    if kind == "flip":
        content[place] ^= 1 << draw.randrange(8)
    elif kind == "flips":
        for _ in range(draw.randrange(2, 30)):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    elif kind == "truncate":
        del content[draw.choice([place, 0, len(content) - 1]) :]
    elif kind == "block":
        size = draw.randrange(1, 600)
        content[place : place + size] = draw.choice([bytes(size), draw.randbytes(size), b"\n" * size])
    elif kind == "slice":
        content[place : place + draw.randrange(1, 600)] = draw.choice([b"", bytes(content[:100])])
    elif kind == "value":
        values = list(re.finditer(rb'"[^"\n]*"|[^\s,:{}\[\]"-][^\s,:{}\[\]"]*', content))
        found = draw.choice(values)
        content[found.start() : found.end()] = draw.choice(NASTY).encode()
    else:
        return other_kind(path, draw)
    path.write_bytes(content)
    return kind


def other_kind(path: Path, draw: random.Random) -> str:
    """Puts something else in a file's place; says what."""
    kind = draw.choice(["folder", "pipe", "loop", "zeros", "nothing"])
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "zeros":
        path.symlink_to("/dev/zero")
    return kind


def state_of(folder: Path) -> dict[str, tuple[int, ...]]:
    """What tells whether anything in a folder was written: kinds, sizes and times."""
    found = {path: path.lstat() for path in folder.rglob("*")}
    return {str(path.relative_to(folder)): (of.st_mode, of.st_size, of.st_mtime_ns) for path, of in found.items()}
