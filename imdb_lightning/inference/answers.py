"""Raw reviews answered in bulk: read from a file or a stream, written as CSV, JSON Lines or colored words.

Each line of a stream is answered as soon as it is there.
"""

import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import torch
from rich.console import Console
from rich.text import Text

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.reading import own_path
from imdb_lightning.config.shown import plain
from imdb_lightning.data.bounds import MAX_REVIEW
from imdb_lightning.data.formats import UNDECODABLE, Format, wrong_encoding
from imdb_lightning.data.lines import too_long
from imdb_lightning.data.parallel import batches, map_in_order
from imdb_lightning.data.readers import read_rows
from imdb_lightning.inference.ensemble import Ensemble, no_reasons
from imdb_lightning.inference.saved_run import SCORING_BATCH, SavedRun, load_run
from imdb_lightning.runs.files import replacing
from imdb_lightning.runs.records import CONFIG

_READ_BYTES = 1 << 20
Review = tuple[int, str]  # Row from 1, and text.
Scored = tuple[list[Review], list[float]]  # With probabilities of being positive.


class Style(NamedTuple):
    """How answers look."""

    format: str  # `csv`, `jsonl`, or `color` for people at a terminal.
    rows: bool  # Answer with each review's row, not its text.
    explain: bool  # Add each word's share in the logit.
    top: int  # Words to show in color.


def runs_and_file(names: list[str]) -> tuple[list[Path], str]:
    """Names as one types them: folders of runs, at least one, then perhaps a file of reviews; without it, `-`.

    Raises:
        UserError: more than one name is left after those of runs.
    """
    # By the module, since `Path.is_file` raises where a name is too long, as that of a text given for a file.
    found = itertools.takewhile(lambda name: os.path.isfile(f"{name}/{CONFIG}"), names[1:])  # noqa: PTH113
    runs = [Path(names[0]), *map(Path, found)]
    others = names[len(runs) :]
    if len(others) > 1:
        accepted = f"the folder of a run, with a {CONFIG} in it, where more names follow"
        remedy = "Mend the path; FILE comes last, and SWEEP/*/ names a sweep's runs."
        raise UserError(others[0], accepted, "none", remedy)
    return runs, others[0] if others else "-"


def answer(
    folders: Sequence[Path], file: str, text: Sequence[str] | None, output: Path | None, style: Style, **reading: Any
) -> None:
    """Answers the reviews of `text`, else those of a file (`-`: standard input), by finished runs: several as one.

    The output is written whole or not at all; None: to standard output, as answers come. `reading` are fields of
    `Format` that are to differ from the first run's; None: they do not.

    Raises:
        UserError: a run or the reviews cannot be used, or several runs are asked for reasons.
    """
    if style.explain and len(folders) > 1:
        raise no_reasons("--explain", len(folders))
    torch.set_num_threads(1)
    run = load_run(folders)

    def score(batch: list[Review]) -> Scored:
        return batch, run.predict_proba(text for _, text in batch).tolist()

    scored: Iterator[Scored]
    if text is not None:
        scored = map(score, [list(enumerate(map(_repaired, text), start=1))])
    elif file == "-":
        scored = map(score, _lines_as_they_come(sys.stdin.fileno()))
    else:
        form = Format.of(run.config.data, options=True, **reading)
        # Several threads read ahead, for which a stream that is answered line by line must not wait.
        scored = map_in_order(score, _rows(own_path(file), form._replace(label_column=None)))
    if output is None:
        _write(run, scored, style, sys.stdout, plain if sys.stdout.isatty() else str)
        return
    with replacing(output) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as stream:
        _write(run, scored, style, stream, str)


def _rows(path: Path, form: Format) -> Iterator[list[Review]]:
    # A review that is given for a file is a name that nothing has, or too long for one: then `Path.exists` would raise.
    if not os.path.exists(path):  # noqa: PTH110
        remedy = "Mend the path; a review itself comes after --text."
        raise UserError(path, "an existing file or folder", "none", remedy)
    warned = False
    for batch in batches(read_rows(path, form), SCORING_BATCH, lambda row: len(row.text)):
        for row in batch:
            if not row.answerable:
                raise UserError(row.place, "a review", row.problem, "Mend or remove the row.")
            if row.problem.startswith(UNDECODABLE) and not warned:
                wrong, warned = wrong_encoding(row.place, row.problem, form), True
                print(f"warning: {wrong} Until then \ufffd stands in their place.", file=sys.stderr)
        yield [(row.number, _repaired(row.text)) for row in batch]


