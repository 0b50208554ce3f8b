"""What Slurm says of the job step that this process is a task of, and what a job asks Slurm for.

Source of the variables and options: the manual pages srun(1) and sbatch(1), tried with Slurm 22.05.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import Any

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import TrainerConfig

_FIRST_PORT, _PORTS = 10_000, 20_000
"""Below the ports that Linux gives out by itself, which begin at 32,768."""


@dataclass(frozen=True)
class Step:
    """A step of a job, as started by `srun`.

    Attributes:
        job: number of the job.
        step: number of the step in the job, from 0; the same again when the job is requeued.
        nodes: machines of the step.
        tasks: processes that `srun` has started on them.
        nodelist: the machines' names, in Slurm's short form.
        node: this machine's name.
    """

    job: int
    step: int
    nodes: int
    tasks: int
    nodelist: str
    node: str

    @property
    def name(self) -> str:
        """Names a folder: the same on all machines, and again after a requeue."""
        return f"slurm-{self.job}.{self.step}"

    def rendezvous(self) -> str:
        """Where the machines meet: `host:port` of the first, with a port drawn from the numbers of job and step."""
        answer = subprocess.run(
            ["scontrol", "show", "hostnames", self.nodelist], capture_output=True, text=True, check=True
        )
        return f"{answer.stdout.split()[0]}:{_FIRST_PORT + (8 * self.job + self.step) % _PORTS}"


def current_step() -> Step | None:
    """The step that this process belongs to; None outside Slurm, and in the batch script itself."""
    variables = os.environ
    if "SLURM_STEP_NUM_NODES" not in variables:
        return None
    return Step(
        job=int(variables["SLURM_JOB_ID"]),
        step=int(variables["SLURM_STEP_ID"]),
        nodes=int(variables["SLURM_STEP_NUM_NODES"]),
        tasks=int(variables["SLURM_STEP_NUM_TASKS"]),
        nodelist=variables["SLURM_STEP_NODELIST"],
        node=variables["SLURMD_NODENAME"],
    )


def is_queued(job: str) -> bool:
    """Whether Slurm knows a job, as `12` or `12_3`: one that waits, runs, or has ended a moment ago."""
    answer = subprocess.run(["squeue", "--noheader", f"--jobs={job}"], capture_output=True, text=True, check=False)
    return bool(answer.stdout.strip())


def resources(trainer: TrainerConfig, launcher: dict[str, Any]) -> dict[str, Any]:
    """What a job asks for, in submitit's terms: one task a machine, which starts a process for each device.

    Args:
        trainer: the job's settings.
        launcher: `hydra.launcher`, whose own values come first.

    Raises:
        UserError: the number of GPUs cannot be known.
    """
    on_gpus = trainer.accelerator == "gpu"
    if on_gpus and trainer.devices < 0 and launcher["gpus_per_node"] is None:
        remedy = "Say how many GPUs each machine is to give, as in trainer.devices=4."
        raise UserError("trainer.devices", "a number on a cluster, as this machine cannot know it", -1, remedy)
    devices = trainer.devices if trainer.devices > 0 else launcher["gpus_per_node"]
    return {
        "nodes": trainer.num_nodes,
        "tasks_per_node": 1,
        "cpus_per_task": launcher["cpus_per_task"] or devices * trainer.threads,
        "gpus_per_node": launcher["gpus_per_node"] or (devices if on_gpus else None),
    }


def options(values: dict[str, Any]) -> list[str]:
    """Resources and launcher settings as options of `sbatch` and `srun`."""
    names = {
        "nodes": "nodes",
        "tasks_per_node": "ntasks-per-node",
        "cpus_per_task": "cpus-per-task",
        "gpus_per_node": "gpus-per-node",
        "mem_gb": "mem",
        "timeout_min": "time",
        "partition": "partition",
        "account": "account",
        "qos": "qos",
        "constraint": "constraint",
        "gres": "gres",
        "exclude": "exclude",
    }
    present = {option: values[key] for key, option in names.items() if values.get(key) is not None}
    return [f"--{option}={value}{'G' if option == 'mem' else ''}" for option, value in present.items()]
