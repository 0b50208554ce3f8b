"""From a command line to checked settings, before any work and without torch.

Each job is composed here first and by Hydra again: so a mistake is one message in our words, before there is a folder.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir

# Private, for want of a public way: what Hydra itself takes for its flags, and for the jobs of a sweep. Without these
# names no command starts, and every test of one fails.
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf, open_dict

from imdb_lightning.config.data import DATA_SCHEMAS
from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import Config, SearchConfig, parse
from imdb_lightning.config.shown import hidden, in_environment, is_secret
from imdb_lightning.launch.clusters import Launcher, check_plugin
from imdb_lightning.launch.overrides import (
    CONFIG_NAME,
    CommandLineError,
    expand_glob,
    explained,
    key_of,
    quoted,
    search_path,
)  # fmt: skip
from imdb_lightning.launch.run import check_run
from imdb_lightning.launch.slurm import current_step

VERSION_BASE = "1.3"
_PACKAGE = Path(__file__).resolve().parent.parent
# Jobs of a sweep that cannot run, as many as one message names.
_SHOWN = 10
# Hydra's own place for keys that the name of a job's folder does without.
_LEFT_OUT = "hydra.job.config.override_dirname.exclude_keys"
# Sections that hold any keys.
_ANY_KEYS = ("trainer.flags.", "callbacks.extra.", "logger.")
# The settings stand beside the package in a checkout and inside it in a wheel.
CONF = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())


class CommandLine(NamedTuple):
    """A parsed and checked command line."""

    arguments: list[str]  # For Hydra.
    configs: list[Config]  # Of each job that can run; of a search, of some at the borders of its space.
    errors: dict[str, UserError]  # Of each other job of a sweep, by its overrides.
    launcher: Launcher
    sweep: Path | None  # Folder of the sweep that is to be run; None for a single run, help and settings.
    searches: bool = False  # Whether its jobs are found one after the other.

    def refuse_mistakes(self) -> None:
        """Refuses a sweep with a job that cannot run.

        Raises:
            CommandLineError: it names all such jobs, up to a number.
        """
        if self.errors:
            lines = [f"\n  {overrides}\n    {error}" for overrides, error in self.errors.items()]
            more = f"\n  and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
            jobs = len(self.configs) + len(lines)
            text = f"{len(lines)} of {jobs} jobs cannot run, so none was started:{''.join(lines[:_SHOWN])}{more}"
            raise CommandLineError(text)


def register_schema() -> None:
    """Makes the typed settings known to Hydra."""
    Plugins.instance()  # Loads the plug-ins, which store settings of their own.
    store = ConfigStore.instance()
    # Ray's plug-in stores settings under the name of our file, of which Hydra would warn; test_launchers.py looks for
    # that. Nothing public takes them out again.
    store.repo["hydra"]["launcher"].pop("ray.yaml", None)
    store.store(name="schema", node=Config)
    store.store(group="schema", name="search", node=SearchConfig)
    for source, schema in DATA_SCHEMAS.items():
        store.store(group="schema/data", name=source, node=schema)


def read_command_line(arguments: Sequence[str], check: bool = True) -> CommandLine:
    """Composes every job of a command line and, with `check`, looks whether it can run on this machine.

    Raises:
        UserError: a job cannot be composed, or a single run or all jobs cannot run for one and the same reason.
    """
    # Hydra takes keys in these for new ones, to be added with a plus.
    arguments = [f"++{text}" if text.startswith(_ANY_KEYS) else text for text in arguments]
    # As a shell does it where a word begins.
    arguments = [text.replace("=~/", f"={Path.home()}/", 1) for text in arguments]
    parsed = get_args_parser().parse_intermixed_args(arguments)
    modes = [f"--{mode}" for mode in ("multirun", "cfg", "info") if getattr(parsed, mode)]
    if len(modes) > 1:
        raise UserError("command line", "one of --multirun, --cfg and --info", " and ".join(modes), "Leave one out.")
    if parsed.help or parsed.hydra_help or parsed.info or parsed.shell_completion:
        return CommandLine(arguments, configs=[], errors={}, launcher=Launcher("basic", {}), sweep=None)
    sweeper = ["basic", *(text.partition("=")[2] for text in parsed.overrides if key_of(text) == "hydra/sweeper")][-1]
    _check_sweeper(sweeper, parsed.multirun or parsed.cfg)
    # All overrides go last: Hydra's own parse refuses those that are not side by side.
    flags = [text for text in arguments if text not in parsed.overrides]
    search = search_path(parsed.config_dir, parsed.overrides)
    configs, errors, space = [], {}, None
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE, job_name="imdb_lightning"), explained(search):
        overrides = [_without_secret(expand_glob(text, search)) for text in parsed.overrides]
        overrides += _step_folders(parsed.overrides)
        jobs = [overrides]
        if parsed.multirun:
            parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
            if sweeper == "basic":
                (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides(overrides), max_batch_size=None)
            else:
                from imdb_lightning.launch import search_space  # Needs its extra.

                space = search_space.read_space(parser.parse_overrides(overrides))
                jobs = space.border_jobs()
        for job in jobs:
            settings, launcher, sweep = _compose_job([*search, *job], sweeper)
            if launcher.name != "basic" and not (parsed.multirun or parsed.cfg):
                accepted, remedy = "a sweep, as launchers start its jobs", "Add -m; a sweep may have a single job."
                raise UserError(f"hydra/launcher={launcher.name}", accepted, "a single run", remedy)
            try:
                with explained(search):
                    config = parse(settings)
                if check and not parsed.cfg:
                    check_run(config, launcher)
                configs.append(config)
            except UserError as error:
                errors[" ".join(job)] = error
    if not configs and len(set(map(str, errors.values()))) == 1:
        raise next(iter(errors.values()))
    if space is not None and configs:
        search_space.check_search(configs, launcher)
        overrides = space.with_whole_numbers(overrides, configs[0])
    if parsed.multirun:
        # The folder's name may hold the time: Hydra, which composes again, is to use this one.
        overrides.append(f"hydra.sweep.dir={quoted(str(sweep))}")
        fixed = [key_of(texts[0]) for texts in zip(*jobs, strict=True) if len(set(texts)) == 1]
        if space is not None:
            fixed += ["callbacks.stop_behind", "refit"]
        overrides.append(f"{_LEFT_OUT}=[{','.join(map(quoted, fixed))}]")
    folder = sweep if parsed.multirun else None
    return CommandLine([*flags, *overrides], configs, errors, launcher, folder, searches=space is not None)


def _without_secret(text: str) -> str:
    """An override with a secret in the environment instead: Hydra keeps overrides in files, names and messages."""
    key, typed_value = key_of(text), text.partition("=")[2]
    if not key.startswith(_ANY_KEYS) or not typed_value:
        return text
    override = OverridesParser.create().parse_override(text)
    value = override.value()
    plain = value.text if isinstance(value, QuotedString) else value
    secret = not override.is_sweep_override() and hidden(plain, is_secret(key.rpartition(".")[2])) != plain
    if not secret or "${" in typed_value:
        return text
    whole = isinstance(plain, dict | list)
    reference = in_environment(key, typed_value if whole else str(plain))
    return f"{text.partition('=')[0]}={quoted(f'${{oc.decode:{reference}}}' if whole else reference)}"


def _step_folders(overrides: Sequence[str]) -> list[str]:
    """In a step of several machines, folders named by Slurm's numbers, as clocks differ, and a requeue comes later."""
    step = current_step()
    if step is None or step.nodes == 1:
        return []
    name = f"slurm-{step.job}.{step.step}"
    folders = {"hydra.run.dir": f"logs/${{name}}/{name}", "hydra.sweep.dir": f"logs/multirun/{name}"}
    named = {text.partition("=")[0] for text in overrides}
    return [f"{key}={value}" for key, value in folders.items() if key not in named]


