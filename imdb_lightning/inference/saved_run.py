"""A trained network in its run's folder, written and read back: probabilities and reasons for raw reviews.

Reading needs `config.yaml`, `model.safetensors`, `vocabulary.json` and for n-grams `ngrams.safetensors`, neither
Lightning nor Hydra, and runs no code.
"""

import itertools
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from imdb_lightning.config.data import LABELS
from imdb_lightning.config.errors import UserError
from imdb_lightning.config.file import load_config
from imdb_lightning.config.reading import found_instead, why_unreadable
from imdb_lightning.config.schema import Config
from imdb_lightning.data.bags import Ids, distinct
from imdb_lightning.data.ngrams import FILE, NGrams, load_ngrams, to_bytes
from imdb_lightning.data.prepare import to_words, unknown_id
from imdb_lightning.data.vocabulary import RARE_ID, START_ID, WordIndex, encode, load_word_index, tokenize, word_ids
from imdb_lightning.inference.ensemble import Ensemble, shared_classes
from imdb_lightning.model.attribution import word_shares
from imdb_lightning.model.network import SentimentNetwork, build_network
from imdb_lightning.model.objective import check_finite, to_probabilities
from imdb_lightning.runs.files import write_file, write_text
from imdb_lightning.runs.records import CONFIG, VOCABULARY, WEIGHTS, how_to_rewrite

if TYPE_CHECKING:
    from imdb_lightning.data.words import TextEncoder

# How an explanation names the id that every review begins with, and the one that all rare words share.
START, RARE = "<start>", "<rare words>"
# Batches are padded to a multiple of this: of 8, 16 and 64 the one with which 6,000 reviews got the same bits in
# batches of 1, 7, 64, 1000, 2048 and 6000.
_ROW_MULTIPLE = 64
# Reviews scored at once: 80 MB of ids for long ones, and the fastest of 1024, 2048 and 4096.
SCORING_BATCH = 2048
# Texts from which on Arrow tokenizes faster: for each batch it makes a table of all words.
_MANY = 256


@dataclass(frozen=True)
class Explanation:
    """Why a review is scored as it is."""

    probability: float  # Of being positive, from 0 to 1.
    logit: float  # Its log odds: the sum of `bias` and all `shares`.
    bias: float  # The logit of a review without words.
    shares: dict[str, float]  # Of each distinct word in the logit, above 0 for positive, the largest in size first.


