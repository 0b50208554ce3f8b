"""The command `python -m imdb_lightning.evaluate RUN [--data FILE]`: a finished run tested again, in full."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from imdb_lightning import config as settings
from imdb_lightning.config import Config
from imdb_lightning.data.bags import Bags
from imdb_lightning.data.datamodule import build_datamodule
from imdb_lightning.data.readers import Row, describe, find_files, labelled_rows
from imdb_lightning.data.splits import Splits, TextsOf
from imdb_lightning.data.vocabulary import RARE_ID, WordIndex, word_ids
from imdb_lightning.errors import UserError
from imdb_lightning.evaluation import Scores, all_metrics, best_threshold, confusion, score
from imdb_lightning.inference import LABELS, load_network, load_run
from imdb_lightning.report import draw_test
from imdb_lightning.results import CONFIG, RunResult, read_result, write_predictions, write_text

_SHOWN = 160
"""Characters of a wrong review on the terminal; `evaluation.json` has all of it."""


def main() -> None:
    """Runs the command line; exit status 2: it cannot be used."""
    arguments = _parse()
    try:
        _evaluate(arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m imdb_lightning.evaluate", description=__doc__.partition(": ")[2])
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument(
        "--data", action="append", metavar="FILE", help="labelled reviews, instead of the run's own test"
    )
    parser.add_argument("--text-column", default="text", help="of FILE (default: text)")
    parser.add_argument("--label-column", default="label", help="of FILE (default: label)")
    parser.add_argument("--labels", nargs=2, default=LABELS, metavar=("NEGATIVE", "POSITIVE"), help="names in FILE")
    parser.add_argument(
        "--output", type=Path, help="folder to write (default: RUN/evaluation/test, or .../FILE's name)"
    )
    parser.add_argument("--wrong", type=int, default=10, help="most confidently wrong reviews to show (default: 10)")
    return parser.parse_args()


def _evaluate(arguments: argparse.Namespace) -> None:
    config, result = settings.load(arguments.run / CONFIG), read_result(arguments.run)
    network = load_network(arguments.run, config)
    torch.set_num_threads(config.trainer.threads)
    own = _own_splits(config, result)
    if arguments.data is not None:
        files = find_files("--data", arguments.data)
        name, (texts, bags) = files[0].name.partition(".")[0], _read(files, arguments)
        scores = score(network, config, bags, world_size=1)
    elif isinstance(own, Splits):
        name, texts = "test", own.test_texts or _words_of_bags(own.test, own.word_index, config.data.num_words)
        scores = score(network, config, own.test, result.world_size)
    else:
        raise UserError(arguments.run, "a run whose own reviews are here", own, "Name others with --data FILE.")
    record: dict[str, object] = {"metrics": all_metrics(scores), "confusion": confusion(scores)}
    if isinstance(own, Splits):
        record["threshold"] = _threshold(score(network, config, own.validation, result.world_size), scores)
    rows = _most_wrong(scores, arguments.wrong)
    wrong = [
        {"row": row, "label": int(scores.labels[row]), "probability": float(scores.probabilities[row]), "text": text}
        for row, text in zip(rows, texts(rows), strict=True)
    ]
    folder = arguments.output or arguments.run / "evaluation" / name
    _write(folder, f"{config.name}: {name} reviews", scores, record | {"most_wrong": wrong})
    _print(folder, record, wrong)


def _own_splits(config: Config, result: RunResult) -> Splits | str:
    """The reviews that the run saw, or why they are not to be had."""
    try:
        datamodule = build_datamodule(config.data, config.seed)
        datamodule.setup()
    except UserError as error:
        return str(error)
    theirs = result.data["sha256"]
    if datamodule.splits.sha256 != theirs:
        return f"{datamodule.splits.source} with sha256 {datamodule.splits.sha256} instead of {theirs}"
    return datamodule.splits


def _read(files: list[Path], arguments: argparse.Namespace) -> tuple[TextsOf, Bags]:
    bad: list[Row] = []
    rows = list(labelled_rows(files, arguments.text_column, arguments.label_column, arguments.labels, bad))
    if bad or not rows:
        accepted = "rows with a text and a label 0, 1, " + " or ".join(arguments.labels)
        raise UserError("--data", accepted, describe(bad), "Mend them, or name columns and labels: --help.")
    texts = [text for text, _ in rows]
    ids, offsets = load_run(arguments.run).bags(texts)
    labels = np.array([label for _, label in rows], np.uint8)
    return lambda chosen: [texts[row] for row in chosen], Bags(ids, offsets.astype(np.int64), labels)


def _words_of_bags(bags: Bags, word_index: WordIndex | None, num_words: int) -> TextsOf:
    """What is left of a review in its bag, where there is no text: its words, each once, the rarest first."""
    words = {identity: word for word, identity in word_ids(word_index or {}, num_words).items() if identity != RARE_ID}

    def texts(rows: list[int]) -> list[str]:
        bags_of_rows = [bags.span(row, row + 1)[0][::-1].tolist() for row in rows]
        return [" ".join(words[i] for i in bag if i in words) for bag in bags_of_rows]

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
        said = f"row {review['row']}, label {review['label']}, probability {review['probability']:.4f}: "
        shown = textwrap.shorten(review["text"], _SHOWN, placeholder=" ...")
        console.print(said + shown, highlight=False, markup=False, soft_wrap=True)
    console.print(f"folder  {folder}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
