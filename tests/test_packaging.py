"""The wheel: settings inside, and a command that works in an empty directory."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_wheel_carries_the_settings_and_runs_from_anywhere(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet"]
    source = tmp_path / "source"  # A copy, since building leaves its traces beside the sources.
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "logs", "build", "*.egg-info"))
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, source], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = {name.removeprefix("imdb_lightning/conf/") for name in archive.namelist() if "/conf/" in name}
    assert inside == {path.relative_to(ROOT / "conf").as_posix() for path in (ROOT / "conf").rglob("*.yaml")}
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True, capture_output=True)
    # First on the path, so that it is the installed package that runs and not this checkout.
    program = "import imdb_lightning; print(imdb_lightning.__file__); from imdb_lightning.__main__ import main; main()"
    answer = subprocess.run(
        [sys.executable, "-c", program, "--cfg", "job"],
        cwd=empty, env={"PYTHONPATH": str(site)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert answer.stdout.startswith(str(site))
    assert "hidden_units" in answer.stdout
    assert list(empty.iterdir()) == []
