"""The settings: defaults as promised, refusals that name the key, the saved form gives the same back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from imdb_lightning.config.data import IMDBDataConfig
from imdb_lightning.config.errors import UserError
from imdb_lightning.config.file import load_config
from imdb_lightning.config.schema import ACTIVATIONS, LOSSES, OPTIMIZERS, Config, ModelConfig
from imdb_lightning.launch.command_line import CommandLine, read_command_line, register_schema
from imdb_lightning.model import network, objective, optimizer
from imdb_lightning.runs.settings import write_settings


@pytest.fixture(autouse=True, scope="module")
def schema() -> None:
    register_schema()


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMDB_NPZ", raising=False)
    monkeypatch.delenv("IMDB_LIGHTNING_CACHE", raising=False)


def read(*arguments: str) -> CommandLine:
    return read_command_line(arguments, check=False)


def compose(*arguments: str) -> Config:
    (config,) = read(*arguments).configs
    return config


def test_defaults_are_those_of_the_contract() -> None:
    config = compose()
    assert config.model.name == "shallow_relu_bce"
    assert config.data.source == "imdb"
    assert config.trainer.accelerator == "cpu"
    assert (config.seed, config.trainer.max_epochs, config.model.learning_rate) == (0, 20, 1e-3)
    assert (config.data.num_words, config.data.validation_size, config.data.batch_size) == (10_000, 10_000, 512)
    callbacks = config.callbacks
    assert (callbacks.monitor, callbacks.patience, callbacks.restore_best) == ("val/loss", 2, True)


KEYS = {
    "name": "shallow_relu_bce", "seed": 0, "keep": True, "refit": False, "logger": {},
    "model.name": "shallow_relu_bce", "model.hidden_units": [16], "model.activation": "relu", "model.loss": "bce",
    "model.l2": 0.0, "model.dropout": 0.0, "model.optimizer": "adam", "model.learning_rate": 0.001,
    "model.feature_weighting": "none", "model.normalize": None, "model.label_smoothing": 0.0,
    "model.weight_decay": 0.0,
    "model.schedule": "constant", "model.warmup_epochs": 0.0,
    "data.source": "imdb", "data.cache_dir": None, "data.num_words": 10_000, "data.train_size": None,
    "data.ngrams": 1, "data.min_count": 1, "data.with_validation": False,
    "data.batch_size": 512, "data.class_weights": None, "data.shuffle": "rows", "data.layout": "sparse",
    "data.path": None, "data.word_index": None, "data.validation_size": 10_000, "data.offline": "fallback",
    "trainer.accelerator": "cpu", "trainer.devices": 1, "trainer.num_nodes": 1, "trainer.node_rank": None,
    "trainer.rendezvous": None, "trainer.max_restarts": 0, "trainer.precision": "32-true",
    "trainer.deterministic": True, "trainer.threads": 1, "trainer.max_epochs": 20, "trainer.flags": {},
    "trainer.shards": None,
    "callbacks.monitor": "val/loss", "callbacks.patience": 2, "callbacks.restore_best": True,
    "callbacks.stop_behind": None, "callbacks.extra": {},
    "checkpoint.every_n_steps": None, "checkpoint.every_minutes": None,
}  # fmt: skip
"""The contract: others type these keys, and count on these values."""
SYNTHETIC_KEYS = {
    "data.source": "synthetic", "data.reviews": 25_000, "data.test_size": 25_000, "data.validation_size": 10_000,
    "data.seed": 0,
}  # fmt: skip
TEXT_KEYS = {
    "data.source": "text", "data.train": "a.csv", "data.validation": None, "data.test": None,
    "data.text_column": "text", "data.label_column": "label", "data.labels": None, "data.delimiter": None,
    "data.tokens": "words",
    "data.encoding": None, "data.header": True,
    "data.vocabulary": None, "data.on_bad_row": "error", "data.validation_size": 0.2, "data.test_size": 0.2,
    "data.seed": 0,
}  # fmt: skip


def flat(values: dict, prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {f"{prefix}{name}": value}
    return found


def test_keys_and_defaults_are_those_of_the_contract() -> None:
    """A new key is a decision: it is added here, too."""
    assert flat(asdict(compose())) == KEYS
    common = {key: value for key, value in KEYS.items() if key.count(".") == 0 or not key.startswith("data.")}
    shared = {
        f"data.{name}": KEYS[f"data.{name}"]
        for name in (
            "cache_dir",
            "num_words",
            "ngrams",
            "min_count",
            "train_size",
            "with_validation",
            "batch_size",
            "class_weights",
            "shuffle",
            "layout",
        )
    }  # fmt: skip
    assert flat(asdict(compose("data=synthetic"))) == common | shared | SYNTHETIC_KEYS
    assert flat(asdict(compose("data=text", "data.train=a.csv"))) == common | shared | TEXT_KEYS


def test_last_of_several_overrides_is_checked() -> None:
    """As it is the one that Hydra takes, also when it repeats an earlier one."""
    assert compose("seed=1", "seed=2", "seed=1").seed == 1


NETWORKS = {
    "shallow_relu_bce": ([16], "relu", "bce", 0.0, 0.0),
    "deep_tanh_mse": ([32, 32, 32], "tanh", "mse", 0.0, 0.0),
    "regularized_relu_bce": ([64, 64], "relu", "bce", 0.001, 0.5),
}
PROTOCOLS = {
    "shallow_relu_bce": (20, 2, True),
    "deep_tanh_mse": (20, None, False),
    "regularized_relu_bce": (5, None, False),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_notebook_experiments_follow_the_notebook(name: str) -> None:
    config = compose(f"+experiment=notebook/{name}")
    model = config.model
    assert (model.hidden_units, model.activation, model.loss, model.l2, model.dropout) == NETWORKS[name]
    callbacks = config.callbacks
    assert (config.trainer.max_epochs, callbacks.patience, callbacks.restore_best) == PROTOCOLS[name]


def test_variables_name_data_and_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMDB_NPZ", "some.npz")
    monkeypatch.setenv("IMDB_LIGHTNING_CACHE", "some/cache")
    data = compose().data
    assert (data.path, data.cache_dir) == ("some.npz", "some/cache")
    assert compose("data.path=null").data.path is None


REFUSALS = {
    "data.batch_size=0": r"data\.batch_size: expected a whole number, at least 1, but got 0\.",
    "data.batch_size=many": r"data\.batch_size: expected int, but got 'many'\.",
    "data.batch_size=1.5": r"data\.batch_size: expected int, but got '?1\.5",
    "data.class_weights=even": r"data\.class_weights: expected balanced, or two numbers above 0, but got 'even'\.",
    "data.class_weights=[1,0]": r"data\.class_weights: expected balanced, or two numbers above 0, but got \[1, 0\]\.",
    "data.layout=wide": r"data\.layout: expected one of sparse, dense, but got 'wide'\.",
    "data.num_words=3": r"data\.num_words: expected a whole number from 4 to 2147483647",
    "data.train_size=0": r"data\.train_size: .* at least 1",
    "data.offline=maybe": r"data\.offline: expected one of fallback, error",
    "data.reviews=100": r"data\.reviews: expected one of the keys .*path.* unknown",
    "model.activation=rellu": r"model\.activation: expected one of relu, tanh.* but got 'rellu'\.",
    "model.hidden_units=[0]": r"model\.hidden_units: expected a list of whole numbers",
    "model.hidden_units=[] model.l2=0.1": r"model\.l2: expected 0 without hidden layers, but got 0\.1\.",
    "model.hidden_units=[] model.dropout=0.1": r"model\.dropout: expected 0 without hidden layers, but got 0\.1\.",
    "data=text data.train=a.csv data.tokens=letters": r"data\.tokens: expected one of words, punctuation, but got",
    "model.hidden_units=[16,0]": r"model\.hidden_units: expected a list of whole numbers.* but got \[16, 0\]",
    "model.hidden_units=16": r"model\.hidden_units: expected list\[int\], but got 16",
    "model.hiden_units=[16]": r"model\.hiden_units: expected one of the keys .* Did you mean hidden_units\?",
    "+model.depth=3": r"model\.depth: expected one of the keys",
    "model.dropout=1": r"model\.dropout: expected a number from 0 to below 1, but got 1\.0",
    "model.l2=-1": r"model\.l2: expected a number, at least 0",
    "model.learning_rate=0": r"model\.learning_rate: expected a number above 0",
    "model.learning_rate=inf": r"model\.learning_rate: expected a number above 0",
    "model.name=a/b": r"model\.name: expected a name without '/'",
    "model=nosuch": r"model: expected one of deep_tanh_mse, nb_linear_ngrams, nb_ngrams, reg.* but got 'nosuch'",
    "modle=deep_tanh_mse": r"modle: expected one of the keys .* Did you mean model\?",
    "trainer=tpu": r"trainer: expected one of cpu, ddp, ddp_cpu, gpu",
    "trainer.max_epochs=0": r"trainer\.max_epochs: expected a whole number, at least 1",
    "trainer.precision=16-mixed": r"trainer\.precision: expected 32-true or bf16-mixed on a CPU",
    "trainer.devices=0": r"trainer\.devices: expected a whole number, at least 1",
    "trainer.devices=-1": r"trainer\.devices: .* on GPUs -1",
    "trainer.devices=513": r"data\.batch_size: expected at least one review for each of the 513 processes",
    "trainer.shards=0": r"trainer\.shards: expected a whole number, at least 1",
    "trainer.node_rank=1": r"trainer\.node_rank: expected a whole number from 0 to 0",
    "trainer.rendezvous=node1": r"trainer\.rendezvous: expected host:port",
    "trainer.max_restarts=-1": r"trainer\.max_restarts: .* at least 0",
    "checkpoint.every_n_steps=0": r"checkpoint\.every_n_steps: .* at least 1",
    "checkpoint.every_minutes=0": r"checkpoint\.every_minutes: expected a number above 0",
    "trainer.threads=0": r"trainer\.threads: expected a whole number from 1 to 1024",
    "callbacks.monitor=loss": r"callbacks\.monitor: expected one of val/loss, val/accuracy",
    "callbacks.patience=0": r"callbacks\.patience: .* at least 1",
    "seed=-1": r"seed: expected a whole number from 0 to 4294967295, but got -1",
    "seed=null": r"seed: expected int, but got None",
    "seed=1,2": r"To sweep over it, add --multirun",
    "+experiment=notebook": r"experiment: expected one of best, notebook/deep_tanh_mse",
    "experiment=notebook/deep_tanh_mse": r"use \+experiment=notebook/deep_tanh_mse",
    "seed": r"seed: expected group=option or key=value",
    "~data": r"Missing mandatory value: data",
}


@pytest.mark.parametrize("argument", REFUSALS)
def test_bad_setting_is_refused_by_its_key(argument: str) -> None:
    with pytest.raises(UserError, match=REFUSALS[argument]) as refused:
        read(*argument.split())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["trainer.devices=3", "trainer.shards=2"],
            r"trainer\.shards: .* from 3, .* but got 2\. Try trainer\.shards=12",
        ),
        (["data.batch_size=8"], r"trainer\.shards: .* to the 8 reviews .* but got 12\. Try trainer\.shards=8\."),
        (["trainer.deterministic=false"], r"trainer\.deterministic: expected true with trainer\.shards, but got False"),
        (["data.layout=dense"], r"data\.layout: expected sparse with trainer\.shards, but got 'dense'"),
    ],
)
def test_what_would_make_bits_depend_on_the_number_of_processes_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read("trainer.shards=12", *arguments)


def test_impossible_synthetic_split_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.validation_size: expected fewer than the 100 of data\.reviews"):
        read("data=synthetic", "data.reviews=100")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("data.train=null", r"data\.train: expected a file, a folder, a glob, or a list of them, but got None\."),
        ("data.train=[]", r"data\.train: expected a file"),
        ("data.test=3", r"data\.test: expected a file"),
        ("data.labels=[good]", r"data\.labels: expected two names"),
        ("data.labels=[good,' Good']", r"data\.labels: expected two names"),
        ("data.labels=[bad,fair,good]", r"data\.labels: .* two classes only, but got \['bad', 'fair', 'good'\]"),
        ("data.validation_size=1.5", r"data\.validation_size: expected a whole number, or a share between 0 and 1"),
        ("data.test_size=0", r"data\.test_size: expected a whole number, or a share"),
        ("data.on_bad_row=ignore", r"data\.on_bad_row: expected one of error, skip, but got 'ignore'\."),
        ("data.textcolumn=x", r"data\.textcolumn: expected one of the keys .* Did you mean text_column"),
    ],
)
def test_bad_setting_of_own_reviews_is_refused_by_its_key(argument: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read("data=text", "data.train=reviews.csv", argument)


@pytest.mark.parametrize("size", ["0.25", "500", "500.0"])
def test_sizes_of_cuts_are_numbers_or_shares(size: str) -> None:
    assert compose("data=text", "data.train=[a.csv,b.csv]", f"data.test_size={size}").data.test_size == float(size)


@pytest.mark.parametrize(
    "arguments",
    [
        ["model=deep_tanh_mse", "seed=7"],
        ["data=synthetic", "trainer.flags.gradient_clip_val=0.5"],
        ["data=text", "data.train=[a.csv,b.csv]", "data.test=c/*.csv"],
    ],
)
def test_saved_settings_give_the_same_back(arguments: Sequence[str], tmp_path: Path) -> None:
    config = compose(*arguments)
    write_settings(config, tmp_path)
    assert load_config(tmp_path / "config.yaml") == config


def test_any_trainer_flag_can_be_set_without_a_plus() -> None:
    assert compose("trainer.flags.gradient_clip_val=0.5").trainer.flags == {"gradient_clip_val": 0.5}


def test_sweep_is_checked_job_by_job() -> None:
    asked = read("-m", "model=deep_tanh_mse,shallow_relu_bce", "seed=0,-1")
    assert [(config.model.name, config.seed) for config in asked.configs] == [
        ("deep_tanh_mse", 0), ("shallow_relu_bce", 0),
    ]  # fmt: skip
    assert list(asked.errors) == ["model=deep_tanh_mse seed=-1", "model=shallow_relu_bce seed=-1"]


def test_sweep_without_a_good_job_is_refused() -> None:
    with pytest.raises(UserError, match="seed"):
        read("-m", "seed=-1,-2").refuse_mistakes()


def test_glob_finds_options_in_folders() -> None:
    configs = read("-m", "+experiment=glob(notebook/*)").configs
    assert {config.model.name for config in configs} == set(NETWORKS)
    with pytest.raises(UserError, match="a glob that matches one of best, notebook/deep_tanh_mse"):
        read("-m", "+experiment=glob(book/*)")


def test_choices_are_what_the_model_has() -> None:
    """The settings come without torch, so the names stand in both places."""
    assert tuple(network.ACTIVATIONS) == ACTIVATIONS
    assert tuple(objective.LOSSES) == LOSSES
    assert tuple(optimizer.OPTIMIZERS) == OPTIMIZERS


@pytest.mark.parametrize(
    ("name", "value"), [("num_words", "10000"), ("num_words", 1e4), ("batch_size", True), ("validation_size", None)]
)
def test_wrong_type_from_python_is_refused_by_its_key(name: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"data\.{name}: expected a whole number"):
        IMDBDataConfig(**{name: value})


@pytest.mark.parametrize("name", [3, "", "a/b", None])
def test_wrong_name_from_python_is_refused_by_its_key(name: object) -> None:
    with pytest.raises(UserError, match=r"model\.name: expected a name without '/'"):
        ModelConfig(name=name, hidden_units=[16], activation="relu", loss="bce")


@pytest.mark.parametrize("option", ["fast", "overfit", "profile"])
def test_debug_options_compose(option: str) -> None:
    config = compose(f"debug={option}")
    assert config.keep == (option != "fast")
