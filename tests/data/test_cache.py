"""Prepared folders: built once by whoever comes first, whole or not at all."""

from __future__ import annotations

import mmap
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import Config
from imdb_lightning.data.cache import PIECE_BYTES, Pieces, cache_folder, find_damage, prepared
from imdb_lightning.data.datamodule import ReviewDataModule

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
    assert {answer[-1] for answer in answers} == {"found ['half', 'manifest.json', 'other half']"}


def test_killed_build_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    process = start(tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "building\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "key").exists()
    folder = prepared(tmp_path, "key", lambda new: (new / "whole").touch())
    assert {path.name for path in folder.iterdir()} == {"whole", "manifest.json"}


def test_failed_build_is_tried_again(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        prepared(tmp_path, "key", fail)
    assert prepared(tmp_path, "key", lambda new: None).is_dir()


def test_any_flipped_byte_is_found_and_mended(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = bytes(range(256)) * 2

    def build(folder: Path) -> None:
        (folder / "data").write_bytes(content)

    folder = prepared(tmp_path, "key", build)
    whole = {path: path.read_bytes() for path in folder.iterdir()}
    assert {path.name for path in whole} == {"data", "manifest.json"}
    for path, expected in whole.items():
        for place in range(len(expected)):
            for bit in (1, 32, 128):
                path.write_bytes(expected[:place] + bytes([expected[place] ^ bit]) + expected[place + 1 :])
                assert find_damage(folder) is not None, (path, place, bit)
        if path.suffix == ".json":  # Another kind of blank is JSON as well.
            path.write_bytes(expected.replace(b" ", b"\n", 1))
            assert find_damage(folder) is not None
        caplog.clear()
        prepared(tmp_path, "key", build)
        assert f"{folder} is damaged (" in caplog.text
        assert {path: path.read_bytes() for path in folder.iterdir()} == whole


def test_flipped_byte_in_prepared_reviews_changes_no_number(
    labelled_csv: Path, compose: Callable[..., Config], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = compose("data=text", f"data.train={labelled_csv}", "data.num_words=50")
    config.data.cache_dir = str(tmp_path)

    def load() -> list[bytes]:
        datamodule = ReviewDataModule(config.data)
        datamodule.setup()
        splits = datamodule.splits
        arrays = [(bags.ids, bags.offsets, bags.labels) for bags in (splits.train, splits.validation, splits.test)]
        return [array.tobytes() for bags in arrays for array in bags] + [repr(splits.word_index).encode()]

    expected = load()
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    names = {path.name for path in folder.iterdir()}
    assert {"development_ids.npy", "test_labels.npy", "word_index.json", "about.json", "manifest.json"} < names
    for name in names:
        content = bytearray((folder / name).read_bytes())
        content[len(content) * 2 // 3] ^= 4
        (folder / name).write_bytes(content)
        caplog.clear()
        assert load() == expected
        assert f"{folder} is damaged (" in caplog.text


@pytest.mark.parametrize("damage", ["missing", "too much", "truncated", "no manifest"])
def test_files_that_come_and_go_are_found(damage: str, tmp_path: Path) -> None:
    folder = prepared(tmp_path, "key", lambda new: (new / "data").write_text("1"))
    if damage == "too much":
        (folder / "other").touch()
    elif damage == "truncated":
        (folder / "data").write_text("")
    else:
        (folder / ("data" if damage == "missing" else "manifest.json")).unlink()
    assert find_damage(folder) is not None
    assert prepared(tmp_path, "key", lambda new: (new / "data").write_text("2")) == folder
    assert (folder / "data").read_text() == "2"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"data": 5}', '{"data": [1]}', '{"data": [1, [1]], "x": 1}'])
def test_manifest_of_another_form_is_found(content: str, tmp_path: Path) -> None:
    folder = prepared(tmp_path, "key", lambda new: (new / "data").write_text("1"))
    (folder / "manifest.json").write_text(content)
    assert find_damage(folder) is not None


def test_cache_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key.lock").mkdir()  # For root, who may write anywhere.
    with pytest.raises(UserError, match=r"data\.cache_dir: expected a folder that can be written to"):
        prepared(tmp_path, "key", lambda new: None)


def test_large_file_is_checked_piece_by_piece_as_it_is_used(tmp_path: Path) -> None:
    folder = prepared(tmp_path, "key", lambda new: (new / "data").write_bytes(bytes(5 * PIECE_BYTES // 2)))
    with (folder / "data").open("r+b") as file:
        file.seek(PIECE_BYTES + 7)
        file.write(b"1")
    with (folder / "data").open("rb") as file:
        pieces = Pieces(folder / "data", mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    ends = np.array([PIECE_BYTES, 2 * PIECE_BYTES])
    pieces.check(np.array([0, 2 * PIECE_BYTES]), np.array([PIECE_BYTES, 5 * PIECE_BYTES // 2]))
    pieces.check(ends, ends)  # Empty ranges need no piece.
    assert pieces.left == 1
    with pytest.raises(UserError, match=r"data: expected prepared reviews as they were written"):
        pieces.check(np.array([5]), np.array([PIECE_BYTES + 1]))
    assert not folder.exists()


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"data\.cache_dir: expected a folder"):
        cache_folder(str(tmp_path / "file" / "cache"))
