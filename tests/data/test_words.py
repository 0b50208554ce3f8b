"""Words by Arrow against those of `tokenize`, over arbitrary text."""

from __future__ import annotations

import random
import string

import numpy as np
import pytest

from imdb_lightning.config.data import TOKENS
from imdb_lightning.data.vocabulary import encode, tokenize
from imdb_lightning.data.words import TextEncoder, number_words
from tests import oracle

ALPHABETS = {
    "all of ASCII": "".join(map(chr, range(128))),
    "separators": string.punctuation + string.whitespace + "aA",
    "words": string.ascii_letters + "' " * 10,
    "all planes": "".join(map(chr, [*range(0x80, 0x100), *range(0x300, 0x340), 0x2028, 0x3000, 0x4E00, 0x1F600]))
    + " é",
    "halves of characters": "\ud800\udcff\udfff ab",
}


def random_texts(alphabet: str, seed: int) -> list[str]:
    choice = random.Random(seed)
    return ["".join(choice.choices(alphabet, k=choice.randrange(60))) for _ in range(40)] + ["", " ", "\0"]


@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("tokens", TOKENS)
def test_words_are_those_of_the_tokenizer(alphabet: str, tokens: str) -> None:
    for seed in range(50):
        texts = random_texts(ALPHABETS[alphabet], seed)
        expected = [tokenize(text, tokens) for text in texts]
        flat = [word for words in expected for word in words]
        distinct, indices, counts = number_words(texts, tokens)
        assert distinct == list(dict.fromkeys(flat))
        assert [distinct[index] for index in indices] == flat
        assert counts.tolist() == [len(words) for words in expected]
        known = {word: place for place, word in enumerate(["", *sorted({*flat})[::2]], start=2)}
        for found, right in zip(TextEncoder(known, tokens=tokens)(texts), encode(expected, known), strict=True):
            np.testing.assert_array_equal(found, right)
            assert found.dtype == right.dtype


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_marks_are_words_of_their_own(alphabet: str) -> None:
    for seed in range(50):
        for text in random_texts(ALPHABETS[alphabet], seed):
            assert tokenize(text, "punctuation") == oracle.words_and_marks(text)
    text = 'GOOD (very!)<br /><br />"Bad",\x85well-made 3/10: É_è<BR/>*'
    expected = [
        "good",
        "(",
        "very",
        "!",
        ")",
        '"',
        "bad",
        '"',
        ",",
        "well",
        "-",
        "made",
        "3",
        "/",
        "10",
        ":",
        "é_è",
        "*",
    ]
    assert tokenize(text, "punctuation") == expected


@pytest.mark.parametrize("tokens", TOKENS)
def test_nothing_at_all(tokens: str) -> None:
    distinct, indices, counts = number_words([], tokens)
    assert (distinct, len(indices), len(counts)) == ([], 0, 0)
    ids, lengths = TextEncoder({}, tokens=tokens)(["a b", ""])
    assert (ids.tolist(), lengths.tolist()) == ([1, 1], [1, 1])
