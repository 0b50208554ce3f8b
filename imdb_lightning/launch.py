"""Where a run takes place: today in this process."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from imdb_lightning.config import Config, IMDBDataConfig
from imdb_lightning.data.imdb import check_settings
from imdb_lightning.errors import UserError
from imdb_lightning.results import HISTORY, RunResult


def preflight(config: Config) -> None:
    """Refuses what this machine can be seen to lack, in a fraction of a second.

    Raises:
        UserError: a named file is missing, or there is no such device.
    """
    if isinstance(config.data, IMDBDataConfig):
        check_settings(config.data.path, config.data.word_index, config.data.validation_size)
    if config.trainer.accelerator == "gpu":
        import torch  # Takes seconds, and only this check needs it.

        if not torch.cuda.is_available():
            raise UserError(
                "trainer.accelerator", "cpu, as this machine has no CUDA device", "'gpu'", "Use trainer=cpu."
            )


def launch(config: Config, folder: Path, *, keep_failed: bool) -> RunResult:
    """Runs.

    Args:
        config: the settings.
        folder: the run's; removed again when a mistake shows before the first epoch is done.
        keep_failed: keep it then, too.

    Raises:
        UserError: see `experiment.run`.
    """
    started = time.perf_counter()
    # Lightning and torch take seconds to import; help and refusals do without them.
    from imdb_lightning import experiment

    try:
        return experiment.run(config, folder, started)
    except UserError:
        if not keep_failed and not (folder / HISTORY).exists():
            _remove(folder)
        raise


def _remove(folder: Path) -> None:
    """Removes a folder and what it leaves empty above it, up to the working directory."""
    shutil.rmtree(folder)
    for parent in folder.absolute().parents:
        if not parent.is_relative_to(Path.cwd()) or parent == Path.cwd() or any(parent.iterdir()):
            break
        parent.rmdir()
