"""What Slurm says of the job step that this process is a task of, and what a job asks Slurm for.

Source of the variables and options: the manual pages srun(1) and sbatch(1), tried with Slurm 22.05.
"""

import os
import subprocess
from typing import Any, NamedTuple

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import TrainerConfig

# Below the ports that Linux gives out by itself, which begin at 32,768.
_FIRST_PORT, _PORTS = 10_000, 20_000
# Settings of a launcher or of a job, and the options of sbatch and srun for them.
_OPTIONS = {
    "nodes": "nodes", "tasks_per_node": "ntasks-per-node", "cpus_per_task": "cpus-per-task",
    "gpus_per_node": "gpus-per-node", "mem_gb": "mem", "timeout_min": "time", "partition": "partition",
    "account": "account", "qos": "qos", "constraint": "constraint", "gres": "gres", "exclude": "exclude",
}  # fmt: skip


class Step(NamedTuple):
    """A step of a job, as started by `srun`."""

    job: int
    step: int  # From 0 in each job; the same again when the job is requeued.
    nodes: int
    tasks: int  # Processes that srun has started on all nodes.
    nodelist: str  # Names of the nodes, in Slurm's short form.
    node: str  # Name of this one.

    def rendezvous(self) -> str:
        """Where the machines meet: `host:port` of the first, with a port drawn from the numbers of job and step."""
        command = ["scontrol", "show", "hostnames", self.nodelist]
        first = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
        # Each machine works it out for itself, so it cannot be a port that one of them found free.
        return f"{first}:{_FIRST_PORT + (8 * self.job + self.step) % _PORTS}"


def current_step() -> Step | None:
    """The step that this process belongs to; None outside Slurm, and in the batch script itself."""
    if "SLURM_STEP_NUM_NODES" not in os.environ:
        return None
    names = ("JOB_ID", "STEP_ID", "STEP_NUM_NODES", "STEP_NUM_TASKS")
    job, step, nodes, tasks = (int(os.environ[f"SLURM_{name}"]) for name in names)
    return Step(job, step, nodes, tasks, os.environ["SLURM_STEP_NODELIST"], os.environ["SLURMD_NODENAME"])


def is_queued(job: str) -> bool:
    """Whether Slurm knows a job, as `12` or `12_3`: one that waits, runs, or has ended a moment ago."""
    command = ["squeue", "--noheader", f"--jobs={job}"]
    return bool(subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip())


def resources(trainer: TrainerConfig, launcher: dict[str, Any]) -> dict[str, Any]:
    """What a job asks for, in submitit's terms: one task a machine, which starts a process for each device.

    Raises:
        UserError: the number of GPUs cannot be known.
    """
    on_gpus, gpus = trainer.accelerator == "gpu", launcher["gpus_per_node"]
    if on_gpus and trainer.devices < 0 and gpus is None:
        remedy = "Say how many GPUs each machine is to give, as in trainer.devices=4."
        raise UserError("trainer.devices", "a number on a cluster, as this machine cannot know it", -1, remedy)
    devices = trainer.devices if trainer.devices > 0 else gpus
    # What hydra.launcher itself names comes first.
    cpus, gpus = launcher["cpus_per_task"] or devices * trainer.threads, gpus or (devices if on_gpus else None)
    return {"nodes": trainer.num_nodes, "tasks_per_node": 1, "cpus_per_task": cpus, "gpus_per_node": gpus}


def options(settings: dict[str, Any]) -> list[str]:
    """Resources and settings of the launcher as options of `sbatch` and `srun`."""
    present = {option: settings[key] for key, option in _OPTIONS.items() if settings.get(key) is not None}
    return [f"--{option}={value}{'G' if option == 'mem' else ''}" for option, value in present.items()]
