"""Where a run takes place: in this process, on a GPU of its own, or in several that it starts."""

import dataclasses
import getpass
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from imdb_lightning.config.errors import UserError, explaining
from imdb_lightning.config.imports import large_imports
from imdb_lightning.config.schema import Config, TrainerConfig
from imdb_lightning.data.sources import check_reviews
from imdb_lightning.launch.clusters import ELSEWHERE, Launcher
from imdb_lightning.launch.private import refuse_hidden
from imdb_lightning.launch.ranks import run_ranks
from imdb_lightning.launch.slurm import current_step
from imdb_lightning.runs.lifecycle import finished_result, is_first
from imdb_lightning.runs.records import CHECKPOINT, HISTORY, RunResult


def check_run(config: Config, launcher: Launcher) -> None:
    """Refuses what can be seen to be missing, in a fraction of a second.

    Raises:
        UserError: there is no such file, not so many devices, no place for several machines to meet, or `***` in place
            of a secret.
    """
    refuse_hidden(config)
    check_reviews(config.data)
    trainer = config.trainer
    if launcher.name in ELSEWHERE:
        return  # This machine's tasks and devices say nothing about the one on which the job will run.
    _check_machines(trainer)
    if trainer.accelerator == "gpu":
        available = count_gpus()
        if not available:
            accepted, remedy = "cpu, as this machine has no CUDA device", "Use trainer=cpu."
            raise UserError("trainer.accelerator", accepted, "'gpu'", remedy)
        if trainer.devices > available:
            accepted, remedy = f"at most the {available} GPUs of this machine", "Lower it, or say -1 for all of them."
            raise UserError("trainer.devices", accepted, trainer.devices, remedy)


def _check_machines(trainer: TrainerConfig) -> None:
    step = current_step()
    if step is not None and step.tasks != trainer.num_nodes:
        accepted = f"one task on each of the {trainer.num_nodes} machines of trainer.num_nodes"
        raise UserError("srun", accepted, f"{step.tasks} tasks", "Try srun --ntasks-per-node=1.")
    if trainer.num_nodes == 1:
        return
    remedy = "Say trainer.rendezvous=HOST:PORT on each of the machines, and trainer.node_rank=0, 1, ..."
    if trainer.node_rank is None or (trainer.rendezvous is None and step is None):
        key = "trainer.node_rank" if trainer.node_rank is None else "trainer.rendezvous"
        raise UserError(key, "a value, as there are several machines", "null", remedy)
    if trainer.rendezvous is not None and trainer.node_rank == 0:  # The others only call there.
        with socket.socket() as listener:
            # Else the port of a run that has just ended would still count as taken.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("", int(trainer.rendezvous.rpartition(":")[2])))
            except (OSError, OverflowError) as error:
                accepted, remedy = "a free port of this machine", "Name another port, the same on all machines."
                raise UserError("trainer.rendezvous", accepted, trainer.rendezvous, remedy) from error


def launch(config: Config, folder: Path, *, keep_failed: bool) -> RunResult:
    """Runs, or goes on with what is in the folder.

    A new folder is removed again when a mistake shows before there is an epoch or a checkpoint, unless `keep_failed`.

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
    trainer = config.trainer
    try:
        with explaining(folder):
            devices = trainer.devices if trainer.devices > 0 else count_gpus()
            # Checks once more, now that the number is known.
            dataclasses.replace(config, trainer=dataclasses.replace(trainer, devices=devices))
            if devices * trainer.num_nodes > 1:
                return run_ranks(config, folder, devices)
            # Lightning and torch take seconds to import; help and refusals do without them.
            with large_imports():
                from imdb_lightning.training import experiment

            with claimed_gpu(count_gpus()) if trainer.accelerator == "gpu" else nullcontext(0) as gpu:
                return experiment.run(config, folder, started=started, gpu=gpu)
    except UserError:
        trained = any((folder / name).exists() for name in (HISTORY, CHECKPOINT))
        if new and not keep_failed and is_first(config) and not trained:
            _remove(folder)
        raise


def _remove(folder: Path) -> None:
    """Removes a run's folder, and what that leaves empty, up to the working directory."""
    here, parents = Path.cwd(), folder.absolute().parents  # With hydra.job.chdir, here is the folder itself.
    with suppress(OSError):  # Why it is removed is to be told.
        shutil.rmtree(folder)
        for parent in parents:
            if not parent.is_relative_to(here) or parent == here or any(parent.iterdir()):
                break
            parent.rmdir()


@contextmanager
def claimed_gpu(available: int) -> Iterator[int]:
    """Claims the first of the available GPUs that no other run of this user has, or shares GPU 0 when all are taken.

    So the jobs of a local sweep take one each. Yields the GPU's number, from 0.
    """
    folder = Path(tempfile.gettempdir()) / f"imdb_lightning-gpus-{getpass.getuser()}"
    folder.mkdir(exist_ok=True)
    with ExitStack() as claim:
        for number in range(available):
            with suppress(Timeout):
                # The system lets go of a lock when its process ends, however it ends: no GPU stays taken.
                claim.enter_context(FileLock(folder / f"{number}.lock", timeout=0))
                break
        else:
            number = 0
        yield number


def count_gpus() -> int:
    """The CUDA devices of this machine."""
    import torch  # Takes seconds, and only GPUs need it.

    return torch.cuda.device_count()
