"""The reviews of an earlier run, found again in the user's own cache or own file, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imdb_lightning.config.data import IMDBDataConfig
from imdb_lightning.data.imdb import load_imdb
from imdb_lightning.data.sources import find_splits
from imdb_lightning.data.splits import Splits

CONFIG = IMDBDataConfig(num_words=500, validation_size=200)


@pytest.fixture
def earlier(npz: Path, tmp_path: Path) -> tuple[Splits, dict[str, object]]:
    """Splits of a run, and what its results say of them."""
    (tmp_path / "index.json").write_text('{"the": 1}')
    (tmp_path / "first").mkdir()
    config = IMDBDataConfig(path=str(npz), word_index=str(tmp_path / "index.json"), num_words=500, validation_size=200)
    splits = load_imdb(tmp_path / "first", config)
    sizes = {name: len(getattr(splits, name)) for name in ("train", "validation", "test")}
    return splits, {"source": splits.source, "sha256": splits.sha256, "prepared": splits.prepared} | sizes


def test_cache_has_them_still(earlier: tuple[Splits, dict[str, object]], tmp_path: Path) -> None:
    splits, data = earlier
    for described in (data, {key: value for key, value in data.items() if key != "prepared"}):  # As older runs do.
        found = find_splits(tmp_path / "first", described, CONFIG, 500)
        assert found is not None
        np.testing.assert_array_equal(found.test.ids, splits.test.ids)
        np.testing.assert_array_equal(found.validation.labels, splits.validation.labels)


def test_own_file_with_the_same_content_is_prepared_again(
    earlier: tuple[Splits, dict[str, object]], npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits, data = earlier
    (tmp_path / "empty").mkdir()
    monkeypatch.delenv("IMDB_NPZ", raising=False)
    assert find_splits(tmp_path / "empty", data, CONFIG, 500) is None
    monkeypatch.setenv("IMDB_NPZ", str(npz))
    assert find_splits(tmp_path / "empty", data | {"sha256": "0" * 64}, CONFIG, 500) is None
    assert list((tmp_path / "empty").iterdir()) == []
    found = find_splits(tmp_path / "empty", data, CONFIG, 500)
    assert found is not None
    np.testing.assert_array_equal(found.test.ids, splits.test.ids)


@pytest.mark.parametrize(
    "claim",
    [
        {"prepared": "../first"},
        {"prepared": "/etc"},
        {"validation": 0},
        {"validation": "x"},
        {"validation": 10**9},
        {"test": 1},
    ],
)  # fmt: skip
def test_claims_that_do_not_fit_find_nothing(
    claim: dict[str, object], earlier: tuple[Splits, dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IMDB_NPZ", raising=False)
    assert find_splits(tmp_path / "first", earlier[1] | claim, CONFIG, 500) is None


def test_reviews_wider_than_the_network_find_nothing(earlier: tuple[Splits, dict[str, object]], tmp_path: Path) -> None:
    assert find_splits(tmp_path / "first", earlier[1], CONFIG, 400) is None
