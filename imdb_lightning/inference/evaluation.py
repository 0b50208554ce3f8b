"""A finished run tested again, in full: on its own test reviews or on others."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.file import load_config
from imdb_lightning.data.bags import Bags
from imdb_lightning.data.cache import own_cache
from imdb_lightning.data.readers import Row, describe, find_files, labelled_rows
from imdb_lightning.data.sources import find_splits
from imdb_lightning.data.splits import Splits
from imdb_lightning.data.vocabulary import RARE_ID, load_word_index, word_ids
from imdb_lightning.inference.saved_run import load_network, load_run
from imdb_lightning.inference.scoring import Scores, all_metrics, best_threshold, confusion, score
from imdb_lightning.runs.files import write_text
from imdb_lightning.runs.lifecycle import refuse_links
from imdb_lightning.runs.records import CONFIG, VOCABULARY, read_result, write_predictions
from imdb_lightning.runs.report import draw_test

_SHOWN = 160
"""Characters of a wrong review on the terminal; `evaluation.json` has all of it."""


Texts = Callable[[list[int]], list[str]]
"""Gives the texts of rows."""


def evaluate(
    run: Path,
    data: Sequence[str] | None,
    text_column: str,
    label_column: str,
    labels: Sequence[str],
    cache: Path | None,
    output: Path | None,
    wrong: int,
) -> None:
    """Tests a run, writes `evaluation.json`, predictions and pictures, and prints the numbers.

    Args:
        run: its folder.
        data: files with labelled reviews; None: the run's own test reviews.
        text_column: holds the review, in files with columns.
        label_column: holds the label.
        labels: names of the negative and the positive class in the files; 0 and 1 always do.
        cache: holds the run's reviews; None: the user's own.
        output: folder to write; None: below `RUN/evaluation`.
        wrong: how many of the most confidently wrong reviews to show.

    Raises:
        UserError: the run or the reviews cannot be used.
    """
    config, result = load_config(run / CONFIG), read_result(run)
    network = load_network(run, config)
    torch.set_num_threads(config.trainer.threads)
    cache = cache or own_cache()
    own = find_splits(cache, result.data, config.data.num_words)
    if data is not None:
        files = find_files("--data", data)
        name, (texts, bags) = files[0].name.partition(".")[0], _read(run, files, text_column, label_column, labels)
        scores = score(network, config, bags, world_size=1)
    elif own is not None:
        name, texts = "test", _texts_of(own, run, config.data.num_words)
        scores = score(network, config, own.test, result.world_size)
    else:
        # A stranger's settings may name any file, and any folder as the cache: neither is touched.
        trained_with = config.data.cache_dir or "DIR"
        remedy = f"Name other reviews with --data FILE, or the cache that it was trained with: --cache {trained_with}"
        raise UserError(run, f"a run whose reviews are in the cache {cache}", "no such reviews", remedy)
    record: dict[str, object] = {"metrics": all_metrics(scores), "confusion": confusion(scores)}
    if own is not None:
        record["threshold"] = _threshold(score(network, config, own.validation, result.world_size), scores)
    rows = _most_wrong(scores, wrong)
    most_wrong = [
        {"row": row, "label": int(scores.labels[row]), "probability": float(scores.probabilities[row]), "text": text}
        for row, text in zip(rows, texts(rows), strict=True)
    ]
    if output is None:
        output = run / "evaluation" / name
        refuse_links(run, "evaluation", f"evaluation/{name}")
    _write(output, f"{config.name}: {name} reviews", scores, record | {"most_wrong": most_wrong})
    _print(output, record, most_wrong)


def _read(
    run: Path, files: list[Path], text_column: str, label_column: str, labels: Sequence[str]
) -> tuple[Texts, Bags]:
    bad: list[Row] = []
    rows = list(labelled_rows(files, text_column, label_column, labels, bad))
    if bad or not rows:
        accepted = "rows with a text and a label 0, 1, " + " or ".join(labels)
        raise UserError("--data", accepted, describe(bad), "Mend them, or name columns and labels: --help.")
    texts = [text for text, _ in rows]
    ids, offsets = load_run(run).bags(texts)
    numbers = np.array([label for _, label in rows], np.uint8)
    return lambda chosen: [texts[row] for row in chosen], Bags(ids, offsets.astype(np.int64), numbers)


def _texts_of(splits: Splits, run: Path, num_words: int) -> Texts:
    """Gives test reviews as text: raw where that is to be had, else the words of their bags, the rarest first."""

    def texts(rows: list[int]) -> list[str]:
        raw = [None] * len(rows) if splits.test_texts is None else splits.test_texts(rows)
        index = load_word_index(run / VOCABULARY) if (run / VOCABULARY).is_file() else {}
        words = {identity: word for word, identity in word_ids(index, num_words).items() if identity != RARE_ID}
        bags = [splits.test.span(row, row + 1)[0][::-1].tolist() for row in rows]
        return [text or " ".join(words[i] for i in bag if i in words) for text, bag in zip(raw, bags, strict=True)]

    return texts


def _threshold(validation: Scores, scores: Scores) -> dict[str, float]:
    """The threshold that is best on validation, and what it gives here."""
    best = best_threshold(validation.labels, validation.probabilities)
    return {
        "best_on_validation": best,
        "accuracy": float(((scores.probabilities > best) == (scores.labels == 1)).mean()),
    }


def _most_wrong(scores: Scores, count: int) -> list[int]:
    """Rows of wrong answers, the most confident first."""
    error = np.abs(scores.labels - scores.probabilities)
    order = np.argsort(-error, kind="stable")[:count]
    return [int(row) for row in order if (scores.probabilities[row] > 0.5) != (scores.labels[row] == 1)]


def _write(folder: Path, title: str, scores: Scores, record: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "evaluation.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    write_predictions(folder, scores.labels, scores.probabilities)
    draw_test(folder, title)


def _print(folder: Path, record: dict[str, Any], wrong: list[dict[str, Any]]) -> None:
    console = Console()
    table = Table("", title=folder.name, title_justify="left")
    table.add_column("", justify="right")
    for name, value in record["metrics"].items():
        table.add_row(name.replace("_", " "), f"{value:.4f}")
    for name, count in record["confusion"].items():
        table.add_row(name.replace("_", " "), f"{count:,}")
    if "threshold" in record:
        table.add_row("threshold best on validation", f"{record['threshold']['best_on_validation']:.4f}")
        table.add_row("accuracy with it", f"{record['threshold']['accuracy']:.4f}")
    console.print(table)
    for review in wrong:
        heading = f"row {review['row']}, label {review['label']}, probability {review['probability']:.4f}: "
        excerpt = textwrap.shorten(review["text"], _SHOWN, placeholder=" ...")
        console.print(heading + excerpt, highlight=False, markup=False, soft_wrap=True)
    console.print(f"folder  {folder}", highlight=False, soft_wrap=True)
