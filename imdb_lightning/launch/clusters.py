"""What has to be true before a sweep goes to a launcher of Hydra's: each check says what is wrong in plain words."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import Config
from imdb_lightning.launch import slurm

PLUGINS = {"slurm": "hydra_submitit_launcher", "ray": "hydra_ray_launcher", "joblib": "hydra_joblib_launcher"}
"""The plug-in of each launcher, which the extra of the same name installs."""
ELSEWHERE = ("slurm", "ray")
"""Launchers whose jobs may run on other machines, so that this one's devices do not matter."""
_PROBE_MISSING_STATUS = 77
"""Exit status of the probe when the shared file is not there; none of the shell's own."""
_SLURM_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Launcher:
    """How the jobs of a sweep are started.

    Attributes:
        name: as in `hydra/launcher=name`.
        settings: `hydra.launcher`.
    """

    name: str
    settings: dict[str, Any]


def find_plugin(name: str) -> None:
    """Refuses a launcher whose plug-in is not installed.

    Raises:
        UserError: it is not.
    """
    if name in PLUGINS and importlib.util.find_spec(f"hydra_plugins.{PLUGINS[name]}") is None:
        accepted = f"the plug-in {PLUGINS[name].replace('_', '-')}"
        raise UserError(f"hydra/launcher={name}", accepted, "none installed", f"pip install 'imdb-lightning[{name}]'")


def lock_ray(launcher: Launcher) -> None:
    """Gives a Ray that is started here a password of its own, before Ray is imported.

    Ray listens on all addresses and runs what it is sent. With a token (documentation of Ray 2.52, "token
    authentication") it answers those alone who know it: the processes that it starts, which inherit these variables.
    A cluster that was there before, and a mode that the user has chosen, stay as they are.
    """
    if launcher.settings["ray"]["init"].get("address") is None and "RAY_AUTH_MODE" not in os.environ:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


Check = Callable[[], "str | None"]
"""Raises a `UserError` when something is wrong, and returns what it could not find out."""


def checks(launcher: Launcher, configs: Sequence[Config], folder: Path) -> dict[str, Check]:
    """The checks of a sweep, by what they look at, in their order.

    Args:
        launcher: of the sweep.
        configs: of its jobs.
        folder: where it writes.
    """
    if launcher.name == "ray":
        return {"GPUs": lambda: _check_ray_gpus(launcher.settings, configs)}
    if launcher.name != "slurm":
        return {}
    needs = [slurm.resources(config.trainer, launcher.settings) for config in configs]
    distinct = [need for number, need in enumerate(needs) if need not in needs[:number]]
    requests = [slurm.options(launcher.settings | need) for need in distinct]
    place = {key: launcher.settings[key] for key in ("partition", "account", "qos", "constraint")}
    nodes = max(need["nodes"] for need in needs)
    return {
        "requeue": lambda: _check_requeue(launcher.settings),
        "sbatch": _check_sbatch,
        "request": lambda: _check_requests(requests),
        "shared folder": lambda: _check_shared(folder, slurm.options({"nodes": nodes, **place})),
    }


def _check_ray_gpus(settings: dict[str, Any], configs: Sequence[Config]) -> None:
    given = settings["ray"]["remote"].get("num_gpus", 0)
    needed = max(abs(config.trainer.devices) if config.trainer.accelerator == "gpu" else 0 for config in configs)
    if given < needed:
        remedy = "Ray gives a job no GPU that it did not ask for."
        raise UserError("hydra.launcher.ray.remote.num_gpus", f"at least {needed}, as trainer.devices", given, remedy)


def _check_requeue(settings: dict[str, Any]) -> None:
    # submitit counts a preemption as a time-out in the last ten minutes of a job, which here are all of them.
    if settings["timeout_min"] <= 10 and settings["max_num_timeout"] < 1:
        raise UserError(
            "hydra.launcher.max_num_timeout", "at least 1 when hydra.launcher.timeout_min is 10 or less",
            settings["max_num_timeout"], "Otherwise a job that is preempted would not be run again.",
        )  # fmt: skip


def _check_sbatch() -> None:
    if shutil.which("sbatch") is None:
        raise UserError("hydra/launcher=slurm", "the command sbatch", "none on the PATH", "Submit from a login node.")
    answer = _ask("sinfo", "--noheader")
    if answer.returncode:
        raise UserError("hydra/launcher=slurm", "a Slurm that answers", _output(answer), "Try sinfo.")


def _check_requests(requests: list[list[str]]) -> None:
    for request in requests:
        answer = _ask("sbatch", "--test-only", *request, "--wrap=true")
        if answer.returncode:
            remedy = "See sinfo; the keys are hydra.launcher.*, trainer.num_nodes, trainer.devices and trainer.threads."
            raise UserError("hydra/launcher=slurm", "a request that Slurm can grant", _output(answer), remedy)


def _check_shared(folder: Path, request: list[str]) -> str | None:
    """Looks for a file from as many machines as a job needs, if they are free at once."""
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
    with tempfile.NamedTemporaryFile(dir=existing, prefix=".imdb_lightning-") as probe:
        look = f"test -e '{probe.name}' || exit {_PROBE_MISSING_STATUS}"
        answer = _ask(
            "srun", "--quiet", "--immediate=10", "--time=1", "--ntasks-per-node=1", "--chdir=/", *request,
            "sh", "-c", look,
        )  # fmt: skip
    if answer.returncode == _PROBE_MISSING_STATUS:
        raise UserError(
            "hydra.sweep.dir", "a folder that all machines of the cluster share", existing,
            "Name one on a shared disk.",
        )  # fmt: skip
    return f"not looked at: {_output(answer)}" if answer.returncode else None


def _ask(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SLURM_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer in {_SLURM_TIMEOUT_SECONDS} seconds")
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"no {command[0]} on the PATH")


def _output(answer: subprocess.CompletedProcess[str]) -> str:
    return " ".join((answer.stderr or answer.stdout).split())
