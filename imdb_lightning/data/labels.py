"""Labels of own reviews: which two are the classes, and which rows have neither."""

import functools
import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from imdb_lightning.config.data import LABELS, plain_label
from imdb_lightning.config.errors import UserError, typed
from imdb_lightning.data.formats import UNDECODABLE, Format, wrong_encoding
from imdb_lightning.data.readers import Row, read_rows

# Well-known pairs, the negative one first; any other two are put in the order of the alphabet.
_PAIRS = (("0", "1"), ("neg", "pos"), LABELS, ("false", "true"), ("no", "yes"))
_SHOWN = 10
# Rows at the beginning of a split's files that are looked at before a run.
_CHECKED = 1000
# Characters of a label in messages, and different labels that are counted: a wrong column may hold anything.
_SHOWN_CHARACTERS, _COUNTED = 40, 1000


def find_labels(paths: Iterable[Path], form: Format) -> list[str]:
    """The negative and the positive label: the first two different ones in the files, in the order of `_PAIRS`.

    0 and 1 are given as `LABELS`, for which they always stand. Fewer than two are given as they are.
    """
    found: dict[str, str] = {}
    for row in _labelled(paths, form):
        found.setdefault(plain_label(row.label or ""), (row.label or "").strip())
        if len(found) == 2:
            break
    return list(LABELS) if found.keys() == {"0", "1"} else [found[label] for label in _ordered(found)]


@functools.cache  # The jobs of a sweep name the same files.
def check_start(paths: tuple[Path, ...], form: Format, labels: tuple[str, ...], all_rows: bool) -> None:
    """Refuses files by their first rows: of another format, encoding or, if all rows are wanted, other labels.

    Raises:
        UserError: there is such a file.
    """
    known, found = {"0", "1", *map(plain_label, labels)}, set()
    for path in paths:
        for row in itertools.islice(read_rows(path, form), _CHECKED // len(paths) + 1):
            if all_rows and row.problem.startswith(UNDECODABLE):
                raise wrong_encoding(row.place, row.problem, form)
            if not row.problem and (row.label or "").strip():
                found.add(plain_label(row.label or ""))
    if (all_rows and not found <= known) if labels else len(found) > 2:
        raise other_labels(paths, form, labels or None)


class BadRows:
    """Rows that cannot be used, of which a file may hold any number: a count, and those that messages show, textless.

    Attributes:
        count: of all.
        first: the first ones.
        undecodable: the first one with bytes that do not fit its encoding.
        other_labels: whether some have no problem but a label that is none of the two.
    """

    def __init__(self) -> None:
        self.count, self.other_labels = 0, False
        self.first: list[Row] = []
        self.undecodable: Row | None = None

    def add(self, row: Row, problem: str) -> None:
        """Counts a row with a problem, "" for another label; keeps it if it is one of the first."""
        self.count += 1
        if not problem:
            self.other_labels = True
        undecodable = self.undecodable is None and problem.startswith(UNDECODABLE)
        if undecodable or len(self.first) < _SHOWN:
            row = row._replace(text="", label=(row.label or "")[:_SHOWN_CHARACTERS], problem=problem)
            self.first += [row][: _SHOWN - len(self.first)]
            self.undecodable = row if undecodable else self.undecodable

    def __str__(self) -> str:
        """In one line: how many, and where the first ones are."""
        if not self.count:
            return "none"
        shown = "; ".join(f"{row.place}: {row.problem or f'label {row.label!r}'}" for row in self.first)
        more = f"; and {self.count - _SHOWN:,} more" if self.count > _SHOWN else ""
        return f"{self.count:,} bad rows ({shown}{more})"


def labelled_rows(
    paths: Iterable[Path], form: Format, labels: Sequence[str], bad: BadRows
) -> Iterator[tuple[str, int]]:
    """Texts and labels, 0 or 1, of all rows that can be used; the others are added to `bad`.

    `labels` names the negative and the positive class; in files, 0 and 1 always stand for them, too. A bad row without
    a problem has another label.
    """
    known = {"0": 0, "1": 1} | {plain_label(name): number for number, name in enumerate(labels)}
    for path in paths:
        for row in read_rows(path, form):
            label = known.get(plain_label(row.label or ""))
            if row.problem or label is None:
                bad.add(row, row.problem or ("" if (row.label or "").strip() else "no label"))
            else:
                yield row.text, label


def bad_rows(bad: BadRows, paths: Iterable[Path], form: Format, labels: Sequence[str] | None) -> UserError:
    """What to say of bad rows in files, the most likely mistake first: encoding, labels, single rows."""
    if bad.undecodable is not None:
        return wrong_encoding(bad.undecodable.place, bad.undecodable.problem, form)
    if bad.other_labels:
        return other_labels(paths, form, labels)
    skip = "" if form.options else f", or go on without them: {typed(form.key('on_bad_row'), 'skip')}"
    return UserError(
        "--data" if form.options else "data.train", "rows with a text and a label", str(bad), f"Mend them{skip}."
    )


def other_labels(paths: Iterable[Path], form: Format, labels: Sequence[str] | None) -> UserError:
    """What to say of files with labels besides the named two or, without names, with more or fewer than two."""
    spelled: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for row in _labelled(paths, form):
        label = plain_label(row.label or "")
        if label in spelled or len(spelled) < _COUNTED:
            spelled.setdefault(label, (row.label or "").strip()[:_SHOWN_CHARACTERS])
            counts[label] += 1
    shown = ", ".join(f"{spelled[label]} ({count:,})" for label, count in counts.most_common(_SHOWN))
    more = f" and {len(counts) - _SHOWN:,} more" if len(counts) > _SHOWN else ""
    named = "" if labels is None else f", named {' and '.join(labels)}, or 0 and 1"
    pair = next((pair for pair in _PAIRS if counts.keys() >= set(pair)), None)
    chosen = [spelled[label] for label in pair or _ordered(label for label, _ in counts.most_common(2))]
    remedy = "Name files with both."
    if len(counts) > 1:
        pick = typed(form.key("labels"), chosen)
        remedy = f"Pick two of them: {pick}"
        if len(counts) > 2:
            # A command that only tests skips nothing: the answer would be to another question.
            skip = f"{remedy} {typed(form.key('on_bad_row'), 'skip')}"
            remedy = f"Name files with two labels, and say which, as in {pick}" if form.options else skip
        remedy += "."
    found = f"{len(counts):,} labels: {shown}{more}" if len(counts) > 1 else f"only {shown or 'rows without a label'}"
    return UserError(form.key("labels"), f"two classes only{named}", found, remedy)


def _labelled(paths: Iterable[Path], form: Format) -> Iterator[Row]:
    return (row for path in paths for row in read_rows(path, form) if not row.problem and (row.label or "").strip())


def _ordered(labels: Iterable[str]) -> Sequence[str]:
    chosen: Collection[str] = set(labels)
    return next((pair for pair in _PAIRS if set(pair) == chosen), sorted(chosen))
