"""Prepared folders: built once by whoever comes first, whole or not at all."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from imdb_lightning.data.cache import cache_folder, prepared
from imdb_lightning.errors import UserError

# Each builder notes that it built; standard input holds it until the test lets it go on.
BUILDER = """
import sys
from pathlib import Path
from imdb_lightning.data.cache import prepared

def build(folder):
    (folder / "half").write_text("1")
    print("building", flush=True)
    sys.stdin.readline()
    (folder / "other half").write_text("2")

cache = Path(sys.argv[1])
print("found", sorted(path.name for path in prepared(cache, "key", build).iterdir()), flush=True)
"""


def start(cache: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILDER, str(cache)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_several_processes_build_once(tmp_path: Path) -> None:
    processes = [start(tmp_path) for _ in range(4)]
    for process in processes:  # Whichever builds may go on at once.
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    assert sum("building" in answer for answer in answers) == 1
    assert {answer[-1] for answer in answers} == {"found ['half', 'other half']"}


def test_killed_build_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    process = start(tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "building\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "key").exists()
    folder = prepared(tmp_path, "key", lambda new: (new / "whole").touch())
    assert [path.name for path in folder.iterdir()] == ["whole"]


def test_failed_build_is_tried_again(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        prepared(tmp_path, "key", fail)
    assert prepared(tmp_path, "key", lambda new: None).is_dir()


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"data\.cache_dir: expected a folder"):
        cache_folder(str(tmp_path / "file" / "cache"))
