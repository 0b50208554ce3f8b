"""Words by Arrow against those of `tokenize`, over arbitrary text."""

from __future__ import annotations

import random
import string

import numpy as np
import pytest

from imdb_lightning.data.vocabulary import encode, tokenize
from imdb_lightning.data.words import TextEncoder, number_words

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
def test_words_are_those_of_the_tokenizer(alphabet: str) -> None:
    for seed in range(50):
        texts = random_texts(ALPHABETS[alphabet], seed)
        expected = [tokenize(text) for text in texts]
        flat = [word for words in expected for word in words]
        distinct, indices, counts = number_words(texts)
        assert distinct == list(dict.fromkeys(flat))
        assert [distinct[index] for index in indices] == flat
        assert counts.tolist() == [len(words) for words in expected]
        known = {word: place for place, word in enumerate(["", *sorted({*flat})[::2]], start=2)}
        for found, right in zip(TextEncoder(known)(texts), encode(expected, known), strict=True):
            np.testing.assert_array_equal(found, right)
            assert found.dtype == right.dtype


def test_nothing_at_all() -> None:
    distinct, indices, counts = number_words([])
    assert (distinct, len(indices), len(counts)) == ([], 0, 0)
    ids, lengths = TextEncoder({})(["a b", ""])
    assert (ids.tolist(), lengths.tolist()) == ([1, 1], [1, 1])