def _compose_job(overrides: list[str], sweeper: str) -> tuple[DictConfig, Launcher, Path]:
    """The settings of a job, what starts it, and the folder of its sweep."""
    composed = compose(CONFIG_NAME, overrides=overrides, return_hydra_config=True)
    # Looked up here, as a file, too, may have chosen a sweeper or a launcher.
    choices, sweep = composed.hydra.runtime.choices, Path(composed.hydra.sweep.dir)
    if (chosen := choices["hydra/sweeper"]) != sweeper:
        raise UserError("hydra/sweeper", f"{sweeper}, as on the command line", repr(chosen), "Name it there.")
    check_plugin(choices["hydra/launcher"])
    if sweeper == "optuna":
        OmegaConf.to_object(composed.hydra.sweeper)  # Checks its ranges.
    settings: Any = OmegaConf.to_container(composed.hydra.launcher, resolve=True)
    with open_dict(composed):
        del composed["hydra"]
    return composed, Launcher(choices["hydra/launcher"], settings), sweep


def _check_sweeper(name: str, sweeps: bool) -> None:
    # With one that waits for results of its own kind, all jobs were trained, and then all was called a success.
    if name not in ("basic", "optuna"):
        remedy = "Leave it out: values with commas, range(...) and glob(...) are swept."
        raise UserError("hydra/sweeper", "basic or optuna, as results of jobs go back to no other", repr(name), remedy)
    if name == "optuna":
        if importlib.util.find_spec("optuna") is None:
            remedy = "pip install 'imdb-lightning[optuna]'"
            raise UserError("hydra/sweeper=optuna", "the package optuna", "none installed", remedy)
        if not sweeps:
            raise UserError("hydra/sweeper=optuna", "a sweep, as its trials are jobs of one", "a single run", "Add -m.")
