"""From a command line to checked settings, before any work and without torch.

Hydra composes each job of the command line here first, so that whatever is wrong is said at once, in one message
in our words, and before Hydra makes a folder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from imdb_lightning.config.data import DATA_SCHEMAS
from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import Config, parse
from imdb_lightning.launch.clusters import PLUGINS, Launcher, find_plugin
from imdb_lightning.launch.overrides import CONFIG_NAME, expand_glob, explain, quoted, search_path
from imdb_lightning.launch.slurm import current_step

VERSION_BASE = "1.3"
OPEN_KEYS = ("trainer.flags.", "callbacks.extra.", "logger.")
_PACKAGE = Path(__file__).resolve().parent.parent
# The settings stand beside the package in a checkout and inside it in a wheel.
CONF = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """A parsed and checked command line.

    Attributes:
        arguments: for Hydra.
        configs: the checked settings of each job that can run.
        errors: what is wrong with each other job of a sweep, by its overrides.
        launcher: what starts the jobs.
        sweep: folder of the sweep that is to be run; None for a single run, help and settings.
    """

    arguments: list[str]
    configs: list[Config]
    errors: dict[str, UserError]
    launcher: Launcher
    sweep: Path | None


def register_schema() -> None:
    """Makes the typed settings known to Hydra."""
    store = ConfigStore.instance()
    Plugins.instance()  # Loads the plug-ins, two of which store settings under the names of files of ours.
    for name in PLUGINS:
        store.repo["hydra"]["launcher"].pop(f"{name}.yaml", None)
    store.store(name="schema", node=Config)
    for source, schema in DATA_SCHEMAS.items():
        store.store(group="schema/data", name=source, node=schema)


def read_command_line(arguments: Sequence[str], preflight: Callable[[Config, Launcher], None]) -> CommandLine:
    """Composes and checks every job.

    Args:
        arguments: the command line without the program's name.
        preflight: refuses settings that cannot run; asked if anything is to be run.

    Raises:
        UserError: a job cannot be composed, or none can run.
    """
    # These hold any keys, which Hydra takes for new ones, to be added with a plus.
    arguments = [f"++{text}" if text.startswith(OPEN_KEYS) else text for text in arguments]
    parsed = get_args_parser().parse_args(arguments)
    modes = [f"--{mode}" for mode in ("multirun", "cfg", "info") if getattr(parsed, mode)]
    if len(modes) > 1:
        raise UserError("command line", "one of --multirun, --cfg and --info", " and ".join(modes), "Leave one out.")
    if parsed.help or parsed.hydra_help or parsed.info or parsed.shell_completion:
        return CommandLine(arguments, configs=[], errors={}, launcher=Launcher("basic", {}), sweep=None)
    for text in parsed.overrides:
        if text.startswith("hydra/sweeper="):
            _check_sweeper(text.partition("=")[2])
    folders, search = _folders_of_step(parsed.overrides), search_path(parsed.config_dir, parsed.overrides)
    configs, errors = [], {}
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE, job_name="imdb_lightning"):
        expanded = {text: expand_glob(text, search) for text in parsed.overrides}
        arguments = [*(expanded.get(text, text) for text in arguments), *folders]
        overrides = [*(expanded[text] for text in parsed.overrides), *folders]
        for job in _jobs(overrides) if parsed.multirun else [overrides]:
            values = _compose(job, search)
            launcher, sweep = _launcher(values.hydra), Path(values.hydra.sweep.dir)
            if launcher.name != "basic" and not (parsed.multirun or parsed.cfg):
                remedy = "Add -m; a sweep may have a single job."
                accepted = "a sweep, as launchers start its jobs"
                raise UserError(f"hydra/launcher={launcher.name}", accepted, "a single run", remedy)
            del values["hydra"]
            try:
                config = _parse(values)
                if not parsed.cfg:
                    preflight(config, launcher)
                configs.append(config)
            except UserError as error:
                errors[" ".join(job)] = error
    if not configs:
        raise next(iter(errors.values()))
    if not parsed.multirun:
        return CommandLine(arguments, configs, errors, launcher, sweep=None)
    # The folder's name may hold the time: Hydra, which composes again, is to use this one.
    return CommandLine([*arguments, f"hydra.sweep.dir={quoted(str(sweep))}"], configs, errors, launcher, sweep)


def _check_sweeper(name: str) -> None:
    if name != "basic":
        remedy = "Leave it out: values with commas, range(...) and glob(...) are swept."
        raise UserError("hydra/sweeper", "basic, as results of jobs do not go back to a sweeper", repr(name), remedy)


def _launcher(settings: DictConfig) -> Launcher:
    """What starts the jobs, whether the command line or a file has chosen it."""
    choices = settings.runtime.choices
    _check_sweeper(choices["hydra/sweeper"])
    find_plugin(choices["hydra/launcher"])
    return Launcher(choices["hydra/launcher"], _plain(settings.launcher))


def _folders_of_step(overrides: Sequence[str]) -> list[str]:
    """In a step of several machines, folders named by Slurm's numbers, as clocks differ, and a requeue comes later."""
    step = current_step()
    if step is None or step.nodes == 1:
        return []
    defaults = {
        "hydra.run.dir": f"logs/${{model.name}}/{step.name}",
        "hydra.sweep.dir": f"logs/multirun/{step.name}",
    }
    named = {text.partition("=")[0] for text in overrides}
    return [f"{key}={value}" for key, value in defaults.items() if key not in named]


def _jobs(overrides: list[str]) -> list[list[str]]:
    """The overrides of each job of a sweep, as Hydra's own sweeper splits them."""
    loader = GlobalHydra.instance().config_loader()
    try:
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(overrides)
        return [job for batch in BasicSweeper.split_arguments(parsed, max_batch_size=None) for job in batch]
    except HydraException as error:
        raise explain(error) from error


def _compose(overrides: list[str], search: list[str]) -> DictConfig:
    try:
        values = compose(CONFIG_NAME, overrides=[*search, *overrides], return_hydra_config=True)
        OmegaConf.set_struct(values, False)  # So that `hydra` can be taken out.
        return values
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, search) from error


def _plain(values: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(values, resolve=True)
    assert isinstance(plain, dict), "the settings are a mapping"
    return {str(key): value for key, value in plain.items()}


def _parse(values: DictConfig) -> Config:
    try:
        return parse(values)
    except OmegaConfBaseException as error:
        raise explain(error) from error
