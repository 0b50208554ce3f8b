"""What a run can be told: the typed settings, their ranges, and what may not go together.

Types and checks live here, values live in `conf/`, each in one place: no field has a default. The classes
double as Hydra's schema (OmegaConf refuses unknown keys and wrong types by them), and `parse` turns a
composed or saved configuration into checked objects. Every refusal is a `UserError` that names the dotted key.

OmegaConf knows no `Literal`, so a choice is a `str` that `__post_init__` holds against a table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from imdb_lightning.errors import UserError

ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu")
LOSSES = ("bce", "mse")
OPTIMIZERS = ("adam", "rmsprop", "sgd")
LAYOUTS = ("sparse", "dense")
OFFLINE = ("fallback", "error")
ACCELERATORS = ("cpu", "gpu")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
MONITORS = {"val/loss": "min", "val/accuracy": "max"}
MAX_SEED = 2**32 - 1


def _choice(key: str, value: str, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise UserError(key, "one of " + ", ".join(accepted), repr(value), f"Try {key}={accepted[0]}.")


def _whole(key: str, value: int, least: int, example: int, most: int | None = None) -> None:
    if value < least or (most is not None and value > most):
        accepted = f"a whole number, at least {least}" if most is None else f"a whole number from {least} to {most}"
        raise UserError(key, accepted, value, f"Try {key}={example}.")


def _real(key: str, value: float, accepted: str, ok: bool, example: float) -> None:
    if not (ok and math.isfinite(value)):
        raise UserError(key, accepted, value, f"Try {key}={example:g}.")


@dataclass(kw_only=True, slots=True)
class ModelConfig:
    """The network, its objective and its optimizer (`conf/model`)."""

    name: str
    """Names the run's folder and its rows in tables."""
    hidden_units: list[int]
    """Units of each hidden layer, first to last; at least one layer, each at least 1."""
    activation: str
    """After each hidden layer: one of `ACTIVATIONS`."""
    loss: str
    """`bce`: binary cross-entropy; `mse`: squared error of the probability."""
    l2: float
    """Penalty `l2 * sum(w ** 2)` on each hidden kernel, at least 0; part of every reported loss."""
    dropout: float
    """Share of hidden activations set to zero in training, from 0 to below 1."""
    optimizer: str
    """One of `OPTIMIZERS`, with Keras's settings."""
    learning_rate: float
    """Step size, above 0."""

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise UserError("model.name", "a name without '/'", repr(self.name), "It becomes a folder's name.")
        if not self.hidden_units or min(self.hidden_units) < 1:
            raise UserError(
                "model.hidden_units", "a list of whole numbers, each at least 1", list(self.hidden_units),
                "Try model.hidden_units=[16].",
            )  # fmt: skip
        _choice("model.activation", self.activation, ACTIVATIONS)
        _choice("model.loss", self.loss, LOSSES)
        _real("model.l2", self.l2, "a number, at least 0", self.l2 >= 0, 0.001)
        _real("model.dropout", self.dropout, "a number from 0 to below 1", 0 <= self.dropout < 1, 0.5)
        _choice("model.optimizer", self.optimizer, OPTIMIZERS)
        _real("model.learning_rate", self.learning_rate, "a number above 0", self.learning_rate > 0, 1e-3)


@dataclass(kw_only=True, slots=True)
class DataConfig:
    """What every source of reviews has (`conf/data`)."""

    source: str
    """Which kind of data it is: a key of `DATA_SCHEMAS`."""
    cache_dir: str | None
    """Folder for downloads and prepared data; null: the user's cache folder."""
    num_words: int
    """Width of the multi-hot input; ids from this on become id 2. At least 4, as 0 to 3 are reserved."""
    validation_size: int
    """Reviews held out for validation, at least 1."""
    train_size: int | None
    """Train on only the first so many training reviews, at least 1; null: on all."""
    batch_size: int
    """Reviews in a step over all processes together, at least 1."""
    layout: str
    """`sparse`: bags of word ids; `dense`: multi-hot rows, many times slower, equal results."""

    def __post_init__(self) -> None:
        _whole("data.num_words", self.num_words, 4, 10_000)
        _whole("data.validation_size", self.validation_size, 1, 10_000)
        if self.train_size is not None:
            _whole("data.train_size", self.train_size, 1, 15_000)
        _whole("data.batch_size", self.batch_size, 1, 512)
        _choice("data.layout", self.layout, LAYOUTS)


@dataclass(kw_only=True, slots=True)
class IMDBDataConfig(DataConfig):
    """Keras's `imdb.npz`, or what stands in for it offline."""

    path: str | None
    """A local `imdb.npz`; null: the cache, then the download."""
    word_index: str | None
    """A local `imdb_word_index.json`; null: beside the npz, then the cache, then the download."""
    offline: str
    """Without the file and the download: `fallback` to the packaged reviews, or `error`."""

    def __post_init__(self) -> None:
        # Named, not zero-argument, super: slots=True makes a second class, which the latter does not know.
        DataConfig.__post_init__(self)
        _choice("data.offline", self.offline, OFFLINE)


@dataclass(kw_only=True, slots=True)
class SyntheticDataConfig(DataConfig):
    """Generated reviews of any number, for tests and for trying scale."""

    reviews: int
    """Training and validation reviews together, more than `validation_size`."""
    test_size: int
    """Test reviews, at least 1."""
    seed: int
    """Seed of the reviews themselves, so that runs with other seeds see the same data."""

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)
        _whole("data.reviews", self.reviews, 2, 25_000)
        _whole("data.test_size", self.test_size, 1, 25_000)
        _whole("data.seed", self.seed, 0, 0, MAX_SEED)
        if self.validation_size >= self.reviews:
            raise UserError(
                "data.validation_size", f"fewer than the {self.reviews} of data.reviews", self.validation_size,
                "Lower it or raise data.reviews.",
            )  # fmt: skip


