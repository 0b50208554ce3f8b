"""Names of folders that follow from a command line, and the command line that goes on in one of them."""

import re
import sys
from collections.abc import Sequence

from omegaconf import OmegaConf

from imdb_lightning.config.shown import is_secret, shown_command
from imdb_lightning.launch.overrides import key_of, quoted

# Characters of a job's folder.
_LENGTH = 80
# What Hydra's grammar takes without quotes.
_PLAIN = re.compile(r"[^\W\d][\w./=-]*")


def job_folder(number: int, name: str, overrides: Sequence[str], left_out: Sequence[str]) -> str:
    """The folder of a sweep's job: its number, its name, and its overrides but for the keys that are left out.

    Example:
        >>> job_folder(3, "deep", ["model=deep", "data=imdb", "seed=1", "model.hidden_units=[8,4]"], ["data"])
        '3_deep_seed=1_hidden_units=8-4'
    """
    parts = [str(number), name]
    for text in overrides:
        key, value = key_of(text), text.partition("=")[2].rpartition("/")[2]
        # An option that gave its name stands there already.
        if key not in left_out and value != name and not is_secret(key):
            value = re.sub(r"[^\w.+-]+", "-", value.strip("[]{}()'\" "))
            parts.append(f"{key.rpartition('.')[2]}={value}")
    return "_".join(parts)[:_LENGTH]


# On import, so that it is known in every process that a launcher starts: each looks for the function `job` of `cli`.
OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)


def command_in(key: str, folder: str) -> str:
    """This process's command with `hydra.run.dir` or `hydra.sweep.dir` as its key: typed again, it goes on there."""
    words = list(sys.orig_argv)
    places = [place for place, word in enumerate(words) if "=" in word and not word.startswith("-")]
    if not any(words[place].startswith(f"{key}=") for place in places):
        value = folder if _PLAIN.fullmatch(folder) else quoted(folder)
        # Beside the others: argparse refuses overrides with a flag between them.
        words.insert(places[-1] + 1 if places else len(words), f"{key}={value}")
    return shown_command(words)
