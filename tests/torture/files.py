"""Data files of every kind, damaged at random: each is read, or refused in one message, and leaves nothing behind.

A damaged file that is read as other data, which nothing can see, is fine: a letter of a review is as good as another.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from imdb_lightning.config.data import IMDBDataConfig, TextDataConfig
from imdb_lightning.config.errors import UserError
from imdb_lightning.data.formats import Format
from imdb_lightning.data.imdb import load_imdb
from imdb_lightning.data.parallel import map_in_order
from imdb_lightning.data.readers import read_rows
from imdb_lightning.data.splits import Splits
from imdb_lightning.data.text import check_text, load_text
from imdb_lightning.data.vocabulary import load_word_index
from tests.data.hostile_npz import members
from tests.torture.children import in_child
from tests.torture.table import Row

CASES = 540
"""Of each kind of file, at scale 1."""
SHOWN = 10
"""Failures of each kind that are printed."""


def run(scale: float, seed: int) -> Iterator[Row]:
    """Tries each kind of file."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for kind, (name, content, read) in seeds(work).items():
            row, draw = Row(f"random damage to {kind}"), random.Random(f"{seed} {kind}")
            for case in range(max(1, round(CASES * scale))):
                try_case(row, work / "case", name, mutated(content, draw), read, f"{kind}, case {case} of seed {seed}")
            yield row
        yield from (damaged_cache(work, scale, seed),)


def try_case(row: Row, work: Path, name: str, content: bytes, read: Callable[[Path], object], described: str) -> None:
    """Reads a file in a folder of its own, by a child, and counts what came of it."""
    work.mkdir()
    (work / name).write_bytes(content)
    os.utime(work / name, (1, 1))
    outcome = in_child(partial(read, work / name))
    left = [path.name for path in work.rglob("*") if path.name != name and path.suffix != ".lock"]
    lost = outcome.lost
    if outcome.message and left:
        lost = f"left {left[:3]}"
    row.cases += 1
    row.lost += bool(lost)
    row.tracebacks += bool(outcome.traceback)
    if (lost or outcome.traceback) and len(row.failures) < SHOWN:
        row.failures.append(f"{described}: {lost or outcome.traceback}")
    shutil.rmtree(work)


def mutated(content: bytes, draw: random.Random) -> bytes:
    """A copy with flipped bits, without its end, or with a chunk that is removed, repeated, exchanged or put in."""
    damaged = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        place = draw.randrange(len(damaged) + 1)
        # At either end there is what files say of themselves.
        if draw.random() < 0.3:
            place = min(len(damaged), draw.choice((place % 64, len(damaged) - place % 256)) % (len(damaged) + 1))
        chunk = slice(place, place + draw.choice((1, 2, 4, 8, 30, 300)))
        match draw.randrange(8):
            case 0:
                del damaged[place:]
            case 1:
                del damaged[chunk]
            case 2:
                damaged[place:place] = damaged[chunk] * draw.choice((1, 2, 50))
            case 3:
                damaged[place:place] = draw.randbytes(draw.choice((1, 4, 40)))
            case 4:
                damaged[chunk] = draw.choice((b"\0", b"\xff", b"\x7f", b"\n", b'"', b"[")) * len(damaged[chunk])
            case 5:
                damaged[chunk] = draw.randbytes(len(damaged[chunk]))
            case _ if place < len(damaged):
                damaged[place] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def seeds(work: Path) -> dict[str, tuple[str, bytes, Callable[[Path], object]]]:
    """By kind: a file's name, its content, and what reads it."""
    rows = [
        (f"word{number % 7} {'good' if number % 2 else 'bad'} film {number}, it's", number % 2) for number in range(60)
    ]
    found: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {}
    (work / "index.json").write_text('{"the": 1}')
    npz = partial(read_npz, index=work / "index.json")
    for kind, compression in (("imdb.npz", zipfile.ZIP_DEFLATED), ("imdb.npz, stored", zipfile.ZIP_STORED)):
        found[kind] = ("imdb.npz", archive(members(), compression), npz)
    # Damage that no checksum of the archive shows.
    for member in ("x_train", "y_train"):
        found[f"{member} in imdb.npz"] = ("member", members()[member], partial(read_member, member=member, read=npz))
    for ending, delimiter in ((".csv", ","), (".tsv", "\t")):
        file = io.StringIO(newline="")
        csv.writer(file, delimiter=delimiter).writerows([("text", "label"), *rows])
        found[ending] = (f"r{ending}", file.getvalue().encode(), read_text)
    lines = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    found[".jsonl"] = ("r.jsonl", lines.encode(), read_text)
    found[".csv in UTF-16"] = ("r.csv", found[".csv"][1].decode().encode("utf-16"), read_text)
    for ending in (".csv", ".tsv", ".jsonl"):
        found[f"{ending}.gz"] = (f"r{ending}.gz", gzip.compress(found[ending][1], mtime=0), read_text)
    columns = pa.table({"text": [text for text, _ in rows], "label": [label for _, label in rows]})
    for compression in ("none", "snappy", "zstd"):
        for dictionary in (True, False):
            sink = io.BytesIO()
            parquet.write_table(columns, sink, compression=compression, use_dictionary=dictionary, row_group_size=40)
            kind = f".parquet, {compression}{', dictionary' if dictionary else ''}"
            found[kind] = ("r.parquet", sink.getvalue(), read_text)
    index = json.dumps({f"word{number}": number for number in range(1, 200)}).encode()
    found["vocabulary.json"] = ("vocabulary.json", index, load_word_index)
    return found


