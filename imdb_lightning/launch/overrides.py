"""What overrides can name in `conf/`, plug-ins and folders of the user, and Hydra's complaints in our words."""

import dataclasses
import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError

from imdb_lightning.config.errors import UserError, typed
from imdb_lightning.config.reading import found_instead
from imdb_lightning.config.schema import TrainerConfig
from imdb_lightning.config.shown import shown
from imdb_lightning.launch.clusters import check_plugin

CONFIG_NAME = "config"
_HELP = "See: python -m imdb_lightning --help"
# What a damaged file ends Hydra in: no YAML, no text, nesting that is too deep.
_DAMAGED = yaml.YAMLError, UnicodeDecodeError, RecursionError


class CommandLineError(UserError):
    """A mistake in a sentence of its own: no single value is wrong, or those of several jobs are."""

    def __init__(self, sentence: str) -> None:
        ValueError.__init__(self, sentence)

    def __str__(self) -> str:
        return shown(f"command line: {self.args[0]}")


def search_path(config_dir: str | None, overrides: Sequence[str]) -> list[str]:
    """The override that lets a composition of ours find what --config-dir names, as Hydra's own does."""
    named = [text for text in overrides if text.partition("=")[0] == "hydra.searchpath"]
    if config_dir is None:
        return named[:1]  # Hydra, too, takes the first one.
    folder = Path(config_dir).absolute()
    if not folder.is_dir():
        raise UserError("--config-dir", "an existing folder", repr(config_dir), "Mend the path.")
    others = OverridesParser.create().parse_override(named[0]).value() if named else []
    # Not as_uri: Hydra takes what follows file:// as it is, and would look for a folder named my%20conf.
    paths = [f"file://{folder}", *map(str, others if isinstance(others, list) else [])]
    return [f"hydra.searchpath=[{','.join(map(quoted, paths))}]"]


def expand_glob(text: str, search: list[str]) -> str:
    """Lists what a glob over a group stands for: Hydra's own does not look into a group's folders.

    `+experiment=glob(notebook/*tanh*)` becomes `+experiment=notebook/deep_tanh_mse`, with commas between several.
    """
    if "=glob(" not in text:
        return text
    override = OverridesParser.create().parse_override(text)
    group, pattern = override.key_or_group, override.value()
    options = options_of(group, search)
    chosen: list[str] = pattern.filter(options) if isinstance(pattern, Glob) else []
    if not chosen:
        raise UserError(group, "a glob that matches one of " + ", ".join(options), text, _HELP)
    return f"{text.partition('=')[0]}={','.join(chosen)}"


def key_of(override: str) -> str:
    """The key or group of an override in text: `model` of `+model=mine`."""
    return override.partition("=")[0].lstrip("+~")


def quoted(text: str) -> str:
    """Text as a value that Hydra's grammar takes as it is."""
    return QuotedString(text, Quote.double).with_quotes()


@contextmanager
def explained(search: list[str]) -> Iterator[None]:
    """Turns what Hydra and OmegaConf complain of in the body into a `UserError`."""
    try:
        yield
    except MissingConfigException as error:
        missing = str(error.missing_cfg_file)
        group, _, option = missing.rpartition("/")
        if group == "hydra/launcher":  # Plug-ins bring these options; our file for Slurm builds on submitit_slurm.
            check_plugin("slurm" if option == "submitit_slurm" else option)
        if not options_of(group, search):  # An option of a folder of options, as in experiment=notebook/x.
            group, _, option = missing.partition("/")
        options = options_of(group, search)
        raise UserError(group, "one of " + ", ".join(options), repr(option), _closest(option, options)) from error
    except OverrideParseException as error:
        key, _, value = error.override.partition("=")
        if not key or not value:
            raise UserError(error.override, "group=option or key=value", "something else", _HELP) from error
        parts = [part.strip(" '\"") for part in value.strip("[]").split(",")]
        remedy = f"Type {typed(key, parts if value.startswith('[') else value)}"
        raise UserError(error.override, "quotes around a value like this one", "none", remedy) from error
    except _DAMAGED as error:
        _refuse_damaged(search)
        endless = isinstance(error, RecursionError)
        sentence = "Defaults lists name each other without end" if endless else str(error)
        raise CommandLineError(f"{sentence}. {_HELP}") from error
    except (HydraException, OmegaConfBaseException, OverflowError) as error:
        if ambiguous := re.match(r"Ambiguous value for argument '(.*)'\n", str(error)):
            key, _, value = ambiguous[1].partition("=")
            as_list, as_text = typed(key, value.split(",")), typed(key, value)
            remedy = f"To sweep over it, add --multirun; for a list, type {as_list}; for one text, type {as_text}"
            raise UserError(key, "one value", value, remedy) from error
        # Hydra wraps OmegaConf's errors, which know the key and the dataclass that it is not in or does not fit.
        cause: Any = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
        key, owner = getattr(cause, "full_key", None) or "", getattr(cause, "object_type", None)
        fields = {field.name: field for field in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else {}
        name = key.rpartition(".")[2]
        field = fields.get(name.partition("[")[0])  # Of a list, the key names an item.
        if isinstance(cause, ValidationError) and field is not None:
            raise UserError(key, str(field.type), repr(getattr(cause, "value", None)), _HELP) from error
        if key and fields and name not in fields:
            remedy = _closest(name, list(fields))
            if owner is TrainerConfig and remedy == _HELP:  # What every user of Lightning types first.
                remedy = f"For a flag of Lightning's Trainer use trainer.flags.{name}."
            raise UserError(key, "one of the keys " + ", ".join(fields), "an unknown one", remedy) from error
        # Without the names of classes, and OmegaConf's lines on where in the tree it was.
        text = re.sub(r"^\w+ while resolving interpolation: |\n *(full_key: .*|\w+_type=.*)", "", str(error))
        text = re.sub(r": \w+ raised while composing config:\n", ": ", text)
        sentences = [line.strip().rstrip(".") for line in text.splitlines() if line.strip()]
        raise CommandLineError(". ".join([*sentences, _HELP])) from error


def _refuse_damaged(search: list[str]) -> None:
    """Names the first file of the user's folders that cannot be read; Hydra does not say which one it was."""
    folders = OverridesParser.create().parse_override(search[0]).value() if search else []
    for folder in folders if isinstance(folders, list) else []:
        for path in sorted(Path(str(folder).removeprefix("file://")).rglob("*.yaml")):
            try:
                if path.is_file():
                    OmegaConf.load(path)
            except _DAMAGED as error:
                raise UserError(path, "settings in YAML", found_instead(error), "Mend it.") from error


def options_of(group: str, search: list[str]) -> list[str]:
    """All options of a group, those in folders of it by their path."""
    loader = GlobalHydra.instance().config_loader()
    options = loader.get_group_options(group, ObjectType.CONFIG, CONFIG_NAME, search)
    for folder in loader.get_group_options(group, ObjectType.GROUP, CONFIG_NAME, search):
        options += [f"{folder}/{option}" for option in options_of(f"{group}/{folder}", search)]
    return sorted(set(options))


def _closest(word: str, words: list[str]) -> str:
    close = difflib.get_close_matches(word, words, n=1)
    return f"Did you mean {close[0]}?" if close else _HELP