@dataclass(kw_only=True, slots=True)
class TrainerConfig:
    """Where and how long (`conf/trainer`)."""

    accelerator: str
    """`cpu` or `gpu`."""
    devices: int
    """Processes on each machine, one per device; -1: as many as it has GPUs."""
    num_nodes: int
    """Machines, at least 1."""
    node_rank: int | None
    """Which of several machines this is, from 0; null: there is only one."""
    rendezvous: str | None
    """Where several machines meet, `host:port` of the first; null: there is only one."""
    max_restarts: int
    """How often killed or crashed processes are started again, at least 0."""
    precision: str
    """`32-true`, `bf16-mixed` or `16-mixed`; the last on a GPU only."""
    deterministic: bool
    """Refuse operations whose result may differ from run to run."""
    threads: int
    """CPU threads of each process, at least 1; bits may differ between different numbers of them."""
    max_epochs: int
    """Epochs at most, at least 1."""
    flags: dict[str, Any]
    """Anything else that `pytorch_lightning.Trainer` takes."""

    def __post_init__(self) -> None:
        _choice("trainer.accelerator", self.accelerator, ACCELERATORS)
        if self.devices == 0 or self.devices < -1 or (self.devices == -1 and self.accelerator == "cpu"):
            accepted = "a whole number, at least 1, or on GPUs -1 for all of them"
            raise UserError("trainer.devices", accepted, self.devices, "Try trainer.devices=1.")
        _whole("trainer.num_nodes", self.num_nodes, 1, 1)
        if self.node_rank is not None:
            _whole("trainer.node_rank", self.node_rank, 0, 0, self.num_nodes - 1)
        if self.rendezvous is not None and not self.rendezvous.rpartition(":")[2].isdigit():
            raise UserError(
                "trainer.rendezvous", "host:port", repr(self.rendezvous), "Try trainer.rendezvous=node1:29400."
            )
        _whole("trainer.max_restarts", self.max_restarts, 0, 2)
        _choice("trainer.precision", self.precision, PRECISIONS)
        _whole("trainer.threads", self.threads, 1, 1)
        _whole("trainer.max_epochs", self.max_epochs, 1, 20)
        if self.accelerator == "cpu" and self.precision == "16-mixed":
            raise UserError(
                "trainer.precision", "32-true or bf16-mixed on a CPU", "'16-mixed'",
                "Half precision needs trainer=gpu; on a CPU try trainer.precision=bf16-mixed.",
            )  # fmt: skip


@dataclass(kw_only=True, slots=True)
class CallbacksConfig:
    """When to stop, and which weights to keep (`conf/callbacks`)."""

    monitor: str
    """What tells how good an epoch was: a key of `MONITORS`."""
    mode: str
    """`min` where less is better (`val/loss`), `max` where more is (`val/accuracy`)."""
    patience: int | None
    """Stop after so many epochs without a better value, at least 1; null: never stop early."""
    restore_best: bool
    """Test the best epoch's weights instead of the last one's."""

    def __post_init__(self) -> None:
        _choice("callbacks.monitor", self.monitor, tuple(MONITORS))
        _choice("callbacks.mode", self.mode, (MONITORS[self.monitor],))
        if self.patience is not None:
            _whole("callbacks.patience", self.patience, 1, 2)


@dataclass(kw_only=True, slots=True)
class CheckpointConfig:
    """When the state is saved besides the end of each epoch (`checkpoint` in `conf/config.yaml`)."""

    every_n_steps: int | None
    """After every so many steps, at least 1; null: not."""
    every_minutes: float | None
    """After so many minutes, above 0; null: not."""

    def __post_init__(self) -> None:
        if self.every_n_steps is not None:
            _whole("checkpoint.every_n_steps", self.every_n_steps, 1, 100)
        if self.every_minutes is not None:
            _real("checkpoint.every_minutes", self.every_minutes, "a number above 0", self.every_minutes > 0, 5)


@dataclass(kw_only=True, slots=True)
class Config:
    """All settings of one run."""

    name: str
    """Names the run in tables and in a sweep's folders."""
    seed: int
    """Of weights, order of reviews and dropout: from 0 to 2**32 - 1."""
    keep: bool
    """False: the run's folder is removed in the end."""
    model: ModelConfig
    data: DataConfig
    trainer: TrainerConfig
    callbacks: CallbacksConfig
    checkpoint: CheckpointConfig

    def __post_init__(self) -> None:
        _whole("seed", self.seed, 0, 0, MAX_SEED)
        if not self.name or "/" in self.name:
            raise UserError("name", "a name without '/'", repr(self.name), "It becomes part of a folder's name.")
        processes = self.trainer.devices * self.trainer.num_nodes
        if processes > self.data.batch_size:
            raise UserError(
                "data.batch_size", f"at least one review for each of the {processes} processes", self.data.batch_size,
                "Raise it, or lower trainer.devices or trainer.num_nodes.",
            )  # fmt: skip


DATA_SCHEMAS: dict[str, type[DataConfig]] = {"imdb": IMDBDataConfig, "synthetic": SyntheticDataConfig}


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


def load(path: Path) -> Config:
    """Reads the `config.yaml` of a run.

    Raises:
        UserError: the file is missing, or it holds something else.
    """
    if not path.is_file():
        raise UserError(path, "the settings of a run", "no such file", "Name a run's folder.")
    values = OmegaConf.load(path)
    assert isinstance(values, DictConfig)
    return parse(values)
