"""Sentiment networks on bags of words: exact over processes, resumable to the bit, fast.

For Lightning scripts of your own. Names are looked up when first asked for, as the package imports nothing heavy.

Example:
    import pytorch_lightning as pl
    from imdb_lightning import IMDBDataModule, SentimentClassifier

    classifier = SentimentClassifier(hidden_units=[16], activation="relu", loss="bce")
    pl.Trainer(max_epochs=4).fit(classifier, IMDBDataModule(path="imdb.npz"))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imdb_lightning.data.datamodule import IMDBDataModule, TextDataModule
    from imdb_lightning.inference.saved_run import load_run
    from imdb_lightning.model.module import SentimentClassifier

__version__ = "0.1.0"
__all__ = ["IMDBDataModule", "SentimentClassifier", "TextDataModule", "__version__", "load_run"]

_HOMES = {"IMDBDataModule": "data.datamodule", "TextDataModule": "data.datamodule"}
_HOMES |= {"SentimentClassifier": "model.module", "load_run": "inference.saved_run"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
