"""Crafted `imdb.npz` files: each is refused by name, runs nothing, crashes nothing and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.data.hostile_npz import MEMBERS, X, damaged_zips, members

GOOD = "good"

# Runs the real command once for each file, in one process: a crash ends it, and every case with it.
DRIVER = """
import contextlib, io, json, runpy, sys
for name in sys.argv[1].split(","):
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["imdb_lightning", f"data.path={name}.npz", "data.cache_dir=cache", "data.word_index=index.json",
                "data.validation_size=50", "data.num_words=100", "trainer.max_epochs=1", f"hydra.run.dir=runs/{name}"]
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_module("imdb_lightning", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code
    print(json.dumps([name, code, out.getvalue(), err.getvalue()]), flush=True)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[int, str, str]]]:
    """Exit status, output and errors of the command for each file."""
    work = tmp_path_factory.mktemp("hostile")
    (work / "index.json").write_text('{"the": 1}')
    good = members()
    for name, (member, content) in {GOOD: (X, good[X]), **MEMBERS}.items():
        with zipfile.ZipFile(work / f"{name}.npz", "w") as archive:
            for other, written in (good | {member: content}).items():
                if written is not None:
                    archive.writestr(f"{other}.npy", written)
    zips = damaged_zips((work / f"{GOOD}.npz").read_bytes())
    for name, whole in zips.items():
        (work / f"{name}.npz").write_bytes(whole)
    names = [*MEMBERS, *zips, GOOD]  # The good one last: it leaves a cache and a run.
    environment = {name: value for name, value in os.environ.items() if name != "IMDB_NPZ"}
    answer = subprocess.run(
        [sys.executable, "-c", DRIVER, ",".join(names)],
        cwd=work, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return work, {name: tuple(rest) for name, *rest in map(json.loads, answer.stdout.splitlines())}


@pytest.mark.slow
def test_there_are_many_and_the_good_file_trains(answers: tuple[Path, dict[str, tuple[int, str, str]]]) -> None:
    work, found = answers
    assert len(found) - 1 >= 100
    code, output, errors = found[GOOD]
    assert (code, "test" in output) == (0, True), errors
    # What the refused ones left: nothing.
    assert [path.name for path in (work / "runs").iterdir()] == [GOOD]
    assert len([path for path in (work / "cache").iterdir() if path.is_dir()]) == 1
    assert not (work / "ran").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*MEMBERS, *damaged_zips(b"x_train.npyPK\x01\x02" + bytes(400))])
def test_crafted_file_is_refused_by_name(name: str, answers: tuple[Path, dict[str, tuple[int, str, str]]]) -> None:
    code, output, errors = answers[1][name]
    assert (code, output) == (2, ""), errors
    message = errors.splitlines()[-1]
    assert message.startswith(f"{name}.npz"), errors
    assert ": expected " in message
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("label-255", "y_train, row 11", "255"), ("label-minus-1", "y_train, row 11", "-1"),
        ("label-test-2", "y_test, row 11", "2"), ("id-minus-5", "x_train, row 7", "-5"),
        ("id-2-to-the-31-minus-3", "x_train, row 7", "2147483645"), ("id-test-0", "x_test, row 1", "0"),
        ("id-1.5", "x_train, row 7", "[1, 2, 1.5, 3]"), ("id-text", "x_train, row 7", "[1, 2, '12', 3]"),
        ("review-text", "x_train, row 7", "'123'"),
    ],
)  # fmt: skip
def test_message_names_array_row_and_value(
    name: str, place: str, value: str, answers: tuple[Path, dict[str, tuple[int, str, str]]]
) -> None:
    assert f"{name}.npz, {place}: expected " in answers[1][name][2]
    assert f", but got {value}. " in answers[1][name][2]
