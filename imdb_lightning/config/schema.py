"""All that a run can be told: typed settings with their defaults and ranges, and what does not go together.

A setting has its type, default, range and meaning here, in one place; a file of `conf/` says only what its option is
about. The classes double as Hydra's schema (OmegaConf refuses unknown keys and wrong types by them) and check what a
caller from Python passes. Every refusal is a `UserError` that names the dotted key.
"""

# Field types as text, which is how messages show them.
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from omegaconf import DictConfig, OmegaConf

from imdb_lightning.config.data import DATA_SCHEMAS, DataConfig
from imdb_lightning.config.errors import UserError
from imdb_lightning.config.ranges import MAX_SEED, MAX_SIZE, Section, choice, file_name, real, whole
from imdb_lightning.config.shown import hidden, is_secret, remember

ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu")
LOSSES = ("bce", "mse")
OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")
WEIGHTINGS = ("none", "naive_bayes", "tfidf")
SCHEDULES = ("constant", "cosine", "linear")
# What can tell how good an epoch was, and whether less or more of it is better.
MONITORS = {"val/loss": "min", "val/accuracy": "max"}


@dataclass(kw_only=True, slots=True)
class ModelConfig(Section):
    """The network, its objective and its optimizer (`conf/model`)."""

    section: ClassVar[str] = "model."

    name: str = file_name()  # Names the run's folder and its rows in tables.
    hidden_units: list[int]  # Units of each hidden layer, first to last, each from 1 to 2**31 - 1; []: a linear model.
    activation: str = choice(ACTIVATIONS)  # After each hidden layer.
    loss: str = choice(LOSSES)  # `bce`: binary cross-entropy; `mse`: squared error of the probability.
    # Penalty `l2 * sum(w ** 2)` on each hidden kernel; part of every reported loss.
    l2: float = real(0.0, "a number, at least 0", lambda l2: l2 >= 0)
    # Share of hidden activations set to zero in training.
    dropout: float = real(0.0, "a number from 0 to below 1", lambda share: 0 <= share < 1, 0.5)
    # Of columns, from the training reviews: `naive_bayes`: log ratio of their shares in positive and in negative ones
    # (Wang and Manning, 2012); `tfidf`: larger for rarer ones.
    feature_weighting: str = choice(WEIGHTINGS, "none")
    # Length that each review's weights are scaled to; null: they are not.
    normalize: float | None = real(None, "a number above 0, or null", lambda length: length > 0, 10.0)
    # Share of a label in training that goes to both classes alike.
    label_smoothing: float = real(0.0, "a number from 0 to below 1", lambda share: 0 <= share < 1, 0.1)
    optimizer: str = choice(OPTIMIZERS, "adam")  # With Keras's settings; `adamw` with torch's.
    # What `adamw` takes off each weight in a step, times the step size.
    weight_decay: float = real(0.0, "a number, at least 0", lambda decay: decay >= 0, 0.01)
    learning_rate: float = real(1e-3, "a number above 0", lambda rate: rate > 0)  # Step size.
    # How the step size goes on after warm-up; `cosine` and `linear` end at 0.
    schedule: str = choice(SCHEDULES, "constant")
    # Epochs over which the step size rises from 0, step by step.
    warmup_epochs: float = real(0.0, "a number, at least 0", lambda epochs: epochs >= 0)

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        units = self.hidden_units if isinstance(self.hidden_units, Sequence) else [0]
        if not all(isinstance(count, int) and 1 <= count <= MAX_SIZE for count in units):
            accepted = f"a list of whole numbers, each from 1 to {MAX_SIZE}"
            raise UserError("model.hidden_units", accepted, self.hidden_units, "Try 'model.hidden_units=[16]'.")
        for key in ("l2", "dropout"):
            if not units and getattr(self, key):
                remedy = "For a linear model, try model.optimizer=adamw model.weight_decay=0.01."
                raise UserError(f"model.{key}", "0 without hidden layers", getattr(self, key), remedy)
        if self.weight_decay and self.optimizer != "adamw":
            remedy = "Add model.optimizer=adamw, or use model.l2."
            raise UserError("model.weight_decay", f"0 with {self.optimizer}", self.weight_decay, remedy)
        # A plain list: with one of OmegaConf's a checkpoint could not be read back with weights_only.
        self.hidden_units = [*units]


