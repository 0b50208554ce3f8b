"""Files of a run that are damaged: one message that names the file, what is wrong, and what mends it."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import Config
from imdb_lightning.runs.comparison import find_runs
from imdb_lightning.runs.records import read_result, read_status
from imdb_lightning.runs.tables import read_history
from imdb_lightning.training import experiment
from tests.support import Command, equal, outcome

SMALL = [
    "data=synthetic", "data.reviews=600", "data.validation_size=200", "data.test_size=100", "data.num_words=200",
    "data.batch_size=100", "model.hidden_units=[4]", "trainer.max_epochs=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(compose: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests work on copies."""
    folder = tmp_path_factory.mktemp("finished")
    experiment.run(compose(*SMALL), folder)
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


RESULTS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_text(""),
    "list": lambda path: path.write_text("[]"),
    "null": lambda path: path.write_text("null"),
    "no JSON": lambda path: path.write_text("{"),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\0"),
    "deep": lambda path: path.write_text('{"a":' * 100_000),
    "NaN": lambda path: changed(path, test={"loss": float("nan"), "accuracy": 0.5}),
    "infinity": lambda path: path.write_text(re.sub(r'"total": [^,}]+', '"total": 1e999', path.read_text())),
    "large": lambda path: path.write_text(" " * (1 << 20) + path.read_text()),
    "unknown key": lambda path: changed(path, more=1),
    "no test": lambda path: changed(path, test={}),
    "test of strings": lambda path: changed(path, test={"loss": "0.5", "accuracy": "0.5"}),
    "undefined accuracy": lambda path: changed(path, test={"loss": 0.5, "accuracy": None}),
    "seconds null": lambda path: changed(path, seconds=None),
    "best epoch null": lambda path: changed(path, best_epoch=None),
    "best epoch later": lambda path: changed(path, best_epoch=3),
    "data null": lambda path: changed(path, data=None),
    "data list": lambda path: changed(path, data=[]),
    "sizes of text": lambda path: changed(path, data={"test": "100"}),
    "weights": lambda path: changed(path, data={"class_weights": [0, 1]}),
    "no processes": lambda path: changed(path, world_size=0),
    "many processes": lambda path: changed(path, world_size=10**9),
    "processes of text": lambda path: changed(path, world_size="x"),
    "true processes": lambda path: changed(path, world_size=True),
    "refit": lambda path: changed(path, refit={"test": {}, "epochs": 1}),
    "long number": lambda path: changed(path, seed=10**30),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "loop": lambda path: (path.unlink(), path.symlink_to(path.name)),
    "zeros": lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("kind", RESULTS)
def test_damaged_results_are_refused_by_name(kind: str, copied: Path) -> None:
    path = copied / "results.json"
    RESULTS[kind](path)
    for read in (read_result, lambda folder: find_runs([folder])):
        with pytest.raises(UserError) as refused:
            read(copied)
        text = str(refused.value)
        assert text.startswith(f"{path}: expected JSON as a run writes it, but got ")
        begin = "Give" if kind in ("missing", "loop") else f"Remove {path} and give"
        assert f". {begin} the run's command again, which writes all files anew" in text
        assert len(text) < 800


STATUS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_text(""),
    "list": lambda path: path.write_text("[]"),
    "other state": lambda path: changed(path, state="done"),
    "state of a number": lambda path: changed(path, state=1),
    "epochs of text": lambda path: changed(path, last_epoch="2"),
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("kind", STATUS)
def test_damaged_status_is_refused_by_name(kind: str, copied: Path) -> None:
    path = copied / "status.json"
    STATUS[kind](path)
    with pytest.raises(UserError) as refused:
        read_status(copied)
    assert str(refused.value).startswith(f"{path}: expected ")
    assert f"Remove {path} and give the run's command again" in str(refused.value)


HISTORY: dict[str, Callable[[str], str]] = {
    "empty": lambda text: "",
    "header alone": lambda text: text.splitlines()[0],
    "other header": lambda text: text.replace("val_loss", "loss"),
    "column more": lambda text: text.replace("\n1,", "\n1,1,"),
    "column less": lambda text: text.replace("\n1,", "\n"),
    "word": lambda text: text.replace("\n1,", "\none,"),
    "not a number": lambda text: re.sub(r"\n1,[^,]+", "\n1,nan", text),
    "epoch missing": lambda text: re.sub(r"\n1,.*", "", text),
    "binary": lambda text: "\0\x01",
}


@pytest.mark.parametrize("kind", HISTORY)
def test_damaged_history_is_refused_by_name(kind: str, copied: Path) -> None:
    path = copied / "history.csv"
    before = path.read_text()
    path.write_text(HISTORY[kind](before))
    assert path.read_text() != before
    with pytest.raises(UserError, match=rf"^{path}: expected the history as a run writes it, but got other content"):
        read_history(copied)


@pytest.mark.parametrize(
    "file",
    ["status.json", "results.json", "history.csv", "predictions.csv", "model.safetensors", "checkpoints/last.ckpt"],
)
def test_what_a_message_says_to_remove_mends_the_folder(
    file: str, compose: Callable[..., Config], finished: Path, copied: Path
) -> None:
    """Whatever is removed, the same command writes all that was there, with the same bits."""
    expected = outcome(finished)
    removed = [file, *(["results.json"] if file not in ("status.json", "results.json") else [])]
    for name in removed:
        (copied / name).unlink()
    result = experiment.run(compose(*SMALL), copied)
    again = outcome(copied)
    assert [key for key in expected if not equal(expected[key], again[key])] == []
    assert result.test == read_result(finished).test
    assert experiment.run(compose(*SMALL), copied) == result


def test_checkpoint_without_its_settings_is_refused(compose: Callable[..., Config], copied: Path) -> None:
    (copied / "config.yaml").unlink()
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    with pytest.raises(UserError, match=rf"config\.yaml: expected the settings .* Remove {copied} to begin again"):
        experiment.run(compose(*SMALL, "seed=1"), copied)
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*")} == before


@pytest.mark.slow
@pytest.mark.parametrize("file", ["config.yaml", "status.json", "results.json"])
def test_same_command_answers_damage_with_one_message(
    file: str, copied: Path, command: Command, cache: Path, tmp_path: Path
) -> None:
    (copied / file).write_text("")
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    given = [*SMALL, f"data.cache_dir={cache}", "hydra.run.dir=run"]
    answer = command(tmp_path, *given)
    assert (answer.returncode, answer.stdout) == (2, "")
    (line,) = answer.stderr.splitlines()
    assert line.startswith(f"{copied / file}: expected ")
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*")} == before
    named = Path(line.partition("Remove ")[2].split()[0])
    assert named == (copied if file == "config.yaml" else copied / file)
    shutil.rmtree(named) if named.is_dir() else named.unlink()
    assert command(tmp_path, *given).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("file", ["history.csv", "results.json", "status.json", "config.yaml"])
def test_comparison_refuses_damage_before_it_writes(file: str, copied: Path, command: Command, tmp_path: Path) -> None:
    (copied / file).write_text("[]\n")
    answer = command(tmp_path, "run", "--output", "compared", module="imdb_lightning.compare")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith(f"run/{file}: expected ")
    assert len(answer.stderr.splitlines()) == 1
    assert not (tmp_path / "compared").exists()