def archive(content: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An npz file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as whole:
        for name, member in content.items():
            whole.writestr(f"{name}.npy", member)
    return file.getvalue()


def read_npz(path: Path, index: Path) -> None:
    """As a run does."""
    config = IMDBDataConfig(path=str(path), word_index=str(index), num_words=100, validation_size=50)
    load_imdb(path.parent, config)


def read_member(path: Path, member: str, read: Callable[[Path], None]) -> None:
    """Reads a good archive with this member."""
    path.write_bytes(archive(members() | {member: path.read_bytes()}))
    read(path)


def read_text(path: Path) -> None:
    """As `predict` does, in several threads, then as runs that skip bad rows and that do not."""
    refused: UserError | None = None
    try:
        list(map_in_order(len, (row.text for row in read_rows(path, Format(label_column=None, options=True)))))
    except UserError as error:
        refused = error
    for choice in ("skip", "error"):
        config = TextDataConfig(train=str(path), num_words=50, on_bad_row=choice, labels=["0", "1"])
        try:
            check_text(config)
            load_text(path.parent, config)
        except UserError as error:
            refused = error
            continue
        for folder in path.parent.glob("text-v*[!k]"):
            shutil.rmtree(folder)
    if refused is not None:
        raise refused


def damaged_cache(work: Path, scale: float, seed: int) -> Row:
    """A prepared folder is found damaged, and built again with the same bytes."""
    file, cache, draw = work / "r.csv", work / "cache", random.Random(seed)
    file.write_bytes(seeds(work)[".csv"][1])
    cache.mkdir()
    config = TextDataConfig(train=str(file), num_words=50)
    expected = content_of(load_text(cache, config))
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    row = Row("random damage to prepared reviews")

    def read() -> None:
        assert content_of(load_text(cache, config)) == expected

    for case in range(max(1, round(CASES * scale))):
        name = draw.choice(sorted(whole))
        (folder / name).write_bytes(mutated(whole[name], draw))
        outcome = in_child(read)
        rebuilt = {path.name: path.read_bytes() for path in folder.iterdir()} == whole
        row.cases += 1
        row.lost += bool(outcome.lost or outcome.message or not rebuilt)
        row.tracebacks += bool(outcome.traceback)
        if not (outcome.read and rebuilt) and len(row.failures) < SHOWN:
            row.failures.append(f"{name}, case {case} of seed {seed}: {outcome}")
            shutil.rmtree(folder, ignore_errors=True)
            load_text(cache, config)
    return row


def content_of(splits: Splits) -> list[bytes]:
    """All that training sees, and the words."""
    parts = (splits.train, splits.validation, splits.test)
    arrays = [array.tobytes() for bags in parts for array in (bags.ids, bags.offsets, bags.labels)]
    return [*arrays, repr(splits.word_index).encode()]
