"""Where a run takes place: in this process, or in several that it starts."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from imdb_lightning.config import Config, IMDBDataConfig, TrainerConfig
from imdb_lightning.data.imdb import check_settings
from imdb_lightning.errors import UserError
from imdb_lightning.ranks import run_ranks
from imdb_lightning.results import HISTORY, RunResult
from imdb_lightning.run_folder import finished_result


def preflight(config: Config) -> None:
    """Refuses what this machine can be seen to lack, in a fraction of a second.

    Raises:
        UserError: a named file is missing, or there are not so many devices, or several machines do not
            know where to meet.
    """
    if isinstance(config.data, IMDBDataConfig):
        check_settings(config.data.path, config.data.word_index, config.data.validation_size)
    for key in ("node_rank", "rendezvous") if config.trainer.num_nodes > 1 else ():
        if getattr(config.trainer, key) is None:
            remedy = "Say trainer.rendezvous=HOST:PORT on each of the machines, and trainer.node_rank=0, 1, ..."
            raise UserError(f"trainer.{key}", "a value, as there are several machines", "null", remedy)
    if config.trainer.accelerator == "gpu":
        available = _gpus()
        if not available:
            raise UserError(
                "trainer.accelerator", "cpu, as this machine has no CUDA device", "'gpu'", "Use trainer=cpu."
            )
        if config.trainer.devices > available:
            raise UserError(
                "trainer.devices", f"at most the {available} GPUs of this machine", config.trainer.devices,
                "Lower it, or say -1 for all of them.",
            )  # fmt: skip


def launch(config: Config, folder: Path, *, keep_failed: bool) -> RunResult:
    """Runs, or goes on with what is in the folder.

    Args:
        config: the settings.
        folder: the run's; a new one is removed again when a mistake shows before the first epoch is done.
        keep_failed: keep it then, too.

    Raises:
        UserError: see `experiment.run`.
        Interrupted: a signal asked the run to stop.
        RanksFailedError: one of several processes crashed or was killed.
    """
    started = time.perf_counter()
    finished = finished_result(config, folder)
    if finished is not None:
        return finished
    new = not folder.exists() or not any(folder.iterdir())
    try:
        devices = _devices(config.trainer)
        if devices * config.trainer.num_nodes > 1:
            return run_ranks(config, folder, devices)
        # Lightning and torch take seconds to import; help and refusals do without them.
        from imdb_lightning import experiment

        return experiment.run(config, folder, started)
    except UserError:
        if new and not keep_failed and not (folder / HISTORY).exists():
            _remove(folder)
        raise


def _devices(config: TrainerConfig) -> int:
    return config.devices if config.devices > 0 else _gpus()


def _gpus() -> int:
    import torch  # Takes seconds, and only GPUs need it.

    return torch.cuda.device_count()


def _remove(folder: Path) -> None:
    """Removes a folder and what it leaves empty above it, up to the working directory."""
    shutil.rmtree(folder, ignore_errors=True)
    for parent in folder.absolute().parents:
        if not parent.is_relative_to(Path.cwd()) or parent == Path.cwd() or any(parent.iterdir()):
            break
        parent.rmdir()
