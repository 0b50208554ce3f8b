"""From settings to a `pytorch_lightning.Trainer`."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from imdb_lightning.config import CallbacksConfig, TrainerConfig
from imdb_lightning.errors import UserError
from imdb_lightning.results import CHECKPOINTS, LAST_CHECKPOINT

# Lightning's own code calls what torch 2.13 deprecates, at every start; nothing that a user could mend.
warnings.filterwarnings("ignore", message=r".*LeafSpec.*is deprecated", category=FutureWarning)


def build_trainer(config: TrainerConfig, callbacks: Sequence[pl.Callback]) -> pl.Trainer:
    """The trainer that the settings ask for.

    Args:
        config: the settings.
        callbacks: all of them; Lightning adds none of its own.

    Raises:
        UserError: a flag is unknown, or it is set elsewhere.
    """
    ours: dict[str, Any] = {
        "accelerator": config.accelerator,
        "devices": config.devices,
        "precision": config.precision,
        "deterministic": config.deterministic,
        "max_epochs": config.max_epochs,
        "callbacks": list(callbacks),
        # Our data is cut for the processes already, and our callbacks do what these would.
        "use_distributed_sampler": False,
        "logger": False,
        "enable_checkpointing": any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    known = set(inspect.signature(pl.Trainer).parameters)
    for name in config.flags:
        if name in ours:
            where = f"trainer.{name}" if hasattr(config, name) else "the other settings"
            raise UserError(f"trainer.flags.{name}", "a flag that is not set elsewhere", "one that is", f"Use {where}.")
        if name not in known:
            accepted = "a flag of pytorch_lightning.Trainer: " + ", ".join(sorted(known - set(ours)))
            raise UserError(f"trainer.flags.{name}", accepted, "an unknown one", "Mend or remove it.")
    return pl.Trainer(**ours, **config.flags)


def build_early_stopping(config: CallbacksConfig) -> EarlyStopping | None:
    """Lightning's early stopping, or None when the run is to go through all epochs."""
    if config.patience is None:
        return None
    return EarlyStopping(config.monitor, mode=config.mode, patience=config.patience, min_delta=0.0)


def build_checkpoint(folder: Path) -> ModelCheckpoint:
    """Writes `checkpoints/last.ckpt` at the end of every epoch.

    No `monitor`: with one, the file is only written when the best epoch changes (Lightning 2.6).
    """
    return ModelCheckpoint(
        folder / CHECKPOINTS,
        filename=LAST_CHECKPOINT,
        every_n_epochs=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
