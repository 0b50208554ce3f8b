"""Standard streams that fail: a run goes on without them, and the exit status says what was lost."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import CACHE

SWEEP = [
    "-m", "imdb_lightning", "-m", "data=synthetic", "data.reviews=700", "data.validation_size=200",
    "data.test_size=300", "data.num_words=500", "trainer.max_epochs=1", "seed=0,1", "hydra.sweep.dir=sweep",
]  # fmt: skip


def shell(line: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a line of bash, in which PYTHON is this interpreter."""
    environment = os.environ | {"PYTHON": sys.executable} | variables
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("redirected", "status"), [("| true; exit ${PIPESTATUS[0]}", 141), ("> /dev/full", 2), (">&- <&-", 0)]
)
def test_sweep_outlives_its_output(redirected: str, status: int, cache: Path, tmp_path: Path) -> None:
    answer = shell(f'"$PYTHON" {shlex.join(SWEEP)} {redirected}', tmp_path, **{CACHE: str(cache)})
    assert answer.returncode == status, answer.stderr
    assert len(list(tmp_path.glob("sweep/*/results.json"))) == 2
    assert (tmp_path / "sweep" / "comparison.csv").exists()
    assert "Traceback" not in answer.stderr
    assert ("standard output: expected room on the disk" in answer.stderr) == (status == 2)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_line_is_written_before_a_process_ends_at_once(unbuffered: str, tmp_path: Path) -> None:
    program = (
        "import os, sys; from imdb_lightning.config.streams import outlive_readers; outlive_readers(); "
        "print('told', file=sys.stderr); os._exit(0)"
    )
    assert shell(f'"$PYTHON" -c {shlex.quote(program)}', tmp_path, PYTHONUNBUFFERED=unbuffered).stderr == "told\n"


def test_file_never_becomes_standard_output(tmp_path: Path) -> None:
    program = (
        "import os; from imdb_lightning.config.streams import open_streams; open_streams(); "
        "file = open('kept', 'w'); os.write(1, b'noise'); file.write('content')"
    )
    answer = shell(f'"$PYTHON" -c {shlex.quote(program)} >&- <&-', tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "kept").read_text() == "content"
