"""Many reviews into words, by several threads, with bounded memory and a progress bar."""

import hashlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from imdb_lightning.data.parallel import batches, map_in_order

# 16 bytes of BLAKE2b of a review and its label: among a billion reviews, two agree by chance once in 10^20 times.
DIGEST = np.dtype([("high", "<u8"), ("low", "<u8")])
# A review whose words are `length` tokens from `start` on, its label, 0 or 1, and its digest; `Reviews` are `[R]`.
REVIEW = np.dtype([("start", "<i8"), ("length", "<i8"), ("label", "u1"), ("digest", DIGEST)])
Reviews = NDArray[np.void]
Labelled = tuple[str, int]

# Reviews that go to a thread at once: 5 MB of text of ordinary length.
_CHUNK = 4096


class Chunk(NamedTuple):
    """Tokenized reviews: the distinct words, indices into them (int32 `[N]`), and `REVIEW` `[R]` in the same order."""

    words: list[str]
    tokens: NDArray[np.int32]
    reviews: Reviews


def tokenized(reviews: Iterable[Labelled], tokens: str) -> Iterator[Chunk]:
    """Tokenizes reviews in their order, by as many threads as there are CPUs, read as they are needed.

    `tokens`: what a word is, as for `tokenize`.
    """
    columns = SpinnerColumn(), TextColumn("{task.description}: {task.completed:,.0f}"), TimeElapsedColumn()
    console = Console(stderr=True)
    # Into a file, a bar that is taken away again would leave an empty line.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Reading reviews", total=None)
        chunks = batches(reviews, _CHUNK, lambda review: len(review[0]))
        for chunk in map_in_order(partial(tokenize_chunk, tokens=tokens), chunks):
            progress.advance(task, len(chunk.reviews))
            yield chunk


def tokenize_chunk(labelled: list[Labelled], tokens: str) -> Chunk:
    """What one thread does at once."""
    from imdb_lightning.data.words import number_words  # Arrow takes a fifth of a second to import.

    words, numbers, lengths = number_words([text for text, _ in labelled], tokens)
    reviews = np.zeros(len(labelled), REVIEW)
    reviews["length"] = lengths
    reviews["start"] = np.cumsum(lengths) - lengths
    reviews["label"] = [label for _, label in labelled]
    reviews["digest"] = np.frombuffer(b"".join(digest(text, label) for text, label in labelled), DIGEST)
    return Chunk(words, numbers, reviews)


def digest(text: str, label: int) -> bytes:
    """16 bytes that stand for a review and its label; see `DIGEST`."""
    return hashlib.blake2b(f"{label}{text}".encode(), digest_size=16).digest()
