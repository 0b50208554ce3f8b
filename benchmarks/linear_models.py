"""scikit-learn's linear models and fastText on IMDB: what `accuracy.py` prints beside ours.

Run by it in an environment of its own (pip install scikit-learn fasttext-wheel "numpy<2"):

    python benchmarks/linear_models.py METHOD imdb.npz [SETTING]

Without a setting, METHOD is fitted on 15,000 reviews with each of its settings, and the one best on the 10,000 of
validation is tested; with one, it is fitted on all 25,000 and tested. Prints JSON: the setting, `test` accuracy,
`seconds` of one fit from texts to weights, and `bytes` of the model. Texts are the ids of the file, all words, in
their order.
"""

import json
import os
import pickle
import sys
import tempfile
import time
from pathlib import Path

import fasttext
import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

VALIDATION = 10_000
C = (0.01, 0.1, 1.0, 10.0)


class Linear:
    """A vectorizer and a linear model, with naive-Bayes weights (Wang and Manning, 2012) in between or without."""

    def __init__(self, vectorizer: CountVectorizer, model: object, weighted: bool = False) -> None:
        self.vectorizer, self.model, self.weighted = vectorizer, model, weighted

    def fit(self, texts: list[str], labels: np.ndarray) -> None:
        rows = self.vectorizer.fit_transform(texts)
        if self.weighted:
            positive, negative = (1.0 + rows[labels == label].sum(0).A1 for label in (1, 0))
            self.factors = np.log(positive / positive.sum()) - np.log(negative / negative.sum())
            rows = rows @ sparse.diags(self.factors)
        self.model.fit(rows, labels)  # type: ignore[attr-defined]

    def predict(self, texts: list[str]) -> np.ndarray:
        rows = self.vectorizer.transform(texts)
        return self.model.predict(rows @ sparse.diags(self.factors) if self.weighted else rows)  # type: ignore[attr-defined]

    def size(self) -> int:
        return len(pickle.dumps(self))


class FastText:
    """Bigrams in two million buckets, 10 units, rate 0.5, one thread; the setting is the number of epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def fit(self, texts: list[str], labels: np.ndarray) -> None:
        rows = zip(texts, labels.tolist(), strict=True)
        Path("fasttext.txt").write_text("".join(f"__label__{label} {text}\n" for text, label in rows))
        self.model = fasttext.train_supervised(
            "fasttext.txt", dim=10, lr=0.5, wordNgrams=2, epoch=self.epochs, thread=1, verbose=0
        )

    def predict(self, texts: list[str]) -> np.ndarray:
        return np.array([labels[0] == "__label__1" for labels in self.model.predict(texts)[0]], int)

    def size(self) -> int:
        self.model.save_model("model.bin")
        return Path("model.bin").stat().st_size


def counts(orders: int, **settings: object) -> CountVectorizer:
    return CountVectorizer(binary=True, token_pattern=r"\S+", ngram_range=(1, orders), dtype=np.float32, **settings)


def tfidf() -> TfidfVectorizer:
    return TfidfVectorizer(sublinear_tf=True, token_pattern=r"\S+", ngram_range=(1, 2), min_df=2, dtype=np.float32)


METHODS = {
    "logistic": (lambda c: Linear(counts(1, max_features=10_000), LogisticRegression(C=c, max_iter=1000)), C),
    "tfidf": (lambda c: Linear(tfidf(), LinearSVC(C=c)), C),
    "nbsvm": (lambda c: Linear(counts(2, min_df=2), LinearSVC(C=c), weighted=True), C),
    "fasttext": (FastText, (2, 3, 5, 10)),
}


def read(path: Path) -> list[tuple[list[str], np.ndarray]]:
    """Texts and labels of the training file and of the test, in the order of Keras."""
    found, rng = [], np.random.RandomState(113)  # As keras.datasets.imdb does it.
    with np.load(path, allow_pickle=True) as file:
        for split in ("train", "test"):
            texts, labels = file[f"x_{split}"], file[f"y_{split}"]
            rows = np.arange(len(texts))
            rng.shuffle(rows)
            found.append(([" ".join(map(str, texts[row])) for row in rows], labels[rows]))
    return found


def main() -> None:
    """Prints one line of JSON."""
    (texts, labels), (test_texts, test_labels) = read(Path(sys.argv[2]).resolve())
    make, settings = METHODS[sys.argv[1]]
    first = VALIDATION
    if len(sys.argv) > 3:
        first, settings = 0, (json.loads(sys.argv[3]),)
    best: tuple[float, dict[str, float]] = (-1.0, {})
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for setting in settings:
            model = make(setting)  # type: ignore[operator]
            begin = time.perf_counter()
            model.fit(texts[first:], labels[first:])
            seconds = time.perf_counter() - begin
            chosen_by = float((model.predict(texts[:VALIDATION]) == labels[:VALIDATION]).mean())
            if chosen_by > best[0]:
                test = float((model.predict(test_texts) == test_labels).mean())
                found = {"setting": setting, "test": test, "seconds": seconds, "bytes": model.size()}
                best = chosen_by, found
    print(json.dumps(best[1]))


if __name__ == "__main__":
    main()
