"""From settings to a `pytorch_lightning.Trainer`."""

import dataclasses
import inspect
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch.distributed as dist
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import TrainerConfig
from imdb_lightning.runs.log import JOB
from imdb_lightning.training.callbacks import EpochBar
from imdb_lightning.training.checkpoint_file import AtomicCheckpointIO

_IGNORED_WARNINGS = (
    # Lightning's own code calls what torch 2.13 deprecates, at every start; nothing that a user could mend.
    (r".*LeafSpec.*is deprecated", FutureWarning),
    # What we log has been reduced over ranks already: a mean over them on top could only round it.
    (r"It is recommended to use `self\.log\(.*sync_dist=True\)`", UserWarning),
    # We use `srun` where it is wanted; on a login node it is there and not wanted.
    (r"The `srun` command is available", UserWarning),
)
# What decides a flag that is not a setting of the same name.
_ELSEWHERE = {
    "callbacks": "callbacks.extra.NAME._target_=...",
    "logger": "logger.NAME._target_=...",
    "default_root_dir": "hydra.run.dir",
    "strategy": "trainer=cpu, gpu, ddp_cpu or ddp",
}


class _SameGradients(DDPStrategy):
    """For shards, which give every process the gradients of all: a mean over processes could only round them."""

    def configure_ddp(self) -> None:
        """Leaves the module as it is, where Lightning would wrap it in a `DistributedDataParallel`."""


def build_trainer(
    config: TrainerConfig, folder: Path, callbacks: Sequence[pl.Callback], loggers: Sequence[Logger], gpu: int = 0
) -> pl.Trainer:
    """The trainer that the settings ask for, for this process: alone, on GPU `gpu`, or one of several under torchrun.

    On a terminal a progress bar is added if there is none among the callbacks, unless other jobs share the terminal.

    Raises:
        UserError: a flag is unknown, or it is set elsewhere.
    """
    for message, category in _IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message=message, category=category)
    shows_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
    if sys.stderr.isatty() and JOB not in os.environ and not shows_bar:
        callbacks, shows_bar = [*callbacks, EpochBar()], True
    fixed: dict[str, Any] = {
        "accelerator": config.accelerator,
        "precision": config.precision,
        "deterministic": config.deterministic,
        "max_epochs": config.max_epochs,
        "callbacks": list(callbacks),
        # Our data is cut for the ranks already, and our callbacks do what these would.
        "use_distributed_sampler": False,
        "logger": list(loggers) or False,
        "default_root_dir": folder,
        "enable_progress_bar": shows_bar,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    if dist.is_torchelastic_launched():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        strategy = DDPStrategy if config.shards is None else _SameGradients
        fixed |= {
            "devices": devices,
            "num_nodes": int(os.environ["WORLD_SIZE"]) // devices,
            "strategy": strategy(process_group_backend="nccl" if config.accelerator == "gpu" else "gloo"),
            "plugins": [AtomicCheckpointIO(), TorchElasticEnvironment()],
        }
    else:
        fixed |= {
            "devices": [gpu] if config.accelerator == "gpu" else 1,
            "num_nodes": 1,
            "strategy": "auto",
            # Named outright: left alone, Lightning takes any Slurm job for one of its own.
            "plugins": [AtomicCheckpointIO(), LightningEnvironment()],
        }
    if loggers and "log_every_n_steps" not in config.flags:
        fixed["log_every_n_steps"] = 1  # Else an epoch of fewer than 50 steps has no point of a learning rate.
    known = set(inspect.signature(pl.Trainer).parameters)
    keys = {field.name: f"trainer.{field.name}" for field in dataclasses.fields(TrainerConfig)} | _ELSEWHERE
    for name in config.flags:
        if name in fixed:
            remedy = f"Use {keys[name]}." if name in keys else "Remove it: its value is fixed."
            raise UserError(f"trainer.flags.{name}", "a flag that is not set elsewhere", "one that is", remedy)
        if name not in known:
            accepted = "a flag of pytorch_lightning.Trainer: " + ", ".join(sorted(known - set(fixed)))
            raise UserError(f"trainer.flags.{name}", accepted, "an unknown one", "Mend or remove it.")
    return pl.Trainer(**fixed, **config.flags)


def build_targets(key: str, settings: dict[str, Any], kind: type, **defaults: Any) -> list[Any]:
    """Makes the objects of a kind that settings (`key` in messages) name by their classes, as `_target_`.

    `defaults` are arguments for those that take them and whose settings leave them out.

    Raises:
        UserError: a class cannot be found or made, or it is of another kind.
    """
    if not settings:
        return []
    from hydra.errors import HydraException
    from hydra.utils import get_class, instantiate

    made = []
    for name, values in settings.items():
        accepted, remedy = f"the class of a {kind.__name__} and its arguments", "Mend it, or install what it needs."
        try:
            known = inspect.signature(get_class(values["_target_"])).parameters
            arguments = {name: value for name, value in defaults.items() if name in known} | values
            # Plain lists and mappings: those of OmegaConf, kept in a callback's state, could not be read back from a
            # checkpoint with weights_only.
            made.append(instantiate(arguments, _convert_="all"))
        except (HydraException, ImportError, ValueError) as error:
            text = " ".join(str(error.__cause__ or error).split())
            raise UserError(f"{key}.{name}", accepted, text, remedy) from error
        if not isinstance(made[-1], kind):
            raise UserError(f"{key}.{name}", accepted, f"a {type(made[-1]).__name__}", remedy)
    return made
