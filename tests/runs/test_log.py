"""Where a run's messages go."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import Config
from imdb_lightning.config.streams import open_streams
from imdb_lightning.runs.lifecycle import open_run
from imdb_lightning.runs.log import LOGGERS, logging_to
from imdb_lightning.runs.records import read_status

log = logging.getLogger("imdb_lightning.test")


def test_file_holds_all_messages_and_terminal_those_for_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings(), logging_to(tmp_path / "train.log", rank=0):
        warnings.simplefilter("always")
        log.debug("for the file")
        log.info("epoch %d", 1)
        warnings.warn("one that is caught", stacklevel=1)
    log.warning("after the run")
    first, second = capsys.readouterr().err.splitlines()[:2]
    assert first == "epoch 1"
    assert second.startswith("warning: ")
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines[:2]] == [
        "DEBUG imdb_lightning.test: for the file",
        "INFO imdb_lightning.test: epoch 1",
    ]
    assert "one that is caught" in lines[2]
    assert not any("after the run" in line for line in lines)


def test_other_ranks_show_warnings_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to(None, rank=3):
        log.info("epoch 1")
        log.warning("slow disk")
    assert capsys.readouterr().err == "warning: rank 3: slow disk\n"


def test_lines_stand_above_a_bar_that_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr("sys.stderr", terminal)
    console = Console(file=terminal, force_terminal=True, width=60)
    with logging_to(tmp_path / "train.log", rank=0), Progress(console=console, auto_refresh=False) as progress:
        progress.add_task("bar", total=2)
        progress.refresh()
        log.info("a line")
        shown = terminal.getvalue()
    # Rich erases the bar before the line and draws it anew below.
    assert shown.rindex("a line") > shown.rindex("\x1b[2K")
    assert shown.rindex("bar") > shown.rindex("a line")


def test_run_outlives_its_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError("Input/output error")

    monkeypatch.setattr("sys.stderr", Gone())
    with logging_to(tmp_path / "train.log", rank=0):
        log.info("a line")
    assert "a line" in (tmp_path / "train.log").read_text()


def test_file_name_that_is_no_text_is_one_message(
    compose: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = UserError(os.fsdecode(b"data/\xff.csv"), "a file", "none", "Mend the path.")
    open_streams()  # As each command does.
    run = open_run(compose("data=synthetic"), tmp_path, epochs=lambda: 0)
    with pytest.raises(UserError), run:
        _warn_and_raise(error)
    lines = (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()
    assert [r"data/\udcff.csv: expected a file, but got none. Mend the path." in line for line in lines] == [True] * 2
    assert capsys.readouterr().err == f"warning: {lines[0].partition('test: ')[2]}\n"
    status = read_status(tmp_path)
    assert status is not None
    assert status.reason == str(error)


def _warn_and_raise(error: UserError) -> None:
    log.warning("%s", error)
    raise error


def test_loggers_are_left_as_they_were(tmp_path: Path) -> None:
    states = {name: (logging.getLogger(name).level, logging.getLogger(name).propagate, []) for name in LOGGERS}
    with logging_to(tmp_path / "train.log", rank=0):
        assert all(len(logging.getLogger(name).handlers) == 2 for name in LOGGERS)
    for name, state in states.items():
        logger = logging.getLogger(name)
        assert (logger.level, logger.propagate, logger.handlers) == state


def test_full_disk_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    message = r"full: expected room on the disk, but got disk full: No space left"
    with pytest.raises(UserError, match=message), logging_to(tmp_path / "full", rank=0):
        log.debug("a line")
    assert not capsys.readouterr().err
