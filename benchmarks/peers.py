"""fastText and Vowpal Wabbit on the same reviews: what `training.py` and `text.py` print beside ours.

Run by them in an environment of its own (pip install fasttext-wheel vowpalwabbit "numpy<2"):

    python benchmarks/peers.py train imdb.npz 15000      # prints JSON: seconds of an epoch, by name
    python benchmarks/peers.py predict reviews.csv       # prints JSON: reviews a second, in process

The reviews are those of IMDB with 10,000 words, a word its number. fastText has 16 units and one thread, Vowpal Wabbit
16 hidden ones and reads from its cache. What they take for one epoch is the difference between runs of six and of one.
"""

import csv
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import fasttext
import numpy as np
import vowpalwabbit

WORDS, UNITS = 10_000, 16


def read_reviews(path: str, count: int) -> tuple[list[str], list[int]]:
    """Distinct words of each review, as text."""
    with np.load(path, allow_pickle=True) as file:
        rows = np.random.RandomState(113).permutation(len(file["x_train"]))[:count]
        reviews, labels = file["x_train"][rows], file["y_train"][rows]
    lines = [" ".join(f"w{word}" for word in sorted({min(word, WORDS) for word in review})) for review in reviews]
    return lines, labels.tolist()


def seconds(act: object, *arguments: object) -> float:
    """Of a call."""
    begin = time.perf_counter()
    act(*arguments)  # type: ignore[operator]
    return time.perf_counter() - begin


def train(path: str, count: int) -> dict[str, float]:
    """Seconds of an epoch of each."""
    texts, labels = read_reviews(path, count)
    rows = list(zip(texts, labels, strict=True))
    Path("fasttext.txt").write_text("".join(f"__label__{label} {text}\n" for text, label in rows))
    Path("vw.txt").write_text("".join(f"{2 * label - 1} | {text}\n" for text, label in rows))

    def fast(epochs: int) -> None:
        fasttext.train_supervised("fasttext.txt", dim=UNITS, epoch=epochs, lr=0.1, thread=1, verbose=0)

    def wabbit(passes: int, options: str) -> None:
        # Without a held-out part it goes through all passes.
        command = (
            f"--quiet -d vw.txt --cache_file vw.cache --passes {passes} --holdout_off --loss_function logistic -b 18"
        )
        vowpalwabbit.Workspace(f"{command} {options}").finish()

    wabbit(1, "")  # Writes the cache.
    works = {
        "fastText, 16 units": fast,
        "Vowpal Wabbit, linear": lambda epochs: wabbit(epochs, ""),
        "Vowpal Wabbit, --nn 16": lambda epochs: wabbit(epochs, f"--nn {UNITS}"),
    }
    return {name: (seconds(work, 6) - seconds(work, 1)) / 5 for name, work in works.items()}


def predict(path: str) -> dict[str, float]:
    """Reviews a second of fastText, of text in memory that has been cleaned beforehand."""
    csv.field_size_limit(sys.maxsize)
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    texts = [re.sub(r"[^a-z0-9' ]", " ", row["text"].lower()) for row in rows]
    lines = (f"__label__{row['label']} {text}\n" for row, text in zip(rows[:25_000], texts, strict=False))
    Path("fasttext.txt").write_text("".join(lines))
    model = fasttext.train_supervised("fasttext.txt", dim=UNITS, epoch=1, thread=1, verbose=0)
    return {"fastText, 16 units, text in memory": len(texts) / seconds(model.predict, texts)}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        source = str(Path(sys.argv[2]).resolve())
        os.chdir(folder)
        print(json.dumps(train(source, int(sys.argv[3])) if sys.argv[1] == "train" else predict(source)))
