"""Secrets among the settings: a run, its ranks and its loggers use them, and nothing that it leaves has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import Command

TINY = [
    "data=synthetic", "data.reviews=300", "data.validation_size=100", "data.test_size=50", "data.num_words=100",
    "trainer.max_epochs=1", "callbacks=none", "logger.mine._target_=mine.Mine", "logger.mine.save_dir=seen",
]  # fmt: skip
LOGGER = """
from pathlib import Path
from pytorch_lightning.loggers import CSVLogger

class Mine(CSVLogger):
    def __init__(self, save_dir, password=None, settings=None, address=None):
        super().__init__(save_dir)
        Path(__file__).parent.with_name("used").write_text(repr([password, settings, address]))
        if password == "wr0ng":
            raise ValueError(f"the server does not know {password}")
"""
SECRET = "hunter2 or so"
GIVEN = [
    f"logger.mine.password='{SECRET}'", "logger.mine.settings={api_key: Kx93jd, size: 3}",
    "logger.mine.address='http://me:b1rthday@host/x'",
]  # fmt: skip
PARTS = ("hunter2", "Kx93jd", "b1rthday")


def leaks(folder: Path, *texts: str) -> list[str]:
    """Where a secret is found: files below the folder, their names among it, and texts."""
    found = [part for part in PARTS for text in texts if part in text]
    for path in folder.rglob("*"):
        content = str(path.relative_to(folder)).encode() + (path.read_bytes() if path.is_file() else b"")
        found += [f"{path}: {part}" for part in PARTS if part.encode() in content]
    return found


@pytest.mark.slow
@pytest.mark.distributed
def test_run_and_ranks_use_secrets_that_nothing_has(command: Command, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "mine.py").write_text(LOGGER)
    for trainer in ("cpu", "ddp_cpu"):
        given = [*TINY, *GIVEN, f"trainer={trainer}", f"hydra.run.dir={trainer}"]
        answer = command(work, *given)
        assert answer.returncode == 0, answer.stderr
        used = repr([SECRET, {"api_key": "Kx93jd", "size": 3}, "http://me:b1rthday@host/x"])
        assert (tmp_path / "used").read_text() == used
        assert leaks(work, answer.stdout, answer.stderr) == []
        assert "api_key: '***'" in (work / trainer / "config.yaml").read_text()
        # The same run, also with another password; not with another size.
        (tmp_path / "used").unlink()
        again = command(work, *given, "logger.mine.password=other")
        assert (again.returncode, (tmp_path / "used").exists()) == (0, False), again.stderr
        other = command(work, *given, "logger.mine.settings={size: 4, api_key: x}")
        assert other.returncode == 2
        assert "other values of logger.mine.settings.size (3 there, now 4)" in other.stderr


@pytest.mark.slow
def test_sweep_leaves_no_secret(command: Command, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "mine.py").write_text(LOGGER)
    answer = command(work, "-m", *TINY, *GIVEN, "seed=0,1", "hydra.sweep.dir=sweep")
    assert answer.returncode == 0, answer.stderr
    assert leaks(work, answer.stdout, answer.stderr) == []


@pytest.mark.slow
def test_refusals_and_reasons_have_no_secret(command: Command, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "mine.py").write_text(LOGGER)
    answer = command(work, *TINY, "logger.mine.password=wr0ng", "hydra.run.dir=run")
    assert answer.returncode == 2
    assert "the server does not know ***" in answer.stderr
    assert "wr0ng" not in answer.stderr
    answer = command(work, *TINY, "logger.mine.password='***'", "hydra.run.dir=run")
    assert answer.returncode == 2
    assert answer.stderr.startswith("logger.mine.password: expected its value, but got ***")
    for wrong in (["logger.mine.password=hunter2)"], ["callbacks.extra.x={password: hunter2}"]):
        answer = command(work, *TINY, *wrong)
        assert answer.returncode == 2
        assert leaks(work, answer.stderr) == []
