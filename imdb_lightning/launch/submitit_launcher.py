"""Hydra's submitit launcher for Slurm, made to ask for what each job needs and to see all jobs to their end.

The plug-in's own asks for the same machines in all jobs and ends at the first one that was lost.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra_plugins.hydra_submitit_launcher import submitit_launcher
from omegaconf import DictConfig, OmegaConf, open_dict

from imdb_lightning.launch import slurm
from imdb_lightning.runs.lifecycle import record_lost

log = logging.getLogger("hydra.imdb_lightning.launch.slurm")
_SQUEUE_SECONDS = 30
"""How often to ask for a job that has left no result: without accounting, submitit never hears of a cancelled one."""
_QUEUE = {"name", "timeout_min", "mem_gb", "stderr_to_stdout"}
"""Settings that submitit knows for every kind of queue; those of Slurm alone go by the prefix `slurm_`."""
_NOT_OPTIONS = {"submitit_folder", "max_num_timeout", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node"}


def register() -> None:
    """Puts this launcher in the plug-in's place: Hydra takes launchers from the package of plug-ins only."""
    replaced = submitit_launcher.SlurmLauncher
    Plugins.instance().class_name_to_class[f"{replaced.__module__}.{replaced.__name__}"] = SlurmLauncher


class SlurmLauncher(submitit_launcher.SlurmLauncher):  # type: ignore[misc]
    """Submits each job, waits for all, and writes into a lost one's folder why it was lost."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the jobs of a sweep on the cluster.

        Args:
            job_overrides: of each job.
            initial_job_idx: number of the first one.

        Returns:
            What each job gave, in their order; nothing from a lost one.
        """
        jobs = list(enumerate(job_overrides, start=initial_job_idx))
        configs = {number: self._compose(number, overrides) for number, overrides in jobs}
        needs = {number: slurm.resources(config.trainer, self.params) for number, config in configs.items()}
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        submitted: dict[int, submitit.Job[JobReturn]] = {}
        for need, group in itertools.groupby(jobs, key=lambda job: needs[job[0]]):
            submitted |= self._submit(need, list(group))
        log.info("logs: %s; Ctrl-C leaves the jobs in the queue", self.params["submitit_folder"])
        returns = {}
        for number, job in submitted.items():
            config = configs[number]
            folder = Path(config.hydra.sweep.dir) / config.hydra.sweep.subdir
            returns[number] = _wait(number, job, folder)
        return [returns[number] for number, _ in jobs]

    def _compose(self, number: int, overrides: Sequence[str]) -> DictConfig:
        config: DictConfig = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config.hydra.job):
            config.hydra.job.num = number
        return config

    def _submit(
        self, need: dict[str, Any], jobs: list[tuple[int, Sequence[str]]]
    ) -> dict[int, submitit.Job[JobReturn]]:
        """Submits jobs of equal needs as one array."""
        executor = submitit.AutoExecutor(
            self.params["submitit_folder"], cluster="slurm", slurm_max_num_timeout=self.params["max_num_timeout"]
        )
        given = {key: value for key, value in self.params.items() if key not in _NOT_OPTIONS}
        executor.update_parameters(
            **{key if key in _QUEUE else f"slurm_{key}": value for key, value in given.items()},
            **{key: value for key, value in need.items() if value is not None},
            # From 22.05 on a step does not inherit this from its job.
            slurm_srun_args=[f"--cpus-per-task={need['cpus_per_task']}"],
        )
        state = Singleton.get_state()
        calls = [
            (list(overrides), "hydra.sweep.dir", number, f"job_id_for_{number}", state) for number, overrides in jobs
        ]
        submitted = executor.map_array(self, *zip(*calls, strict=True))
        for (number, overrides), job in zip(jobs, submitted, strict=True):
            log.info("\t#%d as Slurm job %s : %s", number, job.job_id, " ".join(filter_overrides(overrides)))
        return {number: job for (number, _), job in zip(jobs, submitted, strict=True)}


def _wait(number: int, job: submitit.Job[JobReturn], folder: Path) -> JobReturn:
    """Waits for a job; one that was lost, as by `scancel` or for want of memory, leaves its reason in the folder."""
    while not job.done() and slurm.is_queued(job.job_id):
        looked = time.monotonic()
        while not job.done() and time.monotonic() - looked < _SQUEUE_SECONDS:
            time.sleep(1)
    if job.done() and job.exception() is None:
        log.info("\t#%d is done", number)
        returned: JobReturn = job.results()[0]
        return returned
    log.info("\t#%d was lost: Slurm says %s", number, job.state)
    record_lost(folder, f"Slurm job {job.job_id} ended as {job.state}; its output: {job.paths.stderr}")
    # Named in the comparison at the sweep's end; raised here, it would end the sweep.
    return JobReturn(_return_value=None, status=JobStatus.COMPLETED, cfg=OmegaConf.create())