class SavedRun:
    """A trained network and its words; see `load_run`."""

    def __init__(
        self, config: Config, network: SentimentNetwork, word_index: dict[str, int], ngrams: NGrams | None
    ) -> None:
        self.config = config
        self._network, self._ngrams = network.eval(), ngrams
        self._ids, self._unknown = word_ids(word_index, config.data.num_words), unknown_id(config.data)
        self._tokens = getattr(config.data, "tokens", "words")  # Other sources than own text know words alone.

    def predict_proba(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Probabilities of being positive, float32 `[R]`, of raw reviews, which are read as they are scored."""
        if isinstance(texts, str):  # Else each of its characters would be a review.
            raise UserError("predict_proba", "a list of texts", "one text", "Say run.predict_proba([text]).")
        parts, remaining = [np.zeros(0, np.float32)], iter(texts)
        while batch := list(itertools.islice(remaining, SCORING_BATCH)):
            parts.append(self.score(*self.bags(batch)))
        return np.concatenate(parts)

    @cached_property
    def _encoder(self) -> "TextEncoder":
        from imdb_lightning.data.words import TextEncoder  # Arrow takes a fifth of a second to import.

        return TextEncoder(self._ids, self._unknown, self._tokens)

    def label(self, probability: float) -> str:
        """The class that a probability stands for: positive above 0.5."""
        return class_names(self.config)[probability > 0.5]

    def explain(self, text: str) -> Explanation:
        """What each word of a raw review did to its score; see `model.attribution` for the method."""
        if not isinstance(text, str):  # As in a notebook, where nothing checks types.
            remedy = "Say [run.explain(text) for text in texts]."  # type: ignore[unreachable]
            raise UserError("explain", "one text", type(text).__name__, remedy)
        words = tokenize(text, self._tokens)
        ids, _ = self.bags([text])
        shares, bias = word_shares(self._network, torch.from_numpy(ids).long())
        names = {self._ids[word]: word for word in words if word in self._ids} | {START_ID: START, RARE_ID: RARE}
        if self._ngrams is not None:
            names = {column: " ".join(names[i] for i in self._ngrams.words(column)) for column in ids.tolist()}
        ordered = sorted(zip(ids.tolist(), shares.tolist(), strict=True), key=lambda pair: -abs(pair[1]))
        logit = bias + float(shares.sum())
        shares_of_words = {names[identity]: share for identity, share in ordered}
        return Explanation(float(torch.sigmoid(torch.tensor(logit))), logit, bias, shares_of_words)

    def bags(self, texts: Iterable[str]) -> tuple[Ids, Ids]:
        """Bags of raw reviews: ids int32 `[n]` and offsets int32 `[B + 1]`."""
        texts = list(texts)
        if len(texts) < _MANY:
            ids, lengths = encode((tokenize(text, self._tokens) for text in texts), self._ids, self._unknown)
        else:
            ids, lengths = self._encoder(texts)
        if self._ngrams is None:
            kept, counts = distinct(ids, lengths, len(self._network.words.weight))
        else:
            kept, counts = self._ngrams.bags(to_words(ids), lengths)
        return kept, np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)

    @torch.inference_mode()
    def score(self, ids: Ids, offsets: Ids) -> NDArray[np.float32]:
        """Probabilities of bags: ids int32 `[n]` and offsets int32 `[B + 1]` to float32 `[B]`.

        A review's probability does not depend on the reviews around it: matrix products round the last few rows of a
        batch differently, and empty bags take their place.
        """
        bags = len(offsets) - 1
        padded = np.append(offsets, np.full(-bags % _ROW_MULTIPLE, offsets[-1], np.int32))
        probabilities = to_probabilities(self._network(torch.from_numpy(ids), torch.from_numpy(padded)))
        scores: NDArray[np.float32] = check_finite(probabilities).numpy()[:bags]
        return scores


def class_names(config: Config) -> Sequence[str]:
    """Names of the negative and the positive class of a finished run."""
    return getattr(config.data, "labels", None) or LABELS


def write_model(folder: Path, network: SentimentNetwork, word_index: WordIndex | None, ngrams: NGrams | None) -> None:
    """Writes what prediction needs besides the settings; without a word index, no `vocabulary.json`."""
    weights = {name: weight.contiguous().cpu() for name, weight in network.state_dict().items()}
    write_file(folder / WEIGHTS, save(weights))
    if word_index is not None:
        write_text(folder / VOCABULARY, json.dumps(word_index))
    if ngrams is not None:
        write_file(folder / FILE, to_bytes(ngrams))


@overload
def load_run(path: str | Path) -> SavedRun: ...
@overload
def load_run(path: Iterable[str | Path]) -> SavedRun | Ensemble: ...
def load_run(path: str | Path | Iterable[str | Path]) -> SavedRun | Ensemble:
    """Reads a trained network from a run's folder, here or copied from elsewhere; of several folders, their ensemble.

    Raises:
        UserError: a file is missing, damaged, or of another run, or runs have other classes than the first.

    Example:
        run = load_run("logs/shallow_relu_bce/2026-01-01_12-00-00-000000")
        run.predict_proba(["a wonderful film", "the worst film ever made"])
    """
    if isinstance(path, str | os.PathLike):
        return _load(Path(path))
    folders = list(map(Path, path))
    if not folders:
        raise UserError("load_run", "a run's folder, or several", "none", "Name one.")
    runs = list(map(_load, folders))
    shared_classes(folders, [class_names(run.config) for run in runs])
    return Ensemble(runs) if len(runs) > 1 else runs[0]


def _load(folder: Path) -> SavedRun:
    config = load_config(folder / CONFIG)
    network, word_index = load_network(folder, config), load_words(folder)
    return SavedRun(config, network, word_index, load_ngrams(folder) if config.data.learns_columns() else None)


def load_words(folder: Path) -> dict[str, int]:
    """The word index of a run.

    Raises:
        UserError: it is missing or damaged.
    """
    _check_there(folder, VOCABULARY)
    try:
        return load_word_index(folder / VOCABULARY)
    except UserError as error:
        name, accepted, got, _ = error.args
        raise UserError(name, accepted, got, how_to_rewrite(folder)) from error


def _check_there(folder: Path, name: str) -> None:
    """Refuses to go on without a file; opening what is no plain one could take for ever."""
    path = folder / name
    if found := why_unreadable(path):
        remedy = "Name the folder of a finished run"
        remedy += " whose data has a word index." if name == VOCABULARY else "."
        raise UserError(path, "a file of a finished run", found, remedy)


def load_network(folder: Path, config: Config) -> SentimentNetwork:
    """The network that was tested, in its evaluation state.

    Raises:
        UserError: the weights are missing, damaged, of another network, or not finite.
    """
    model, path = config.model, folder / WEIGHTS
    for name in (WEIGHTS, FILE) if config.data.learns_columns() else (WEIGHTS,):
        _check_there(folder, name)
    width = len(load_ngrams(folder)) if config.data.learns_columns() else config.data.num_words
    assert width is not None
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            slices = [(name, file.get_slice(name)) for name in names]
            found = {name: (part.get_dtype(), part.get_shape()) for name, part in slices}
        # A stranger's settings may ask for any size: it is held against the file's header before memory is taken.
        if len(found) != 2 * len(model.hidden_units) + 2 + (model.feature_weighting != "none"):
            raise ValueError(f"{len(found)} arrays for {len(model.hidden_units)} hidden layers")
        with torch.device("meta"):
            network = build_network(model, width)
        expected = {name: ("F32", list(weight.shape)) for name, weight in network.state_dict().items()}
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                raise ValueError(f"{name} is {found.get(name)} instead of {expected.get(name)}")
        weights = load_file(path)
        for name, weight in weights.items():
            if not weight.isfinite().all():  # All answers would be NaN, or those of some reviews.
                raise ValueError(f"{name} has numbers that are not finite")
        network.load_state_dict(weights, assign=True)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise UserError(
            path, "the weights of this run's network", found_instead(error), how_to_rewrite(folder)
        ) from error
    return network.eval()