@dataclass(kw_only=True, slots=True)
class TrainerConfig(Section):
    """Where and how long (`conf/trainer`)."""

    section: ClassVar[str] = "trainer."

    accelerator: str = choice(("cpu", "gpu"), "cpu")  # What it computes on.
    devices: int = 1  # Processes on each machine, one per device; -1: as many as it has GPUs.
    num_nodes: int = whole(1, 1)  # Machines.
    node_rank: int | None = None  # Which of several machines this is, from 0; null: there is only one.
    rendezvous: str | None = None  # Where several machines meet, `host:port` of the first; null: there is only one.
    max_restarts: int = whole(0, 0, example=2)  # How often killed or crashed processes are started again.
    # Of activations and gradients; `16-mixed` on a GPU only.
    precision: str = choice(("32-true", "bf16-mixed", "16-mixed"), "32-true")
    deterministic: bool = True  # Refuse operations whose result may differ from run to run.
    threads: int = whole(1, 1, 1024)  # CPU threads of each process; bits may differ between different numbers of them.
    max_epochs: int = whole(20, 1)  # Epochs at most; raised for a run in the same folder, it trains on.
    # Parts of each batch, so that 1 to so many processes give the same bits; null: parts follow from the processes.
    shards: int | None = whole(None, 1, example=12)
    flags: dict[str, Any] = field(default_factory=dict)  # Anything else that `pytorch_lightning.Trainer` takes.

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        if self.devices == 0 or self.devices < -1 or (self.devices == -1 and self.accelerator == "cpu"):
            accepted = "a whole number, at least 1, or on GPUs -1 for all of them"
            raise UserError("trainer.devices", accepted, self.devices, "Try trainer.devices=1.")
        if self.node_rank is not None and not 0 <= self.node_rank < self.num_nodes:
            accepted, remedy = f"a whole number from 0 to {self.num_nodes - 1}", "Raise trainer.num_nodes or lower it."
            raise UserError("trainer.node_rank", accepted, self.node_rank, remedy)
        if self.rendezvous is not None and not self.rendezvous.rpartition(":")[2].isdigit():
            remedy = "Try trainer.rendezvous=node1:29400."
            raise UserError("trainer.rendezvous", "host:port", repr(self.rendezvous), remedy)
        if self.accelerator == "cpu" and self.precision == "16-mixed":
            remedy = "Half precision needs trainer=gpu; on a CPU try trainer.precision=bf16-mixed."
            raise UserError("trainer.precision", "32-true or bf16-mixed on a CPU", "'16-mixed'", remedy)


@dataclass(kw_only=True, slots=True)
class CallbacksConfig(Section):
    """When to stop, and which weights to keep (`conf/callbacks`)."""

    section: ClassVar[str] = "callbacks."

    # What tells how good an epoch was: the least loss, or the most accuracy.
    monitor: str = choice(tuple(MONITORS), "val/loss")
    # Stop after so many epochs without a better value; null: never stop early.
    patience: int | None = whole(None, 1, example=2)
    restore_best: bool = False  # Test the best epoch's weights instead of the last one's.
    # Stop after the second epoch when the best monitored value so far is worse than the first of these, after the third
    # when it is worse than the second, and so on; null: never. A search sets it (`hydra.sweeper.pruning`).
    stop_behind: list[float] | None = None
    # Any Lightning callbacks by name, each a mapping with the class as `_target_`, and its arguments.
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        _check_targets("callbacks.extra", self.extra)


