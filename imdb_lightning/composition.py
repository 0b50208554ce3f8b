"""From a command line to checked settings, before any work and without torch.

Hydra composes each job of the command line here first, so that whatever is wrong is said at once, in one message
in our words, and before Hydra makes a folder.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError

from imdb_lightning.clusters import PLUGINS, Launcher, find_plugin
from imdb_lightning.config import Config, parse
from imdb_lightning.data_config import DATA_SCHEMAS
from imdb_lightning.errors import UserError
from imdb_lightning.slurm import current_step

VERSION_BASE = "1.3"
CONFIG_NAME = "config"
_PACKAGE = Path(__file__).resolve().parent
# The settings stand beside the package in a checkout and inside it in a wheel.
CONF = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())
_HELP = "See: python -m imdb_lightning --help"


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """What was asked for.

    Attributes:
        arguments: for Hydra.
        configs: the checked settings of each job that can run.
        errors: what is wrong with each other job of a sweep, by its overrides.
        launcher: what starts the jobs.
        sweep: where a sweep would write.
        runs: whether anything is to be run, not only shown.
    """

    arguments: list[str]
    configs: list[Config]
    errors: dict[str, UserError]
    launcher: Launcher
    sweep: Path
    runs: bool


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
    # `trainer.flags` holds any keys, which Hydra takes for new ones, to be added with a plus.
    arguments = [f"++{text}" if text.startswith("trainer.flags.") else text for text in arguments]
    parsed = get_args_parser().parse_args(arguments)
    modes = [f"--{mode}" for mode in ("multirun", "cfg", "info") if getattr(parsed, mode)]
    if len(modes) > 1:
        raise UserError("command line", "one of --multirun, --cfg and --info", " and ".join(modes), "Leave one out.")
    if parsed.help or parsed.hydra_help or parsed.info or parsed.shell_completion:
        return CommandLine(arguments, configs=[], errors={}, launcher=Launcher("basic", {}), sweep=Path(), runs=False)
    name = _launcher_name(parsed.overrides, sweep_needed=not (parsed.multirun or parsed.cfg))
    folders = _folders_of_step(parsed.overrides)
    configs, errors = [], {}
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE, job_name="imdb_lightning"):
        arguments = [*(_expand_glob(text) if text in parsed.overrides else text for text in arguments), *folders]
        overrides = [*map(_expand_glob, parsed.overrides), *folders]
        for job in _jobs(overrides) if parsed.multirun else [overrides]:
            values = _compose(job)
            launcher, sweep = Launcher(name, _plain(values.hydra.launcher)), Path(values.hydra.sweep.dir)
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
    return CommandLine(arguments, configs, errors, launcher, sweep, runs=not parsed.cfg)


def _launcher_name(overrides: Sequence[str], sweep_needed: bool) -> str:
    chosen = [text.partition("=")[2] for text in overrides if text.partition("=")[0] == "hydra/launcher"]
    if not chosen:
        return "basic"
    find_plugin(chosen[-1])
    if sweep_needed and chosen[-1] != "basic":
        remedy = "Add -m; a sweep may have a single job."
        raise UserError(f"hydra/launcher={chosen[-1]}", "a sweep, as launchers start its jobs", "a single run", remedy)
    return chosen[-1]


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


def _expand_glob(text: str) -> str:
    """Lists what a glob over a group stands for: Hydra's own does not look into a group's folders.

    Example:
        >>> _expand_glob("+experiment=glob(notebook/*relu*)")
        '+experiment=notebook/regularized_relu_bce,notebook/shallow_relu_bce'
    """
    if "=glob(" not in text:
        return text
    override = OverridesParser.create().parse_override(text)
    group, pattern = override.key_or_group, override.value()
    options = _options(group)
    chosen: list[str] = pattern.filter(options) if isinstance(pattern, Glob) else []
    if not chosen:
        raise UserError(group, "a glob that matches one of " + ", ".join(options), text, _HELP)
    return f"{text.partition('=')[0]}={','.join(chosen)}"


def _jobs(overrides: list[str]) -> list[list[str]]:
    """The overrides of each job of a sweep, as Hydra's own sweeper splits them."""
    loader = GlobalHydra.instance().config_loader()
    try:
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(overrides)
        return [job for batch in BasicSweeper.split_arguments(parsed, max_batch_size=None) for job in batch]
    except HydraException as error:
        raise _explain(error) from error


def _compose(overrides: list[str]) -> DictConfig:
    try:
        values = compose(CONFIG_NAME, overrides=overrides, return_hydra_config=True)
        OmegaConf.set_struct(values, False)  # So that `hydra` can be taken out.
        return values
    except (HydraException, OmegaConfBaseException) as error:
        raise _explain(error) from error


def _plain(values: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(values, resolve=True)
    assert isinstance(plain, dict), "the settings are a mapping"
    return {str(key): value for key, value in plain.items()}


def _parse(values: DictConfig) -> Config:
    try:
        return parse(values)
    except OmegaConfBaseException as error:
        raise _explain(error) from error


def _explain(error: Exception) -> UserError:
    """Hydra's and OmegaConf's complaints in our words."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        if not (CONF / group).is_dir():  # An option of a folder of options, as in experiment=notebook/x.
            group, _, option = error.missing_cfg_file.partition("/")
        options = _options(group)
        return UserError(group, "one of " + ", ".join(options), repr(option), _closest(option, options))
    if isinstance(error, OverrideParseException):
        return UserError(error.override, "group=option or key=value", "something else", _HELP)
    cause: Any = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    key, owner = getattr(cause, "full_key", None), getattr(cause, "object_type", None)
    fields = {field.name: field for field in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else {}
    name = key.rpartition(".")[2] if key else ""
    if isinstance(cause, ValidationError) and name.partition("[")[0] in fields:
        return UserError(key, str(fields[name.partition("[")[0]].type), repr(getattr(cause, "value", None)), _HELP)
    if key and fields and name not in fields:
        return UserError(key, "one of the keys " + ", ".join(fields), "an unknown one", _closest(name, list(fields)))
    return UserError("command line", "settings that go together", " ".join(str(error).split()), _HELP)


def _options(group: str) -> list[str]:
    folder = CONF / group
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def _closest(word: str, words: list[str]) -> str:
    close = difflib.get_close_matches(word, words, n=1)
    return f"Did you mean {close[0]}?" if close else _HELP


class SweepFolder(Callback):
    """A Hydra callback that remembers where the sweep's jobs go, for who compares them in the end.

    Attributes:
        path: the folder of the last sweep of this process; None: there was none.
    """

    path: Path | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Notes the folder, whose name holds the time."""
        SweepFolder.path = Path(config.hydra.sweep.dir)
