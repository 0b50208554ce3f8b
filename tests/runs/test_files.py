"""Files written whole or not at all, on disks that take no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from imdb_lightning.config.errors import UserError
from imdb_lightning.runs.files import overwrite, replacing, write_text
from imdb_lightning.runs.records import RUNNING, STATUS, Status, write_end, write_json


def limited(folder: Path, program: str) -> str:
    """Runs a program in a folder, with files of up to 4 KiB: what is longer is refused, as by a disk that is full."""
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); from pathlib import Path; "
    answer = subprocess.run(
        [sys.executable, "-c", limit + program], cwd=folder, capture_output=True, text=True, check=False
    )
    return answer.stdout + answer.stderr


def test_old_file_stays_where_the_new_one_does_not_fit(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    program = "from imdb_lightning.runs.files import write_text; from imdb_lightning.config.command import command\n"
    program += "with command(): write_text(Path('file'), 'new' * 4096)"
    told = limited(tmp_path, program)
    assert told.startswith("file: expected room on the disk, but got disk full: File too large. Free some")
    assert len(told.splitlines()) == 1
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "old"}


@pytest.mark.parametrize("name", ["missing/file", "folder", "/dev/null"])
def test_what_is_no_place_for_a_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=f"^{tmp_path / name}: expected"):
        write_text(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_killed_processes_have_left_of_a_file_is_removed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    own, others = f".file.{os.getpid()}", [f".file.{os.getppid()}", ".file.txt", f".other.{ended.pid}"]
    for name in (f".file.{ended.pid}", *others):
        (tmp_path / name).touch()
    with replacing(tmp_path / "file") as unfinished:
        assert unfinished.name == own
        unfinished.touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["file", *others])


def test_status_is_overwritten_where_a_new_one_cannot_be(tmp_path: Path) -> None:
    path, status = tmp_path / STATUS, Status(RUNNING, "", "", "", 0)
    write_json(path, status)
    path.with_name(f".{STATUS}.{os.getpid()}").mkdir()  # No file can be written here.
    place = path.stat().st_ino
    for reason in ("long " * 1000, "short"):
        write_end(tmp_path, Status("failed", reason, "", "", 3))
        assert path.stat().st_ino == place
        assert json.loads(path.read_text()) == {
            "state": "failed", "reason": reason[:500], "start": "", "end": "", "last_epoch": 3,
        }  # fmt: skip
    assert len(path.read_bytes()) <= 4096


def test_text_over_a_longer_one_leaves_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a long text\n")
    overwrite(tmp_path / "file", "[]\n")
    assert (tmp_path / "file").read_text().split() == ["[]"]
