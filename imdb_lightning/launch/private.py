"""What a run and its ranks share and nobody else sees: a folder of their own, and the secrets among the settings."""

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import Config, flatten
from imdb_lightning.config.shown import HIDDEN, hidden, is_hidden

_PREFIX = "imdb_lightning-ranks-"
_LOCK = "lock"
# Variable with the sections that take any settings, if there are secrets in them.
_SECRETS = "IMDB_LIGHTNING_SECRETS"


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that this user alone can open; removes those that killed runs have left."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        # The system lets go of a lock when its process ends, however it ends.
        with suppress(OSError, Timeout):
            if path.parent.lstat().st_uid == os.getuid():
                with FileLock(path, timeout=0):
                    shutil.rmtree(path.parent, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        folder = Path(name)
        with FileLock(folder / "new"):
            # Under its own name only once it is held: between the two, another run could take it for a leftover.
            (folder / "new").rename(folder / _LOCK)
            yield folder


def secrets_of(config: Config) -> dict[str, str]:
    """Variables that hand a run's secrets to its ranks; no file has them."""
    settings = [config.logger, config.callbacks.extra, config.trainer.flags]
    return {_SECRETS: json.dumps(settings)} if hidden(settings) != settings else {}


def with_secrets(config: Config) -> Config:
    """Settings read from a run's folder, with the secrets that `config.yaml` has not.

    Raises:
        UserError: nobody has handed them to this process.
    """
    if _SECRETS not in os.environ:
        refuse_hidden(config)
        return config
    logger, extra, flags = json.loads(os.environ[_SECRETS])
    callbacks = dataclasses.replace(config.callbacks, extra=extra)
    trainer = dataclasses.replace(config.trainer, flags=flags)
    return dataclasses.replace(config, logger=logger, callbacks=callbacks, trainer=trainer)


def refuse_hidden(config: Config) -> None:
    """Refuses what stands for a secret in files and messages in its place.

    Raises:
        UserError: a setting is that.
    """
    free = {"logger": config.logger, "callbacks.extra": config.callbacks.extra, "trainer.flags": config.trainer.flags}
    for key, value in (pair for section, values in free.items() for pair in flatten(values, f"{section}.").items()):
        if is_hidden(value):
            remedy = f"Type it once more, or name a variable that holds it: '{key}=${{oc.env:NAME}}'"
            raise UserError(key, "its value", f"{HIDDEN}, which stands for it in files and messages", remedy)