@dataclass(kw_only=True, slots=True)
class CheckpointConfig(Section):
    """When the state is saved besides the end of each epoch (`checkpoint` in `conf/config.yaml`)."""

    section: ClassVar[str] = "checkpoint."

    every_n_steps: int | None = whole(None, 1, example=100)  # After every so many steps; null: not.
    # After so many minutes; null: not.
    every_minutes: float | None = real(None, "a number above 0", lambda minutes: minutes > 0, 5)


@dataclass(kw_only=True, slots=True)
class Config(Section):
    """All settings of one run."""

    name: str = file_name()  # Names the run in tables and in a sweep's folders.
    seed: int = whole(0, 0, MAX_SEED)  # Of weights, order of reviews and dropout.
    keep: bool = True  # False: the run's folder is removed in the end.
    # Afterwards, train anew on training and validation reviews together, for as many epochs, and test that, too.
    refit: bool = False
    model: ModelConfig
    data: DataConfig
    trainer: TrainerConfig
    callbacks: CallbacksConfig
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    # Lightning loggers by name, each a mapping with the class as `_target_`, and its arguments.
    logger: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        remember([self.logger, self.callbacks.extra, self.trainer.flags])
        _check_targets("logger", self.logger)
        processes = self.trainer.devices * self.trainer.num_nodes
        if processes > self.data.batch_size:
            accepted = f"at least one review for each of the {processes} processes"
            remedy = "Raise it, or lower trainer.devices or trainer.num_nodes."
            raise UserError("data.batch_size", accepted, self.data.batch_size, remedy)
        if self.data.with_validation and (self.callbacks.patience is not None or self.callbacks.restore_best):
            remedy = "Use callbacks=none and trainer.max_epochs, or refit=true, which finds the number of epochs first."
            raise UserError("data.with_validation", "false with callbacks that choose by validation", "true", remedy)
        if self.trainer.shards is not None:
            self._check_shards(self.trainer.shards, processes)

    def _check_shards(self, shards: int, processes: int) -> None:
        """Refuses what cannot have the same bits for any number of processes."""
        if not processes <= shards <= self.data.batch_size:
            least, most = max(processes, 1), self.data.batch_size
            accepted = f"a number from {least}, one part for each process, to the {most} reviews of data.batch_size"
            raise UserError("trainer.shards", accepted, shards, f"Try trainer.shards={max(least, min(12, most))}.")
        if not self.trainer.deterministic:
            remedy = "Leave it true, or say trainer.shards=null."
            raise UserError("trainer.deterministic", "true with trainer.shards", False, remedy)
        if self.data.layout != "sparse":
            remedy = "Leave it sparse, or say trainer.shards=null."
            raise UserError("data.layout", "sparse with trainer.shards", repr(self.data.layout), remedy)


@dataclass(kw_only=True, slots=True)
class SearchConfig(Section):
    """How a search over settings goes on (`conf/hydra/sweeper/optuna.yaml`)."""

    section: ClassVar[str] = "hydra.sweeper."

    _target_: str = "hydra_plugins.imdb_lightning.OptunaSweeper"
    n_trials: int = whole(20, 1)  # Trials in all; raised for a search in the same folder, it goes on.
    # Trials at once, proposed without the results of each other; null: as many as the launcher runs on this machine.
    n_jobs: int | None = whole(None, 1, example=2)
    seed: int = whole(0, 0, MAX_SEED)  # Of what is proposed.
    # Stop a trial after an epoch by whose end it is worse than half of the finished ones were.
    pruning: bool = True


def _check_targets(key: str, settings: dict[str, Any]) -> None:
    """Refuses a mapping of names to objects to be made unless each names its class."""
    for name, value in settings.items():
        if not isinstance(value, dict) or not isinstance(value.get("_target_"), str):
            accepted, remedy = "a mapping with a class as _target_", f"Say {key}.{name}._target_=package.module.Class."
            raise UserError(f"{key}.{name}", accepted, repr(hidden(value, is_secret(name))), remedy)


def parse(values: DictConfig) -> Config:
    """Turns composed or saved values into checked settings; resolves interpolations.

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
