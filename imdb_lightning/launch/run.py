"""Where a run takes place: in this process, or in several that it starts."""

from __future__ import annotations

import shutil
import socket
import time
from contextlib import nullcontext
from pathlib import Path

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import Config, TrainerConfig
from imdb_lightning.data.sources import check_reviews
from imdb_lightning.launch.clusters import ELSEWHERE, Launcher
from imdb_lightning.launch.gpus import claimed_gpu
from imdb_lightning.launch.ranks import run_ranks
from imdb_lightning.launch.slurm import current_step
from imdb_lightning.runs.lifecycle import finished_result, is_first
from imdb_lightning.runs.records import HISTORY, RunResult


def preflight(config: Config, launcher: Launcher) -> None:
    """Refuses what can be seen to be missing, in a fraction of a second.

    Args:
        config: of a job.
        launcher: what starts it; one that may start it on another machine leaves this one's devices alone.

    Raises:
        UserError: a named file is missing, or there are not so many devices, or several machines do not
            know where to meet.
    """
    check_reviews(config.data)
    if launcher.name in ELSEWHERE:
        return
    _check_machines(config.trainer)
    if config.trainer.accelerator == "gpu":
        _check_gpus(config.trainer)


def _check_machines(trainer: TrainerConfig) -> None:
    step = current_step()
    if step is not None and step.tasks != trainer.num_nodes:
        accepted = f"one task on each of the {trainer.num_nodes} machines of trainer.num_nodes"
        raise UserError("srun", accepted, f"{step.tasks} tasks", "Try srun --ntasks-per-node=1.")
    if trainer.num_nodes == 1:
        return
    remedy = "Say trainer.rendezvous=HOST:PORT on each of the machines, and trainer.node_rank=0, 1, ..."
    if trainer.node_rank is None:
        raise UserError("trainer.node_rank", "a value, as there are several machines", "null", remedy)
    if trainer.rendezvous is None and step is None:
        raise UserError("trainer.rendezvous", "a value, as there are several machines", "null", remedy)
    if trainer.rendezvous is not None and trainer.node_rank == 0:
        _check_port(trainer.rendezvous)


def _check_port(rendezvous: str) -> None:
    """The first machine listens there."""
    port = int(rendezvous.rpartition(":")[2])
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("", port))
        except OSError as error:
            remedy = "Name another port, the same on all machines."
            raise UserError("trainer.rendezvous", "a free port of this machine", rendezvous, remedy) from error


def _check_gpus(trainer: TrainerConfig) -> None:
    available = _gpus()
    if not available:
        raise UserError("trainer.accelerator", "cpu, as this machine has no CUDA device", "'gpu'", "Use trainer=cpu.")
    if trainer.devices > available:
        raise UserError(
            "trainer.devices", f"at most the {available} GPUs of this machine", trainer.devices,
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
        from imdb_lightning.training import experiment

        with claimed_gpu(_gpus()) if config.trainer.accelerator == "gpu" else nullcontext(0) as gpu:
            return experiment.run(config, folder, started=started, gpu=gpu)
    except UserError:
        if new and not keep_failed and is_first(config) and not (folder / HISTORY).exists():
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
