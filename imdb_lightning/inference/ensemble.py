"""Several trained networks as one: the mean of their probabilities, of the same classes.

They may differ in everything else, also in their words: each reads the texts itself.
"""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import Config
from imdb_lightning.runs.averaging import mean_probabilities

# Held at once, while one network after the other reads them.
_TEXTS = 8192


class Member(Protocol):
    """What an ensemble asks of each of its networks."""

    config: Config

    def predict_proba(self, texts: Iterable[str]) -> NDArray[np.float32]: ...

    def label(self, probability: float) -> str: ...


class Ensemble:
    """Trained networks with the same classes, used as one; see `load_run`.

    `config` is that of the first, which says how files are read.
    """

    def __init__(self, runs: Sequence[Member]) -> None:
        self.config, self._runs = runs[0].config, runs
        self.label = runs[0].label

    def predict_proba(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Means of the networks' probabilities of being positive, float32 `[R]`, of raw reviews."""
        if isinstance(texts, str):
            return self._runs[0].predict_proba(texts)  # Refuses it.
        parts, remaining = [np.zeros(0, np.float32)], iter(texts)
        while batch := list(itertools.islice(remaining, _TEXTS)):
            parts.append(mean_probabilities([run.predict_proba(batch) for run in self._runs]))
        return np.concatenate(parts)

    def explain(self, text: str) -> NoReturn:
        """Refuses: there are no shares to give."""
        raise no_reasons("explain", len(self._runs))


def no_reasons(key: str, runs: int) -> UserError:
    """What to say to someone who asks an ensemble for reasons."""
    found = f"{runs}, whose probability is a mean of sigmoids and no sum of words' shares"
    return UserError(key, "one run", found, "Name one of the runs.")


def shared_classes(runs: Sequence[Path], classes: Sequence[Sequence[str]]) -> Sequence[str]:
    """The names of the negative and the positive class, given those of each run in a folder.

    Raises:
        UserError: runs have others.
    """
    first = " and ".join(classes[0])
    for run, names in zip(runs, classes, strict=True):
        if list(names) != list(classes[0]):
            accepted = f"a run with the classes of {runs[0]}, {first}"
            raise UserError(run, accepted, " and ".join(names), "Name runs with the same classes.")
    return classes[0]
