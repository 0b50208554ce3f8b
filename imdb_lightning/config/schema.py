"""All that a run can be told: typed settings with their defaults and ranges, and what does not go together.

A setting has its type, default, range and meaning here, in one place; a file of `conf/` says only what its option is
about. The classes double as Hydra's schema (OmegaConf refuses unknown keys and wrong types by them) and check what a
caller from Python passes. Every refusal is a `UserError` that names the dotted key.

OmegaConf knows no `Literal`, so a choice is a `str` that `__post_init__` holds against a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf

from imdb_lightning.config.data import DATA_SCHEMAS, DataConfig
from imdb_lightning.config.errors import (
    MAX_SEED,
    MAX_SIZE,
    UserError,
    check_choice,
    check_real,
    check_targets,
    check_whole,
)

ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu")
LOSSES = ("bce", "mse")
OPTIMIZERS = ("adam", "rmsprop", "sgd")
SCHEDULES = ("constant", "cosine", "linear")
ACCELERATORS = ("cpu", "gpu")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
MAX_THREADS = 1024
MONITORS = {"val/loss": "min", "val/accuracy": "max"}


@dataclass(kw_only=True, slots=True)
class ModelConfig:
    """The network, its objective and its optimizer (`conf/model`)."""

    name: str
    """Names the run's folder and its rows in tables."""
    hidden_units: list[int]
    """Units of each hidden layer, first to last; at least one layer, each from 1 to 2**31 - 1."""
    activation: str
    """After each hidden layer: one of `ACTIVATIONS`."""
    loss: str
    """`bce`: binary cross-entropy; `mse`: squared error of the probability."""
    l2: float = 0.0
    """Penalty `l2 * sum(w ** 2)` on each hidden kernel, at least 0; part of every reported loss."""
    dropout: float = 0.0
    """Share of hidden activations set to zero in training, from 0 to below 1."""
    optimizer: str = "adam"
    """One of `OPTIMIZERS`, with Keras's settings."""
    learning_rate: float = 1e-3
    """Step size, above 0."""
    schedule: str = "constant"
    """How the step size goes on after warm-up: one of `SCHEDULES`; `cosine` and `linear` end at 0."""
    warmup_epochs: float = 0.0
    """Epochs over which the step size rises from 0, step by step; at least 0."""

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise UserError("model.name", "a name without '/'", repr(self.name), "It becomes a folder's name.")
        units = self.hidden_units if isinstance(self.hidden_units, Sequence) else []
        if not units or not all(isinstance(count, int) and 1 <= count <= MAX_SIZE for count in units):
            raise UserError(
                "model.hidden_units", f"a list of whole numbers, each from 1 to {MAX_SIZE}", self.hidden_units,
                "Try model.hidden_units=[16].",
            )  # fmt: skip
        check_choice("model.activation", self.activation, ACTIVATIONS)
        check_choice("model.loss", self.loss, LOSSES)
        check_real("model.l2", self.l2, "a number, at least 0", self.l2 >= 0, 0.001)
        check_real("model.dropout", self.dropout, "a number from 0 to below 1", 0 <= self.dropout < 1, 0.5)
        check_choice("model.optimizer", self.optimizer, OPTIMIZERS)
        check_real("model.learning_rate", self.learning_rate, "a number above 0", self.learning_rate > 0, 1e-3)
        check_choice("model.schedule", self.schedule, SCHEDULES)
        check_real("model.warmup_epochs", self.warmup_epochs, "a number, at least 0", self.warmup_epochs >= 0, 1)


@dataclass(kw_only=True, slots=True)
class TrainerConfig:
    """Where and how long (`conf/trainer`)."""

    accelerator: str = "cpu"
    """`cpu` or `gpu`."""
    devices: int = 1
    """Processes on each machine, one per device; -1: as many as it has GPUs."""
    num_nodes: int = 1
    """Machines, at least 1."""
    node_rank: int | None = None
    """Which of several machines this is, from 0; null: there is only one."""
    rendezvous: str | None = None
    """Where several machines meet, `host:port` of the first; null: there is only one."""
    max_restarts: int = 0
    """How often killed or crashed processes are started again, at least 0."""
    precision: str = "32-true"
    """`32-true`, `bf16-mixed` or `16-mixed`; the last on a GPU only."""
    deterministic: bool = True
    """Refuse operations whose result may differ from run to run."""
    threads: int = 1
    """CPU threads of each process, from 1 to 1,024; bits may differ between different numbers of them."""
    max_epochs: int = 20
    """Epochs at most, at least 1."""
    flags: dict[str, Any] = field(default_factory=dict)
    """Anything else that `pytorch_lightning.Trainer` takes."""

    def __post_init__(self) -> None:
        check_choice("trainer.accelerator", self.accelerator, ACCELERATORS)
        if self.devices == 0 or self.devices < -1 or (self.devices == -1 and self.accelerator == "cpu"):
            accepted = "a whole number, at least 1, or on GPUs -1 for all of them"
            raise UserError("trainer.devices", accepted, self.devices, "Try trainer.devices=1.")
        check_whole("trainer.num_nodes", self.num_nodes, 1, 1)
        if self.node_rank is not None:
            check_whole("trainer.node_rank", self.node_rank, 0, 0, self.num_nodes - 1)
        if self.rendezvous is not None and not self.rendezvous.rpartition(":")[2].isdigit():
            raise UserError(
                "trainer.rendezvous", "host:port", repr(self.rendezvous), "Try trainer.rendezvous=node1:29400."
            )
        check_whole("trainer.max_restarts", self.max_restarts, 0, 2)
        check_choice("trainer.precision", self.precision, PRECISIONS)
        check_whole("trainer.threads", self.threads, 1, 1, MAX_THREADS)
        check_whole("trainer.max_epochs", self.max_epochs, 1, 20)
        if self.accelerator == "cpu" and self.precision == "16-mixed":
            raise UserError(
                "trainer.precision", "32-true or bf16-mixed on a CPU", "'16-mixed'",
                "Half precision needs trainer=gpu; on a CPU try trainer.precision=bf16-mixed.",
            )  # fmt: skip


