"""Words and their ids: the tokenizer and the word index.

A word index maps each word to its rank by frequency, from 1. As in Keras, a word's id is its rank + 3 and ids 0 to 2
are reserved; a rank too rare for the network's input becomes id 2, and a word outside the index is dropped.
"""

import itertools
import json
import re
import string
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imdb_lightning.config.errors import UserError
from imdb_lightning.data.bounds import MAX_INDEX, read_bounded

START_ID, RARE_ID = 1, 2
INDEX_FROM = 3  # Offset from a word's rank to its id, Keras's `index_from`; the first word has id 4.
MAX_RANK = 2**31 - 4  # The largest rank whose id is an int32.

WordIndex = Mapping[str, int]

_SHOWN = 40  # Characters of a word in messages.

# The tokenizer that made Keras's ids: ASCII lower case only, the apostrophe stays, words end at spaces alone. On
# the 25,000 raw training reviews it gives back the ids of imdb.npz in all; splitting at any Unicode white space
# (the next-line control is in 350 reviews) would do so in 24,645.
SEPARATORS = string.punctuation.replace("'", "") + "\t\n"
_TABLE = str.maketrans(string.ascii_uppercase + SEPARATORS, string.ascii_lowercase + " " * len(SEPARATORS))
_BREAK = re.compile(r"<br\s*/?>")
_WORD_OR_MARK = re.compile(r"""[\w']+|[.,!?;:()"*/-]""")


def tokenize(text: str, tokens: str = "words") -> list[str]:
    """Splits a review into words: `words` as `imdb.npz` was made, `punctuation` with marks as words of their own.

    The latter takes any script's letters and digits as such, in lower case, and leaves out `<br />`.

    Example:
        >>> tokenize("It isn't \\"bad\\".<br />Go!")
        ['it', "isn't", 'bad', 'br', 'go']
        >>> tokenize("It isn't \\"bad\\".<br />Go!", "punctuation")
        ['it', "isn't", '"', 'bad', '"', '.', 'go', '!']
    """
    if tokens == "punctuation":
        return _WORD_OR_MARK.findall(_BREAK.sub(" ", text.lower()))
    return [word for word in text.translate(_TABLE).split(" ") if word]


def rank_words(counts: Mapping[str, int]) -> dict[str, int]:
    """Ranks words by their counts; equally frequent ones by the alphabet.

    Example:
        >>> rank_words({"b": 1, "a": 1, "c": 2})
        {'c': 1, 'a': 2, 'b': 3}
    """
    # A tie must not be left to the order of counting: ids would depend on the order of the reviews.
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {word: rank for rank, (word, _) in enumerate(ordered, start=1)}


def ids_from_ranks(ranks: NDArray[np.int32], num_words: int | None) -> NDArray[np.int32]:
    """Keras's ids for ranks: `rank + 3`, or 2 where that is not below `num_words`, if there is such a limit."""
    ids = ranks + np.int32(INDEX_FROM)
    if num_words is not None:
        ids[ids >= num_words] = RARE_ID
    return ids


def word_ids(word_index: WordIndex, num_words: int | None) -> dict[str, int]:
    """Each word's id, 2 for the rare ones, if `num_words` says which those are.

    Example:
        >>> word_ids({"the": 1, "film": 2}, num_words=5)
        {'the': 4, 'film': 2}
    """
    limit = MAX_RANK + INDEX_FROM + 1 if num_words is None else num_words
    return {word: rank + INDEX_FROM if rank + INDEX_FROM < limit else RARE_ID for word, rank in word_index.items()}


def encode(
    reviews: Iterable[list[str]], ids: Mapping[str, int], unknown: int = 0
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Ids of tokenized reviews, as in `imdb.npz`: a start id, then the words.

    Words without an id get the one of `unknown`, or are dropped where it is 0. The reviews' ids are one after the
    other, int32 `[N]`; with them comes how many each review has, int64 `[R]`.

    Example:
        >>> encode([["the", "best"], []], {"the": 4})
        (array([1, 4, 1], dtype=int32), array([2, 1]))
    """
    # No id is 0, so that what `filter` takes out are the words without one.
    encoded = [[START_ID, *filter(None, (ids.get(word, unknown) for word in words))] for words in reviews]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    flat = itertools.chain.from_iterable(encoded)
    return np.fromiter(flat, np.int32, int(lengths.sum())), lengths


def load_word_index(path: Path) -> dict[str, int]:
    """Reads a word index in Keras's format: one JSON object, word to rank.

    Raises:
        UserError: there is no such file, it is too large, or it holds something else.
    """
    content = read_bounded(path, MAX_INDEX)
    try:
        # One object of words and ranks; lists in lists take twenty times the memory of the file.
        if content.count(b"[") + content.count(b"{") > 1 + content.count(b'"'):
            raise ValueError("lists or objects in it")
        index = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        found = f"none ({' '.join(str(error).split())})"
        raise UserError(path, "a JSON object of words and ranks", found, "Fetch it again.") from error
    if not isinstance(index, dict):
        raise UserError(path, "a JSON object of words and ranks from 1", "other JSON", "Fetch it again.")
    for word, rank in index.items():
        # Not isinstance: true and false are no ranks.
        if type(rank) is not int or not 1 <= rank <= MAX_RANK:
            accepted = f"ranks of words, whole numbers from 1 to {MAX_RANK}"
            raise UserError(f"{path}, {word[:_SHOWN]!r}", accepted, repr(rank)[:100], "Mend it, or fetch it again.")
    return index