def _repaired(text: str) -> str:
    """Text whose bytes were no text to the reader, read as UTF-8: as of a command line where only ASCII is known."""
    return text if text.isascii() else text.encode(errors="surrogateescape").decode(errors="replace")


def _lines_as_they_come(file: int) -> Iterator[list[Review]]:
    """All whole lines that each read finds, so that a slow stream is answered line by line, a fast one in batches."""
    rows, buffer = itertools.count(1), bytearray()
    while data := os.read(file, _READ_BYTES):
        buffer += data
        if len(buffer) > MAX_REVIEW + len(data):
            raise too_long(f"standard input, row {next(rows)}")
        # A long line grows in place: split anew at each read, it would cost the square of its length.
        if b"\n" in data:
            *lines, buffer = buffer.split(b"\n")
            yield [(next(rows), _decode(line)) for line in lines]
    if buffer:
        yield [(next(rows), _decode(buffer))]


def _decode(line: bytearray) -> str:
    return line.removesuffix(b"\r").decode(errors="replace")


def _write(
    run: SavedRun | Ensemble, scored: Iterable[Scored], style: Style, output: TextIO, show: Callable[[str], str]
) -> None:
    """Writes answers, each line as `show` gives it: reviews may hold what steers a terminal."""
    columns = ["row" if style.rows else "text", "label", "probability", *(("bias", "shares") if style.explain else ())]
    console = Console(file=output, force_terminal=True, highlight=False)
    remaining = iter(scored)
    first = next(remaining, ([], []))  # Read before anything is written, since the file may be refused.
    if style.format == "csv":
        output.write(",".join(columns) + "\n")
    for batch, probabilities in itertools.chain([first], remaining):
        if style.format == "color":
            for row, text in batch:
                console.print(_colored(run, row, text, style.top))
        elif style.format == "csv":
            records = _records(run, batch, probabilities, style)
            output.writelines(show(",".join(_cell(record[name]) for name in columns)) + "\n" for record in records)
        else:
            records = _records(run, batch, probabilities, style)
            output.writelines(show(json.dumps(record, ensure_ascii=False)) + "\n" for record in records)
        output.flush()


def _records(
    run: SavedRun | Ensemble, batch: list[Review], probabilities: list[float], style: Style
) -> Iterator[dict[str, object]]:
    for (row, text), probability in zip(batch, probabilities, strict=True):
        record: dict[str, object] = {"row": row} if style.rows else {"text": text}
        record |= {"label": run.label(probability), "probability": probability}
        if style.explain:
            explanation = run.explain(text)
            record |= {"logit": explanation.logit, "bias": explanation.bias, "shares": explanation.shares}
        yield record


def _cell(value: object) -> str:
    """A value as CSV has it, like Python's writer, which goes through long texts five times slower."""
    if isinstance(value, float):
        return f"{value:.9g}"  # Nine digits give a float32 back exactly.
    if isinstance(value, int):
        return str(value)
    # Many readers of CSV stop at a NUL.
    text = value.replace("\0", "\ufffd") if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    quoted = any(character in text for character in ',"\r\n')
    return '"' + text.replace('"', '""') + '"' if quoted else text


def _colored(run: SavedRun | Ensemble, row: int, text: str, top: int) -> Text:
    """For people: words that speak for the positive class in green, for the negative one in red."""
    explanation = run.explain(text)
    shares = list(explanation.shares.items())
    shown, others = shares[:top], shares[top:]
    if others:
        shown.append((f"{len(others)} others", sum(share for _, share in others)))
    line = Text(f"{row}: {plain(run.label(explanation.probability))} {explanation.probability:.4f} = sigmoid(", "bold")
    for word, share in [*shown, ("bias", explanation.bias)]:
        line.append(f" {plain(word)} {share:+.2f}", "not bold " + ("green" if share > 0 else "red"))
    return line.append(" )")
