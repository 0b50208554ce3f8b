"""Word indexes from elsewhere: ranks are whole numbers whose ids fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imdb_lightning.config.errors import UserError
from imdb_lightning.data.vocabulary import MAX_RANK, load_word_index


@pytest.mark.parametrize("rank", [0, -1, MAX_RANK + 1, 10**30, 1.0, "1", True, None, [1]])
def test_rank_that_is_none_is_refused_with_its_word(rank: object, tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    path.write_text(json.dumps({"the": 1, "film": rank}))
    with pytest.raises(UserError, match=rf"index\.json, 'film': expected ranks .* from 1 to {MAX_RANK}"):
        load_word_index(path)


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b"[" * 100_000])
def test_file_that_is_no_index_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_bytes(content)
    with pytest.raises(UserError, match=r"index\.json: expected a JSON object of words and ranks"):
        load_word_index(tmp_path / "index.json")


def test_index_saved_by_an_editor_on_windows_is_read(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"the": 1}', encoding="utf-8-sig")
    assert load_word_index(tmp_path / "index.json") == {"the": 1}


def test_largest_rank_is_taken(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(json.dumps({"the": 1, "film": MAX_RANK}))
    assert load_word_index(tmp_path / "index.json") == {"the": 1, "film": MAX_RANK}
