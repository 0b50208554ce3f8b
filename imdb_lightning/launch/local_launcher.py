"""A launcher of Hydra's for sweeps on one machine: several jobs at once, each a fork of this process.

What is large is imported here, once: a job begins in hundredths of a second and shares the memory of the libraries.
Linux and macOS alone can fork.
"""

import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from imdb_lightning.config.imports import large_imports
from imdb_lightning.config.schema import TrainerConfig
from imdb_lightning.data.parallel import count_cores
from imdb_lightning.launch.ranks import end_with_parent
from imdb_lightning.launch.run import count_gpus
from imdb_lightning.runs.lifecycle import record_lost
from imdb_lightning.runs.signals import SIGNALS

log = logging.getLogger("hydra.imdb_lightning.launch.local")


def register() -> None:
    """Makes the launcher known under the name in `conf/hydra/launcher/local.yaml`."""
    # Hydra takes launchers from the package hydra_plugins only, and looks for them there by their names.
    Plugins.instance().class_name_to_class["hydra_plugins.imdb_lightning.LocalLauncher"] = LocalLauncher


class LocalLauncher(Launcher):
    """Runs the jobs of a sweep, up to `n_jobs` at once; a job that is killed leaves that in its folder."""

    def __init__(self, n_jobs: int | None) -> None:
        self.n_jobs = n_jobs
        self._parent = os.getpid()
        self._running: dict[int, tuple[ForkProcess, Path]] = {}  # By the descriptor that tells a process's end.
        self._received = 0  # The first signal that asked the sweep to stop; 0: none.

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Takes what Hydra gives its launchers."""
        self._context, self._task, self._config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs all jobs; ends this process with status 128 + signal or 2 when a signal or a job asks for that."""
        setup_globals()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        Path(self._config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        # Each is composed while those before it run.
        jobs = (self._job(number, overrides) for number, overrides in enumerate(job_overrides, initial_job_idx))
        with large_imports():
            import imdb_lightning.training.experiment  # noqa: F401
        before: dict[int, Any] = {signum: signal.signal(signum, self._pass_on) for signum in SIGNALS}
        job, status = next(jobs, None), 0
        try:
            while self._running or (job is not None and not (self._received or status)):
                if job is not None and not (self._received or status) and self._has_place(job):
                    self._start(job, before)
                    job = next(jobs, None)
                    continue
                for sentinel in wait(self._running):
                    process, folder = self._running.pop(sentinel)  # type: ignore[arg-type]
                    process.join()
                    if process.exitcode == 2:  # The folder is another run's.
                        status = 2
                    elif process.exitcode and not self._received:
                        record_lost(folder, f"Its process ended with status {process.exitcode}.")
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
        if self._received or status:
            sys.exit(128 + self._received if self._received else status)
        # What a job reached is in its folder.
        return [
            JobReturn(_return_value=None, status=JobStatus.COMPLETED, cfg=OmegaConf.create()) for _ in job_overrides
        ]

    def _has_place(self, job: DictConfig) -> bool:
        return len(self._running) < (self.n_jobs or max(1, places(job.trainer)))

    def _job(self, number: int, overrides: Sequence[str]) -> DictConfig:
        config = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        return config

    def _start(self, job: DictConfig, handlers: dict[int, Any]) -> None:
        log.info("\t#%d : %s", job.hydra.job.num, " ".join(filter_overrides(job.hydra.overrides.task)))
        sys.stdout.flush()
        context = multiprocessing.get_context("fork")
        process = context.Process(target=self._run, args=(job, handlers))
        process.start()
        self._running[process.sentinel] = process, Path(job.hydra.sweep.dir, job.hydra.sweep.subdir)
        if self._received:  # While it was started.
            self._pass_on(self._received, None)

    def _run(self, job: DictConfig, handlers: dict[int, Any]) -> None:
        """What a fork does."""
        os.setpgrp()  # Ctrl-C is for the parent, which passes it on.
        end_with_parent(self._parent)
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        if self._received:  # Before these handlers were there.
            sys.exit(128 + self._received)
        run_job(
            hydra_context=self._context, task_function=self._task, config=job,
            job_dir_key="hydra.sweep.dir", job_subdir_key="hydra.sweep.subdir",
        )  # fmt: skip

    def _pass_on(self, signum: int, frame: FrameType | None) -> None:
        self._received = self._received or signum
        if os.getpid() != self._parent:
            return  # A fork that has just begun.
        for process, _ in list(self._running.values()):
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, signum)


def places(trainer: TrainerConfig) -> int:
    """How many jobs with these settings this machine has cores or GPUs for."""
    if trainer.accelerator == "gpu":  # A job of one takes any that is free, one of several the first ones.
        return count_gpus() if trainer.devices == 1 else 1
    return count_cores() // (trainer.devices * trainer.threads)
