"""Finished runs tested again, in full, several as one: on their own test reviews or on others."""

import json
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torchmetrics.functional.classification import binary_confusion_matrix

from imdb_lightning.config.data import DataConfig
from imdb_lightning.config.errors import UserError
from imdb_lightning.config.file import load_config
from imdb_lightning.config.schema import Config
from imdb_lightning.config.shown import plain
from imdb_lightning.data.bags import Bags
from imdb_lightning.data.cache import own_cache
from imdb_lightning.data.formats import Format
from imdb_lightning.data.labels import BadRows, bad_rows, labelled_rows
from imdb_lightning.data.readers import find_files
from imdb_lightning.data.sampling import find_class_weights
from imdb_lightning.data.sources import find_splits
from imdb_lightning.data.splits import Splits
from imdb_lightning.data.vocabulary import RARE_ID, word_ids
from imdb_lightning.inference.ensemble import shared_classes
from imdb_lightning.inference.saved_run import class_names, load_network, load_run, load_words
from imdb_lightning.inference.scoring import Scores, best_threshold, draw_test, score, score_mean
from imdb_lightning.runs import plots
from imdb_lightning.runs.files import write_text
from imdb_lightning.runs.lifecycle import refuse_links
from imdb_lightning.runs.records import CONFIG, VOCABULARY, read_result
from imdb_lightning.runs.tables import write_predictions

# Characters of a wrong review on the terminal; `evaluation.json` has all of it.
_SHOWN = 160
# Of the confusion matrix, true class by predicted class, row by row.
_CELLS = ("true_negative", "false_positive", "false_negative", "true_positive")

Texts = Callable[[list[int]], list[str]]  # Gives the texts of rows.


class _Tested(NamedTuple):
    """A run, tested."""

    config: Config
    data: dict[str, Any]  # Of its results.
    own: Splits | None  # Its own reviews, where they are to be had.
    test: Scores  # On these, or on others.
    texts: Texts  # Of what it was tested on.
    validation: Scores | None  # On its own reviews.

    def origin(self, split: str) -> tuple[object, ...] | None:
        """What tells a split of its own reviews from others: where it is from, its seed, its labels."""
        if self.own is None:
            return None
        data = self.config.data
        # In own files, what is cut for the test begins where the validation ends.
        sizes = ("validation", "test") if data.source == "text" else (split,)
        values = [self.data.get(key) for key in ("source", "sha256", *sizes)]
        return *values, getattr(data, "seed", None), getattr(self.own, split).labels.tobytes()


