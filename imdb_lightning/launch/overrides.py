"""What the overrides of a command line can name, and Hydra's complaints about them in our words.

Options are those of our own `conf/`, of plug-ins, and of the folders that `--config-dir` or `hydra.searchpath` name.
To be called while Hydra is initialized.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException, ValidationError

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import TrainerConfig
from imdb_lightning.launch.clusters import find_plugin

CONFIG_NAME = "config"
_HELP = "See: python -m imdb_lightning --help"


def search_path(config_dir: str | None, overrides: Sequence[str]) -> list[str]:
    """The override that lets a composition of ours look into the folder that --config-dir names.

    Hydra itself knows the folder. Of several overrides of the search path it takes the first.
    """
    named = [text for text in overrides if text.partition("=")[0] == "hydra.searchpath"]
    if config_dir is None:
        return named[:1]
    folder = Path(config_dir).absolute()
    if not folder.is_dir():
        raise UserError("--config-dir", "an existing folder", repr(config_dir), "Mend the path.")
    others = OverridesParser.create().parse_override(named[0]).value() if named else []
    # Not as_uri: Hydra takes what follows file:// as it is, and would look for a folder named my%20conf.
    paths = [f"file://{folder}", *map(str, others if isinstance(others, list) else [])]
    return [f"hydra.searchpath=[{','.join(map(quoted, paths))}]"]


def quoted(text: str) -> str:
    """Text as Hydra's grammar quotes it, in which only the quote is escaped; JSON would spell out other letters.

    Example:
        >>> print(quoted('läufe "1"'))
        "läufe \\"1\\""
    """
    return '"' + text.replace('"', '\\"') + '"'


def expand_glob(text: str, search: list[str]) -> str:
    """Lists what a glob over a group stands for: Hydra's own does not look into a group's folders.

    `+experiment=glob(notebook/*relu*)` becomes
    `+experiment=notebook/regularized_relu_bce,notebook/shallow_relu_bce`.
    """
    if "=glob(" not in text:
        return text
    override = OverridesParser.create().parse_override(text)
    group, pattern = override.key_or_group, override.value()
    options = _options(group, search)
    chosen: list[str] = pattern.filter(options) if isinstance(pattern, Glob) else []
    if not chosen:
        raise UserError(group, "a glob that matches one of " + ", ".join(options), text, _HELP)
    return f"{text.partition('=')[0]}={','.join(chosen)}"


def explain(error: Exception, search: Sequence[str] = ()) -> UserError:
    """Hydra's and OmegaConf's complaints in our words."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        if error.missing_cfg_file == "hydra/launcher/submitit_slurm":
            find_plugin("slurm")  # On which our own file of that launcher builds.
        group, _, option = error.missing_cfg_file.rpartition("/")
        if not _options(group, search):  # An option of a folder of options, as in experiment=notebook/x.
            group, _, option = error.missing_cfg_file.partition("/")
        options = _options(group, search)
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
        remedy = _closest(name, list(fields))
        if owner is TrainerConfig and remedy == _HELP:  # What every user of Lightning types first.
            remedy = f"For a flag of Lightning's Trainer use trainer.flags.{name}."
        return UserError(key, "one of the keys " + ", ".join(fields), "an unknown one", remedy)
    return UserError("command line", "settings that go together", " ".join(str(error).split()), _HELP)


def _options(group: str, search: Sequence[str]) -> list[str]:
    """All options of a group, those in folders of it by their path."""
    loader = GlobalHydra.instance().config_loader()

    def found(kind: ObjectType) -> list[str]:
        return loader.get_group_options(group, kind, CONFIG_NAME, list(search))

    options = found(ObjectType.CONFIG)
    for folder in found(ObjectType.GROUP):
        options += [f"{folder}/{option}" for option in _options(f"{group}/{folder}", search)]
    return sorted(set(options))


def _closest(word: str, words: list[str]) -> str:
    close = difflib.get_close_matches(word, words, n=1)
    return f"Did you mean {close[0]}?" if close else _HELP
