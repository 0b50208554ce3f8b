"""The space of a search in Hydra's grammar: from overrides to Optuna's distributions, and from drawn values back.

| on the command line | drawn |
|---|---|
| `key=interval(a,b)` | a number from a to b, whole where the setting is a whole number |
| `key=tag(log,interval(a,b))` | likewise, as often from 1 to 10 as from 10 to 100 |
| `key=range(a,b,step)` | one of these numbers, b not among them |
| `key=a,b`, `key=choice(a,b)`, `group=glob(*)` | one of these, in no order |
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args, get_type_hints

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Sweep
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import Config
from imdb_lightning.launch.clusters import ELSEWHERE, Launcher
from imdb_lightning.launch.overrides import key_of, options_of

Distribution: TypeAlias = CategoricalDistribution | FloatDistribution | IntDistribution
# Digits of a drawn number: all that a setting needs, and short enough for a folder's name.
_DIGITS = 6
# Settings that are no part of what a search has found.
_NOT_FOUND = ("seed", "keep", "callbacks.stop_behind", "refit")


@dataclass(frozen=True)
class SearchSpace:
    """What a search varies, and what is the same in all its trials."""

    dimensions: dict[str, Distribution]  # By their keys as typed, as in `+experiment`; in the order of these.
    fixed: list[str]  # Overrides.

    def border_jobs(self) -> list[list[str]]:
        """Few jobs that have all least values, all largest ones, and each choice: what cannot run shows in these."""
        borders = {
            key: list(of.choices) if isinstance(of, CategoricalDistribution) else [of.low, of.high]
            for key, of in self.dimensions.items()
        }
        count = max(map(len, borders.values()))
        points = [{key: values[min(n, len(values) - 1)] for key, values in borders.items()} for n in range(count)]
        return [[*self.fixed, *self.overrides(point)] for point in points]

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """Drawn values as overrides.

        Raises:
            UserError: one could not have been drawn here.
        """
        for key, of in self.dimensions.items():
            choices = of.choices if isinstance(of, CategoricalDistribution) else None
            if values[key] not in choices if choices else not isinstance(values[key], int | float):
                remedy = "The search's file is not as a search writes it: name another hydra.sweep.dir."
                raise UserError(key, f"one of {choices}" if choices else "a number", repr(values[key]), remedy)
        return [f"{key}={shown(values[key])}" for key in self.dimensions]

    def rounded(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Drawn values with as many digits as a reader wants to see."""
        found = dict(values)
        for key, of in self.dimensions.items():
            if isinstance(of, FloatDistribution):
                found[key] = min(max(float(f"{found[key]:.{_DIGITS if of.step is None else 12}g}"), of.low), of.high)
        return found

    def with_whole_numbers(self, overrides: Sequence[str], config: Config) -> list[str]:
        """The command line's overrides, with intervals of whole numbers where such are the settings of `config`."""
        whole = [key for key, of in self.dimensions.items() if isinstance(of, FloatDistribution)]
        whole = [key for key in whole if _is_whole(config, key_of(key))]
        parts = [text.partition("=") for text in overrides]
        return [f"{key}=int({value})" if key in whole else f"{key}{sign}{value}" for key, sign, value in parts]


def read_space(overrides: Sequence[Override]) -> SearchSpace:
    """The space of a command line.

    Raises:
        UserError: there is nothing to search over, or in another way than the table above says.
    """
    last = {override.get_key_element(): override for override in overrides}  # Of several, as it is Hydra's.
    swept = {key: override for key, override in last.items() if override.is_sweep_override()}
    for key, override in last.items():
        if override.is_delete() or _holds_sweep(override.value()) or (key in swept and override.is_hydra_override()):
            remedy = "Search over whole values, as in 'model.hidden_units=[16],[32],[32,16]'."
            raise UserError(key, "a value, or several of a setting of a run", override.input_line, remedy)
    if not swept:
        remedy = "Try 'model.learning_rate=tag(log,interval(1e-4,1e-2))'."
        raise UserError("hydra/sweeper=optuna", "a setting to search over", "none", remedy)
    fixed = [f"{key}={of.get_value_element_as_str()}" for key, of in last.items() if key not in swept]
    # Sorted, so that a command with another order of the same settings goes on with the same search.
    return SearchSpace({key: _distribution(key, swept[key]) for key in sorted(swept)}, fixed)