def evaluate(
    runs: Sequence[Path], data: Sequence[str] | None, labels: Sequence[str] | None, cache: Path | None,
    output: Path | None, wrong: int, **reading: Any,
) -> None:  # fmt: skip
    """Tests a run, or the mean of several, writes `evaluation.json`, predictions and pictures, and prints the numbers.

    The arguments are those of the command `evaluate`, whose help says what they are.

    Raises:
        UserError: a run or the reviews cannot be used, or runs have other classes or reviews than the first.
    """
    configs = [load_config(run / CONFIG) for run in runs]
    classes, name, reviews = shared_classes(runs, list(map(class_names, configs))), "test", None
    if data is not None:
        files = find_files("--data", data)
        form = Format.of(configs[0].data, options=True, **reading)
        name, reviews = files[0].name.partition(".")[0], _read(files, form, labels or classes)
    tested = [_test(run, reviews, cache or own_cache()) for run in runs]
    scores, validation = _join(runs, tested, own=reviews is None)
    confusion = binary_confusion_matrix(scores.probabilities, scores.labels).flatten().tolist()
    record: dict[str, object] = {"metrics": scores.metrics, "confusion": dict(zip(_CELLS, confusion, strict=True))}
    answers, probabilities = scores.labels.numpy(), scores.probabilities.numpy()
    rows = {
        name.replace("_", " "): "undefined" if value is None else f"{value:.4f}"
        for name, value in scores.metrics.items()
    }
    pairs = [f"{true} predicted {predicted}" for true in classes for predicted in classes]
    rows |= {pair: f"{count:,}" for pair, count in zip(pairs, confusion, strict=True)}
    if validation is not None:
        best = best_threshold(validation.labels.numpy(), validation.probabilities.numpy())
        accuracy = float(((probabilities > best) == answers).mean())
        record["threshold"] = {"best_on_validation": best, "accuracy": accuracy}
        rows |= {"threshold best on validation": f"{best:.4f}", "accuracy with it": f"{accuracy:.4f}"}
    title = f"{configs[0].name if len(runs) == 1 else f'{len(runs)} runs'}: {name} reviews"
    if len(runs) > 1:
        accuracies = [one.test.metrics["accuracy"] for one in tested]
        record["runs"] = [{"run": str(run), "accuracy": each} for run, each in zip(runs, accuracies, strict=True)]
        names = [f"accuracy of run {number}, {run.absolute().name}" for number, run in enumerate(runs, start=1)]
        rows |= {each: f"{accuracy:.4f}" for each, accuracy in zip(names, accuracies, strict=True)}
        name = f"ensemble_{name}"
    most_wrong = _most_wrong(answers, probabilities, tested[0].texts, wrong)
    if output is None:
        output = runs[0] / "evaluation" / name
        # The run's folder may be a stranger's.
        refuse_links(runs[0], "evaluation", f"evaluation/{name}")
    output.mkdir(parents=True, exist_ok=True)
    record["most_wrong"] = most_wrong
    write_text(output / "evaluation.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    write_predictions(output, answers, probabilities)
    for picture, figure in draw_test(scores.labels, scores.probabilities, title, classes).items():
        plots.save(figure, output / f"{picture}.png")
    _print(output, rows, most_wrong, classes)


def _read(files: list[Path], form: Format, labels: Sequence[str]) -> list[tuple[str, int]]:
    bad = BadRows()
    rows = list(labelled_rows(files, form, labels, bad))
    if bad.count or not rows:
        raise bad_rows(bad, files, form, labels)
    return rows


def _test(run: Path, reviews: list[tuple[str, int]] | None, cache: Path) -> _Tested:
    """Tests a run on texts and labels; None: on its own test reviews."""
    config, result = load_config(run / CONFIG), read_result(run)
    network = load_network(run, config)
    torch.set_num_threads(config.trainer.threads)  # As in the run: rounding may differ between numbers of threads.
    weights = find_class_weights(result.data.get("class_weights"), np.zeros(0, np.uint8))
    own = find_splits(cache, result.data, config.data, len(network.words.weight))
    if reviews is not None:
        texts, bags = _bags(run, reviews)
        test = score(network, config, bags, 1, weights)
    elif own is not None:
        test, texts = score(network, config, own.test, result.world_size, weights), _texts_of(own, run, config.data)
    else:
        # A stranger's settings may name any file, and any folder as the cache: neither is touched.
        trained_with = config.data.cache_dir or "DIR"
        remedy = f"Name other reviews with --data FILE, or the cache that it was trained with: --cache {trained_with}"
        raise UserError(run, f"a run whose reviews are in the cache {cache}", "no such reviews", remedy)
    validation = None
    if own is not None and not config.data.with_validation:  # Else it says nothing about other reviews.
        validation = score(network, config, own.validation, result.world_size, weights)
    return _Tested(config, result.data, own, test, texts, validation)


def _bags(run: Path, reviews: list[tuple[str, int]]) -> tuple[Texts, Bags]:
    ids, offsets = load_run(run).bags(text for text, _ in reviews)
    labels = np.array([label for _, label in reviews], np.uint8)
    return lambda chosen: [reviews[row][0] for row in chosen], Bags(ids, offsets.astype(np.int64), labels)


def _join(runs: Sequence[Path], tested: Sequence[_Tested], own: bool) -> tuple[Scores, Scores | None]:
    """Scores of a run, or of the mean of several, on the test and on validation: None unless all have the same.

    Raises:
        UserError: the test is the runs' own, and not all have the same.
    """
    first = tested[0]
    if len(runs) == 1:
        return first.test, first.validation
    for run, one in zip(runs, tested, strict=True):
        if own and one.origin("test") != first.origin("test"):
            accepted, remedy = f"a run with the test reviews of {runs[0]}", "Name reviews for all with --data FILE."
            raise UserError(run, accepted, "one with others", remedy)
    same = all(one.origin("validation") == first.origin("validation") for one in tested)
    validations = [one.validation for one in tested if same and one.validation is not None]
    all_have = len(validations) == len(tested)  # Not so, where some were trained on it.
    return score_mean([one.test for one in tested]), score_mean(validations) if all_have else None


def _texts_of(splits: Splits, run: Path, config: DataConfig) -> Texts:
    """Gives test reviews as text: raw where that is to be had, else the words of their bags, the rarest first."""

    def texts(rows: list[int]) -> list[str]:
        raw = [None] * len(rows) if splits.test_texts is None else splits.test_texts(rows)
        index = load_words(run) if (run / VOCABULARY).exists() else {}
        ids = word_ids(index, config.num_words)
        words = {identity: word for word, identity in ids.items() if identity != RARE_ID}
        if splits.ngrams is not None:  # The words alone, without what they are parts of.
            alone = enumerate(splits.ngrams.tables[0].tolist())
            words = {column: words[identity] for column, identity in alone if identity in words}
        bags = [splits.test.span(row, row + 1)[0][::-1].tolist() for row in rows]
        return [text or " ".join(words[i] for i in bag if i in words) for text, bag in zip(raw, bags, strict=True)]

    return texts


def _most_wrong(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32], texts: Texts, count: int
) -> list[dict[str, Any]]:
    """At most so many wrong answers, the most confident first."""
    order = np.argsort(-np.abs(labels - probabilities), kind="stable")[:count]
    rows = [int(row) for row in order if (probabilities[row] > 0.5) != labels[row]]
    return [
        {"row": row, "label": int(labels[row]), "probability": float(probabilities[row]), "text": text}
        for row, text in zip(rows, texts(rows), strict=True)
    ]


def _print(folder: Path, rows: dict[str, str], most_wrong: list[dict[str, Any]], classes: Sequence[str]) -> None:
    console, table = Console(), Table("", title=escape(plain(folder.name)), title_justify="left")
    table.add_column("", justify="right")
    for row in rows.items():
        table.add_row(*(escape(plain(cell)) for cell in row))
    console.print(table)
    if most_wrong:
        title = f"The most confidently wrong reviews, with the probability of being {classes[1]}:"
        console.print(plain(title), highlight=False, markup=False, soft_wrap=True)
    for review in most_wrong:
        label = classes[review["label"]]
        heading = f"row {review['row']}, label {label}, probability {review['probability']:.4f}: "
        excerpt = textwrap.shorten(review["text"], _SHOWN, placeholder=" ...")
        console.print(plain(heading + excerpt), highlight=False, markup=False, soft_wrap=True)
    console.print(plain(f"folder  {folder}"), highlight=False, markup=False, soft_wrap=True)
