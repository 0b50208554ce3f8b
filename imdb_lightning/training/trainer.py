"""From settings to a `pytorch_lightning.Trainer`."""

from __future__ import annotations

import dataclasses
import inspect
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch.distributed as dist
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import MONITORS, CallbacksConfig, TrainerConfig
from imdb_lightning.training.checkpoint import AtomicCheckpointIO

# Lightning's own code calls what torch 2.13 deprecates, at every start; nothing that a user could mend.
warnings.filterwarnings("ignore", message=r".*LeafSpec.*is deprecated", category=FutureWarning)
# What we log has been reduced over processes already: a mean over them on top could only round it.
warnings.filterwarnings("ignore", message=r"It is recommended to use `self\.log\(.*sync_dist=True\)`")

# We use `srun` where it is wanted; on a login node it is there and not wanted.
warnings.filterwarnings("ignore", message=r"The `srun` command is available")


def build_trainer(
    config: TrainerConfig, folder: Path, callbacks: Sequence[pl.Callback], loggers: Sequence[Logger], gpu: int = 0
) -> pl.Trainer:
    """The trainer that the settings ask for, for this process: alone, or one of several under torchrun.

    Args:
        config: the settings.
        folder: the run's, where callbacks write that are told no other place.
        callbacks: all of them; Lightning adds none of its own.
        loggers: what else gets the logged metrics besides our own files.
        gpu: which GPU a single process on GPUs uses.

    Raises:
        UserError: a flag is unknown, or it is set elsewhere.
    """
    fixed: dict[str, Any] = {
        "accelerator": config.accelerator,
        "precision": config.precision,
        "deterministic": config.deterministic,
        "max_epochs": config.max_epochs,
        "callbacks": list(callbacks),
        # Our data is cut for the processes already, and our callbacks do what these would.
        "use_distributed_sampler": False,
        "logger": list(loggers) or False,
        "default_root_dir": folder,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        **_processes(config, gpu),
    }
    if loggers and "log_every_n_steps" not in config.flags:
        fixed["log_every_n_steps"] = 1  # Else an epoch of fewer than 50 steps has no point of a learning rate.
    known = set(inspect.signature(pl.Trainer).parameters)
    for name in config.flags:
        if name in fixed:
            raise UserError(
                f"trainer.flags.{name}", "a flag that is not set elsewhere", "one that is", _elsewhere(name)
            )
        if name not in known:
            accepted = "a flag of pytorch_lightning.Trainer: " + ", ".join(sorted(known - set(fixed)))
            raise UserError(f"trainer.flags.{name}", accepted, "an unknown one", "Mend or remove it.")
    return pl.Trainer(**fixed, **config.flags)


def _elsewhere(flag: str) -> str:
    """What to type instead of a flag that something else decides."""
    keys = {field.name: f"trainer.{field.name}" for field in dataclasses.fields(TrainerConfig)} | {
        "callbacks": "callbacks.extra.NAME._target_=...",
        "logger": "logger.NAME._target_=...",
        "default_root_dir": "hydra.run.dir",
        "strategy": "trainer=cpu, gpu, ddp_cpu or ddp",
    }
    return f"Use {keys[flag]}." if flag in keys else "Remove it: its value is fixed."


def build_targets(key: str, settings: dict[str, Any], kind: type, **defaults: Any) -> list[Any]:
    """Makes the objects that settings name by their classes.

    Args:
        key: of the settings, for messages.
        settings: mappings with `_target_` by name, as `hydra.utils.instantiate` takes them.
        kind: what each has to be.
        defaults: arguments for those that take them and whose settings do not say them.

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


def _processes(config: TrainerConfig, gpu: int) -> dict[str, Any]:
    """How many processes there are, and how they talk.

    The environment is named outright: left alone, Lightning takes any Slurm job for one of its own.
    """
    if not dist.is_torchelastic_launched():
        return {
            "devices": [gpu] if config.accelerator == "gpu" else 1,
            "num_nodes": 1,
            "strategy": "auto",
            "plugins": [AtomicCheckpointIO(), LightningEnvironment()],
        }
    devices = int(os.environ["LOCAL_WORLD_SIZE"])
    backend = "nccl" if config.accelerator == "gpu" else "gloo"
    return {
        "devices": devices,
        "num_nodes": int(os.environ["WORLD_SIZE"]) // devices,
        "strategy": DDPStrategy(process_group_backend=backend),
        "plugins": [AtomicCheckpointIO(), TorchElasticEnvironment()],
    }


class _EarlyStopping(EarlyStopping):
    """Lightning's, which forgets in a checkpoint that it has stopped the run and would train one epoch more."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sets `should_stop` again after a resume; Lightning does not restore it."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


def build_early_stopping(config: CallbacksConfig) -> EarlyStopping | None:
    """Lightning's early stopping, or None when the run is to go through all epochs."""
    if config.patience is None:
        return None
    return _EarlyStopping(config.monitor, mode=MONITORS[config.monitor], patience=config.patience, min_delta=0.0)