def _holds_sweep(value: object) -> bool:
    """Whether there is a sweep within a value, as in `[interval(1,2)]`."""
    if isinstance(value, ChoiceSweep | dict | list):
        values = value.list if isinstance(value, ChoiceSweep) else value.values() if isinstance(value, dict) else value
        return any(isinstance(item, Sweep) or _holds_sweep(item) for item in values)
    return False


def _distribution(key: str, override: Override) -> Distribution:
    value: Any = override.value()
    got = (override.input_line or "").partition("=")[2]
    if isinstance(value, IntervalSweep):
        low, high, log = value.start, value.end, value.tags == {"log"}
        assert low is not None
        assert high is not None
        if value.tags and not log:
            raise UserError(key, "no tag, or log", got, f"Try '{key}=tag(log,interval(1e-4,1e-2))'.")
        if not -math.inf < low < high < math.inf:
            raise UserError(key, "an interval from a number to a larger one", got, f"Try '{key}=interval(0,1)'.")
        if log and low <= 0:
            remedy = "On a scale of orders of magnitude there is no zero."
            raise UserError(key, "an interval of numbers above 0", got, remedy)
        number: Any = IntDistribution if isinstance(low, int) else FloatDistribution
        interval: Distribution = number(low, high, log=log)
        return interval
    if value.tags or value.shuffle:
        raise UserError(key, "values without a tag or an order", got, "Leave tag(...) and shuffle(...) out.")
    if isinstance(value, RangeSweep):
        # Decimals as they were typed: Hydra adds up 0.7000000000000001.
        numbers = sorted(n if isinstance(n, int) else float(f"{n:.12g}") for n in value.range())
        if not numbers:
            raise UserError(key, "a range with a number in it", got, f"Try '{key}=range(0,1,0.1)'.")
        number = IntDistribution if isinstance(numbers[0], int) else FloatDistribution
        equidistant: Distribution = number(numbers[0], numbers[-1], step=abs(value.step))
        return equidistant
    return CategoricalDistribution(list(dict.fromkeys(override.sweep_string_iterator())))


def _is_whole(config: Config, key: str) -> bool:
    *sections, name = key.split(".")
    owner: Any = config
    for section in sections:
        owner = getattr(owner, section, None)
    kind = get_type_hints(type(owner)).get(name)
    return int in (kind, *get_args(kind))


def shown(value: Any) -> str:
    """A drawn value as it is typed, in full: `8` for 8.0, which a setting that is a whole number would refuse."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def check_search(configs: Sequence[Config], launcher: Launcher) -> None:
    """Refuses a search whose trials could not be held against one another, given those at its borders.

    Raises:
        UserError: they have several monitors, losses of several kinds, or several commands for the search.
    """
    monitors = sorted({config.callbacks.monitor for config in configs})
    if len(monitors) > 1:
        raise UserError("callbacks.monitor", "one value, as the search goes by it", monitors, "Search over others.")
    kinds = {(config.model.loss, config.model.l2, str(config.data.class_weights)) for config in configs}
    if monitors == ["val/loss"] and len(kinds) > 1:
        accepted = "val/accuracy, as losses with another model.loss, model.l2 or data.class_weights mean other things"
        raise UserError("callbacks.monitor", accepted, "'val/loss'", "Add callbacks.monitor=val/accuracy.")
    if launcher.name not in ELSEWHERE and any(config.trainer.num_nodes > 1 for config in configs):
        accepted = "1 in a search without a launcher for clusters, as each machine would search by itself"
        raise UserError("trainer.num_nodes", accepted, "more", "Add hydra/launcher=slurm, or ray.")


def as_experiment(overrides: Sequence[Override], search: list[str], heading: Sequence[str]) -> str:
    """An option of the group `experiment` that stands for overrides, as YAML below comments.

    What belongs to a single run stays out: its seed, its folder, and how a trial is run.
    """
    added: list[Any] = []
    chosen: list[Any] = []
    values = OmegaConf.create({})
    for override in overrides:
        key = override.key_or_group
        if options_of(key, search):
            if override.is_add():
                added.append(f"/{key}/{override.value()}")
            else:
                chosen.append({f"override /{key}": override.value()})
        elif key not in _NOT_FOUND:
            OmegaConf.update(values, key, override.value(), force_add=True)
    # Hydra wants replaced choices last.
    defaults = {"defaults": [*added, "_self_", *chosen]}
    parts = [OmegaConf.to_yaml(OmegaConf.create(defaults)), OmegaConf.to_yaml(values) if values else ""]
    return "".join([*(f"# {line}\n" for line in ("@package _global_", *heading)), *parts])
