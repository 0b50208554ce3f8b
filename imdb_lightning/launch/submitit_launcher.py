"""Hydra's submitit launcher for Slurm, made to ask for what each job needs and to see all jobs to their end.

The plug-in's own asks for the same machines in all jobs and ends at the first one that was lost.
"""

import itertools
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import submitit
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra_plugins.hydra_submitit_launcher import submitit_launcher
from omegaconf import OmegaConf, open_dict

from imdb_lightning.launch import slurm
from imdb_lightning.runs.lifecycle import record_lost

log = logging.getLogger("hydra.imdb_lightning.launch.slurm")
# How often to ask for a job without a result: without accounting, submitit never hears of a cancelled one.
_SQUEUE_SECONDS = 30
# Settings that submitit knows for every kind of queue; those of Slurm alone go by the prefix slurm_.
_QUEUE = {"name", "timeout_min", "mem_gb", "stderr_to_stdout"}
# Settings that go to submitit in another way, or that follow from the job's own.
_NOT_OPTIONS = {"submitit_folder", "max_num_timeout", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node"}


def register() -> None:
    """Puts this launcher in the plug-in's place."""
    plugin = submitit_launcher.SlurmLauncher
    # Hydra takes launchers from the package hydra_plugins only, and Plugins.register, the public way, names a class by
    # its own module. tests/launch/test_launchers.py looks whether Hydra still finds the class here.
    Plugins.instance().class_name_to_class[f"{plugin.__module__}.{plugin.__name__}"] = SlurmLauncher


class SlurmLauncher(submitit_launcher.SlurmLauncher):  # type: ignore[misc]
    """Submits each job, waits for all, and writes into a lost one's folder why it was lost."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the jobs of a sweep on the cluster; a lost one returns nothing."""
        jobs = dict(enumerate(job_overrides, start=initial_job_idx))
        needs, folders = {}, {}
        for number, overrides in jobs.items():
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config.hydra.job):
                config.hydra.job.num = number  # A part of the folder's name, which Hydra sets only in the job itself.
            needs[number] = slurm.resources(config.trainer, self.params)
            folders[number] = Path(config.hydra.sweep.dir, config.hydra.sweep.subdir)
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        folder, retries, state = self.params["submitit_folder"], self.params["max_num_timeout"], Singleton.get_state()
        settings = {key: value for key, value in self.params.items() if key not in _NOT_OPTIONS}
        submitted: dict[int, submitit.Job[JobReturn]] = {}
        # An array of jobs is for equal needs. Only neighbours share one, so that the queue has the order of the sweep.
        for need, group in itertools.groupby(jobs, key=needs.__getitem__):
            executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=retries)
            executor.update_parameters(
                **{key if key in _QUEUE else f"slurm_{key}": value for key, value in settings.items()},
                **{key: value for key, value in need.items() if value is not None},
                # From 22.05 on a step does not inherit this from its job.
                slurm_srun_args=[f"--cpus-per-task={need['cpus_per_task']}"],
            )
            members = {number: list(jobs[number]) for number in group}
            # What submitit passes, by position, to the plug-in's __call__ on the cluster.
            calls = [(members[number], "hydra.sweep.dir", number, f"job_id_for_{number}", state) for number in members]
            for number, job in zip(members, executor.map_array(self, *zip(*calls, strict=True)), strict=True):
                submitted[number] = job
                log.info("\t#%d as Slurm job %s : %s", number, job.job_id, " ".join(filter_overrides(members[number])))
        log.info("logs: %s; Ctrl-C leaves the jobs in the queue", folder)
        return [_wait(number, job, folders[number]) for number, job in submitted.items()]


def _wait(number: int, job: submitit.Job[JobReturn], folder: Path) -> JobReturn:
    """Waits for a job; one that was lost, as by `scancel` or for want of memory, leaves its reason in the folder."""
    while not job.done() and slurm.is_queued(job.job_id):
        queried = time.monotonic()
        while not job.done() and time.monotonic() - queried < _SQUEUE_SECONDS:
            time.sleep(1)
    if job.done() and job.exception() is None:
        log.info("\t#%d is done", number)
        returned: JobReturn = job.results()[0]
        return returned
    log.info("\t#%d was lost: Slurm says %s", number, job.state)
    record_lost(folder, f"Slurm job {job.job_id} ended as {job.state}; its output: {job.paths.stderr}")
    # Named in the comparison at the sweep's end; raised here, it would end the sweep.
    return JobReturn(_return_value=None, status=JobStatus.COMPLETED, cfg=OmegaConf.create())
