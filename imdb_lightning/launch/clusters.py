"""What has to be true before a sweep goes to a launcher of Hydra's: each check says what is wrong in plain words."""

import importlib.util
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import Config
from imdb_lightning.launch import slurm

# The plug-in of each launcher, which the extra of the same name installs.
PLUGINS = {"slurm": "hydra_submitit_launcher", "ray": "hydra_ray_launcher", "joblib": "hydra_joblib_launcher"}
# Launchers whose jobs may run on other machines, so that this one's devices do not matter.
ELSEWHERE = ("slurm", "ray")
# Exit status of the probe when the shared file is not there: none that the shell or srun has for its own failures.
_PROBE_MISSING_STATUS = 77


class Launcher(NamedTuple):
    """How the jobs of a sweep are started."""

    name: str  # As in hydra/launcher=name.
    settings: dict[str, Any]  # hydra.launcher


def check_plugin(name: str) -> None:
    """Refuses a launcher whose plug-in is not installed."""
    if name in PLUGINS and importlib.util.find_spec(f"hydra_plugins.{PLUGINS[name]}") is None:
        accepted = f"the plug-in {PLUGINS[name].replace('_', '-')}"
        raise UserError(f"hydra/launcher={name}", accepted, "none installed", f"pip install 'imdb-lightning[{name}]'")


def lock_ray(launcher: Launcher) -> None:
    """Gives a Ray that is started here a password of its own, before Ray is imported."""
    # Ray listens on all addresses and runs what it is sent. With a token (documentation of Ray 2.52, "token
    # authentication") it answers those alone who know it: the processes that it starts, which inherit these variables.
    if launcher.settings["ray"]["init"].get("address") is None and "RAY_AUTH_MODE" not in os.environ:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


def sweep_checks(launcher: Launcher, configs: list[Config], folder: Path | None) -> dict[str, Callable[[], str | None]]:
    """The checks of a sweep by their subjects: each raises a `UserError`, or returns what it could not find out."""
    settings = launcher.settings
    if folder is not None and launcher.name == "ray":
        return {"GPUs": lambda: _check_ray_gpus(settings, configs)}
    if folder is not None and launcher.name == "local":
        return {"jobs at once": lambda: _check_jobs(settings)}
    if folder is None or launcher.name != "slurm":
        return {}
    # sbatch before those that call Slurm: without it, they would be refused for the wrong reason.
    return {
        "requeue": lambda: _check_requeue(settings),
        "sbatch": _check_sbatch,
        "request": lambda: _check_requests(settings, configs),
        "shared folder": lambda: _check_shared(settings, configs, folder),
    }


def _check_ray_gpus(settings: dict[str, Any], configs: list[Config]) -> None:
    allowed = settings["ray"]["remote"].get("num_gpus", 0)
    needed = max(abs(config.trainer.devices) if config.trainer.accelerator == "gpu" else 0 for config in configs)
    if allowed < needed:
        remedy = "Ray gives a job no GPU that it did not ask for."
        raise UserError("hydra.launcher.ray.remote.num_gpus", f"at least {needed}, as trainer.devices", allowed, remedy)


def _check_jobs(settings: dict[str, Any]) -> None:
    jobs = settings["n_jobs"]
    if jobs is not None and (type(jobs) is not int or jobs < 1):
        accepted = "a whole number, at least 1, or null for as many as this machine has cores or GPUs for"
        raise UserError("hydra.launcher.n_jobs", accepted, repr(jobs), "Try hydra.launcher.n_jobs=2.")
    if not hasattr(os, "fork"):
        raise UserError("hydra/launcher=local", "a system with fork", os.name, "Use hydra/launcher=joblib.")


def _check_requeue(settings: dict[str, Any]) -> None:
    # submitit counts a preemption as a time-out in the last ten minutes of a job, which here are all of them.
    if settings["timeout_min"] <= 10 and (retries := settings["max_num_timeout"]) < 1:
        accepted = "at least 1 when hydra.launcher.timeout_min is 10 or less"
        remedy = "Otherwise a job that is preempted would not be run again."
        raise UserError("hydra.launcher.max_num_timeout", accepted, retries, remedy)


def _check_sbatch() -> None:
    if shutil.which("sbatch") is None:
        raise UserError("hydra/launcher=slurm", "the command sbatch", "none on the PATH", "Submit from a login node.")
    status, output = _run("sinfo", "--noheader")
    if status:
        raise UserError("hydra/launcher=slurm", "a Slurm that answers", output, "Try sinfo.")


def _check_requests(settings: dict[str, Any], configs: list[Config]) -> None:
    # Each distinct request once: a sweep has many jobs with the same needs.
    requests = [tuple(slurm.options(settings | slurm.resources(config.trainer, settings))) for config in configs]
    for request in dict.fromkeys(requests):
        status, output = _run("sbatch", "--test-only", *request, "--wrap=true")
        if status:
            remedy = "See sinfo; the keys are hydra.launcher.*, trainer.num_nodes, trainer.devices and trainer.threads."
            raise UserError("hydra/launcher=slurm", "a request that Slurm can grant", output, remedy)


def _check_shared(settings: dict[str, Any], configs: list[Config], folder: Path) -> str | None:
    """Looks for a file from as many machines as a job needs, if they are free at once."""
    request = {key: settings[key] for key in ("partition", "account", "qos", "constraint")}
    request |= {"nodes": max(config.trainer.num_nodes for config in configs)}
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
    with tempfile.NamedTemporaryFile(dir=existing, prefix=".imdb_lightning-") as probe:
        srun = ["srun", "--quiet", "--immediate=10", "--time=1", "--ntasks-per-node=1", "--chdir=/"]
        look = f"test -e '{probe.name}' || exit {_PROBE_MISSING_STATUS}"
        status, output = _run(*srun, *slurm.options(request), "sh", "-c", look)
    if status == _PROBE_MISSING_STATUS:
        accepted, remedy = "a folder that all machines of the cluster share", "Name one on a shared disk."
        raise UserError("hydra.sweep.dir", accepted, existing, remedy)
    return f"not looked at: {output}" if status else None


def _run(*command: str) -> tuple[int, str]:
    """Exit status and output of a command of Slurm, in one line."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired as expired:
        return 1, f"no answer in {expired.timeout} seconds"
    except FileNotFoundError:
        return 127, f"no {command[0]} on the PATH"
    return answer.returncode, " ".join((answer.stderr or answer.stdout).split())
