"""What each column counts in a review, from the training reviews."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imdb_lightning.data.bags import Bags

# Ids that are counted at once.
_IDS = 4_000_000


def column_factors(kind: str, bags: Bags, orders: Sequence[int]) -> NDArray[np.float32]:
    """Factors of columns, float32 `[V]`, from the training reviews' bags.

    `orders` are how many columns n-grams of each order have, `V` in all.

    `naive_bayes`: `log(p / q)` with the shares `p` and `q` that a column has among those of its order in positive and
    in negative reviews, each counted once more than it is there (Wang and Manning, "Baselines and Bigrams", 2012, who
    take all orders together). `tfidf`: `1 + log((1 + R) / (1 + df))` for a column in `df` of `R` reviews, as in
    scikit-learn.
    """
    counts = np.zeros((2, sum(orders)), np.int64)
    for label in (0, 1):
        rows = np.flatnonzero(bags.labels == label)
        step = max(1, _IDS * len(bags) // max(1, int(bags.offsets[-1] - bags.offsets[0])))
        for first in range(0, len(rows), step):
            ids, _ = bags.take(rows[first : first + step])
            counts[label] += np.bincount(ids, minlength=counts.shape[1])
    if kind == "tfidf":
        rarity: NDArray[np.float64] = 1 + np.log((1 + len(bags)) / (1 + counts.sum(0)))
        return rarity.astype(np.float32)
    factors, first = np.zeros(counts.shape[1]), 0
    for size in orders:
        negative, positive = 1.0 + counts[:, first : first + size]
        factors[first : first + size] = np.log(positive / positive.sum()) - np.log(negative / negative.sum())
        first += size
    return factors.astype(np.float32)