@dataclass(kw_only=True, slots=True)
class CallbacksConfig:
    """When to stop, and which weights to keep (`conf/callbacks`)."""

    monitor: str = "val/loss"
    """What tells how good an epoch was: a key of `MONITORS`."""
    mode: str = "min"
    """`min` where less is better (`val/loss`), `max` where more is (`val/accuracy`)."""
    patience: int | None = None
    """Stop after so many epochs without a better value, at least 1; null: never stop early."""
    restore_best: bool = False
    """Test the best epoch's weights instead of the last one's."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Any Lightning callbacks by name, each a mapping with the class as `_target_`, and its arguments."""

    def __post_init__(self) -> None:
        check_choice("callbacks.monitor", self.monitor, tuple(MONITORS))
        check_choice("callbacks.mode", self.mode, (MONITORS[self.monitor],))
        if self.patience is not None:
            check_whole("callbacks.patience", self.patience, 1, 2)
        check_targets("callbacks.extra", self.extra)


@dataclass(kw_only=True, slots=True)
class CheckpointConfig:
    """When the state is saved besides the end of each epoch (`checkpoint` in `conf/config.yaml`)."""

    every_n_steps: int | None = None
    """After every so many steps, at least 1; null: not."""
    every_minutes: float | None = None
    """After so many minutes, above 0; null: not."""

    def __post_init__(self) -> None:
        if self.every_n_steps is not None:
            check_whole("checkpoint.every_n_steps", self.every_n_steps, 1, 100)
        if self.every_minutes is not None:
            check_real("checkpoint.every_minutes", self.every_minutes, "a number above 0", self.every_minutes > 0, 5)


@dataclass(kw_only=True, slots=True)
class Config:
    """All settings of one run."""

    name: str
    """Names the run in tables and in a sweep's folders."""
    seed: int = 0
    """Of weights, order of reviews and dropout: from 0 to 2**32 - 1."""
    keep: bool = True
    """False: the run's folder is removed in the end."""
    model: ModelConfig
    data: DataConfig
    trainer: TrainerConfig
    callbacks: CallbacksConfig
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    logger: dict[str, Any] = field(default_factory=dict)
    """Lightning loggers by name, each a mapping with the class as `_target_`, and its arguments."""

    def __post_init__(self) -> None:
        check_targets("logger", self.logger)
        check_whole("seed", self.seed, 0, 0, MAX_SEED)
        if not self.name or "/" in self.name:
            raise UserError("name", "a name without '/'", repr(self.name), "It becomes part of a folder's name.")
        processes = self.trainer.devices * self.trainer.num_nodes
        if processes > self.data.batch_size:
            raise UserError(
                "data.batch_size", f"at least one review for each of the {processes} processes", self.data.batch_size,
                "Raise it, or lower trainer.devices or trainer.num_nodes.",
            )  # fmt: skip


def parse(values: DictConfig) -> Config:
    """Turns composed or saved values into checked settings.

    Args:
        values: the run's settings; interpolations are resolved here.

    Raises:
        UserError: a value is out of range, or two do not go together.
        omegaconf.errors.OmegaConfBaseException: a key is missing or unknown, or its value of another type.
    """
    plain = OmegaConf.to_container(values, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict), "the settings are a mapping"
    schema = OmegaConf.structured(Config)
    schema.data = OmegaConf.structured(DATA_SCHEMAS[plain["data"]["source"]])
    config = OmegaConf.to_object(OmegaConf.merge(schema, plain))
    assert isinstance(config, Config)
    return config


def flatten(values: object, prefix: str = "") -> dict[str, object]:
    """Nested settings by dotted key; a list is one value, an empty mapping is the value of its own key.

    Example:
        >>> flatten({"model": {"hidden_units": [16], "l2": 0.0}, "logger": {}})
        {'model.hidden_units': [16], 'model.l2': 0.0, 'logger': {}}
    """
    if not isinstance(values, dict) or not values:
        return {prefix.rstrip("."): values}
    return {key: value for name, nested in values.items() for key, value in flatten(nested, f"{prefix}{name}.").items()}
