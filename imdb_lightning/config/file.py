"""A run's `config.yaml`, which may be a stranger's: read as plain values, with bounds, and nothing in it resolved.

A run writes no interpolation, no alias and no deep nesting, so none is accepted: `${oc.env:TOKEN}` as a label would put
a secret into every answer, and a few lines of aliases stand for more values than any memory holds.
"""

from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.reading import found_instead, read_text
from imdb_lightning.config.schema import Config, parse

# A run writes some 1,500 bytes, and more when it names many files; so much is parsed in about a second.
MAX_BYTES = 1 << 17
MAX_DEPTH = 20
# libyaml's parser where it is there: a hundred times faster.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_config(path: Path) -> Config:
    """Reads the settings of a run.

    Raises:
        UserError: the file is missing, or it holds something else.
    """
    try:
        text = read_text(path, MAX_BYTES)
        _check_structure(text)
        values = OmegaConf.create(text)
        if not isinstance(values, DictConfig):
            raise ValueError("it is no mapping")
        # Of runs from before it followed from the monitor alone.
        if isinstance(values.get("callbacks"), DictConfig):
            values.callbacks.pop("mode", None)
        return parse(values)
    # A UserError of a value out of its range is a ValueError, too.
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError, OmegaConfBaseException) as error:
        remedy = "Name the folder of a run, as a run has written it."
        raise UserError(path, "the settings of a run", found_instead(error), remedy) from error


def _check_structure(text: str) -> None:
    """Refuses aliases, interpolations and deep nesting before anything is built from them."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"an alias, *{event.anchor}")
        # In the parsed scalar: in the text, an escape such as \x24 could stand for the dollar.
        if isinstance(event, yaml.ScalarEvent) and "${" in event.value:
            raise ValueError(f"an interpolation: {event.value}")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} levels of nesting")
