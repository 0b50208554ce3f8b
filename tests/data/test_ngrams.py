"""Tables and bags of n-grams against loops over lists of words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from imdb_lightning.config.data import TOKENS, DataConfig, IMDBDataConfig, SyntheticDataConfig, TextDataConfig
from imdb_lightning.config.errors import UserError
from imdb_lightning.data.bags import Bags
from imdb_lightning.data.ngrams import NGrams, learn, load_ngrams
from imdb_lightning.data.packaged import find_file, read_reviews
from imdb_lightning.data.sources import load_reviews
from imdb_lightning.data.splits import Splits
from imdb_lightning.data.vocabulary import tokenize
from imdb_lightning.inference.saved_run import load_run
from tests import oracle
from tests.support import Command

Words = tuple[str, ...]


def grams(review: list, orders: int, apart: object = None) -> set[tuple]:
    """All runs of up to `orders` words without the one that keeps others apart."""
    found = (tuple(review[at : at + size]) for size in range(1, orders + 1) for at in range(len(review) - size + 1))
    return {words for words in found if apart not in words}


def common(reviews: list[list], orders: int, min_count: int, apart: object = None) -> set[tuple]:
    counts = Counter(gram for review in reviews for gram in grams(review, orders, apart))
    return {gram for gram, count in counts.items() if count >= min_count}


def flat(reviews: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([i for review in reviews for i in review], np.int32), np.array([len(review) for review in reviews])


def random_reviews(seed: int, count: int = 200) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    reviews = [np.minimum(rng.zipf(1.5, rng.integers(0, 60)) - 1, 50).tolist() for _ in range(count)]
    return [[], [0, 0], [3], *reviews]


@pytest.mark.parametrize("orders", [1, 2, 3, 4])
@pytest.mark.parametrize("min_count", [1, 2, 5])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_ngrams_are_those_of_lists(orders: int, min_count: int, size: int) -> None:
    reviews, others = random_reviews(0), random_reviews(1)

    def chunks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for first in range(0, len(reviews), size):
            yield flat(reviews[first : first + size])

    expected = common(reviews, orders, min_count, apart=0)
    ngrams = learn(chunks, orders, min_count)
    named = [tuple(ngrams.words(column)) for column in range(len(ngrams))]
    assert len(set(named)) == len(named)
    assert set(named) == expected
    for some in (reviews, others):
        columns, lengths = ngrams.bags(*flat(some))
        assert columns.dtype == np.int32
        for review, bag in zip(some, np.split(columns, np.cumsum(lengths)[:-1]), strict=True):
            assert {named[column] for column in bag} == grams(review, orders, apart=0) & expected
            assert (np.diff(bag) > 0).all()


def test_no_reviews_have_no_ngrams() -> None:
    ngrams = learn(lambda: [flat([[], [0]])], 3, 1)
    assert len(ngrams) == 0
    columns, lengths = ngrams.bags(*flat([[1, 2], []]))
    assert (columns.tolist(), lengths.tolist()) == ([], [0, 0])
    with pytest.raises(IndexError):
        NGrams(()).words(0)


def check(splits: Splits, bags: Bags, reviews: list[list], expected: set[tuple], orders: int) -> None:
    """Holds the bags of reviews, as lists of ids in which None keeps others apart, against the expected n-grams."""
    assert splits.ngrams is not None
    named = [tuple(splits.ngrams.words(column)) for column in range(len(splits.ngrams))]
    assert set(named) == expected
    for row, review in enumerate(reviews):
        bag, _ = bags.span(row, row + 1)
        assert {named[column] for column in bag} == grams(review, orders) & expected, row


@pytest.mark.parametrize("orders", [1, 2, 3, 4])
@pytest.mark.parametrize("num_words", [None, 40])
def test_those_of_an_npz_are_learnt_from_training_reviews_alone(
    orders: int, num_words: int | None, npz: Path, tmp_path: Path
) -> None:
    settings = {"ngrams": orders, "min_count": 2, "num_words": num_words, "validation_size": 70, "train_size": 200}
    splits = load_reviews(IMDBDataConfig(path=str(npz), cache_dir=str(tmp_path), offline="error", **settings))
    (train, _), (test, _) = oracle.keras_load_data(npz, num_words or 10**6)
    # Without the start, and with nothing in the place of a rare word.
    train, test = ([[None if i == 2 else i for i in review[1:]] for review in part[:270]] for part in (train, test))
    expected = common(train[70:], orders, 2)
    assert len(splits.train) == 200
    for bags, reviews in ((splits.validation, train[:70]), (splits.train, train[70:]), (splits.test, test)):
        check(splits, bags, reviews, expected, orders)


def spoken(text: str, tokens: str = "words") -> Words:
    return tuple(tokenize(text) if tokens == "words" else oracle.words_and_marks(text))


@pytest.fixture(scope="module")
def texts() -> list[tuple[str, int]]:
    reviews, labels = read_reviews(find_file())
    return list(zip(reviews[:200], labels[:200].tolist(), strict=True))


@pytest.fixture(scope="module")
def files(texts: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder, found = tmp_path_factory.mktemp("files"), {}
    for name, rows in (("train", texts[:120]), ("validation", texts[120:160]), ("test", texts[160:])):
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"text": text, "label": i % 2}) + "\n" for i, (text, _) in enumerate(rows)))
        found[name] = str(path)
    return found


@pytest.mark.parametrize("orders", [1, 2, 3, 4])
@pytest.mark.parametrize("tokens", TOKENS)
def test_those_of_texts_do_not_reach_over_unknown_words(
    tokens: str, orders: int, texts: list[tuple[str, int]], files: dict[str, str], tmp_path: Path
) -> None:
    settings = {"ngrams": orders, "min_count": 2, "num_words": None, "tokens": tokens}
    splits = load_reviews(TextDataConfig(**files, **settings, cache_dir=str(tmp_path)))
    words = [list(spoken(text, tokens)) for text, _ in texts]
    expected = common(words[:120], orders, 2)
    assert splits.ngrams is not None
    assert splits.word_index is not None
    word_of = {rank + 3: word for word, rank in splits.word_index.items()}
    named = [tuple(word_of[i] for i in splits.ngrams.words(column)) for column in range(len(splits.ngrams))]
    assert set(named) == expected
    for bags, reviews in ((splits.train, words[:120]), (splits.validation, words[120:160]), (splits.test, words[160:])):
        # Cutting and reading may change the order of the reviews, but of none what it holds.
        found = sorted(sorted(named[column] for column in bags.span(row, row + 1)[0]) for row in range(len(bags)))
        assert found == sorted(sorted(grams(review, orders) & expected) for review in reviews)


@pytest.mark.slow
@pytest.mark.parametrize("tokens", TOKENS)
def test_a_run_answers_by_ngrams(
    tokens: str, texts: list[tuple[str, int]], files: dict[str, str], command: Command, tmp_path: Path
) -> None:
    settings = [f"data.{name}={path}" for name, path in files.items()]
    learnt = ["data.ngrams=3", "data.min_count=2", "data.num_words=null", f"data.tokens={tokens}"]
    answer = command(tmp_path, "data=text", *settings, *learnt, "trainer.max_epochs=2", "hydra.run.dir=run")
    assert answer.returncode == 0, answer.stderr
    run = load_run(tmp_path / "run")
    expected = common([list(spoken(text, tokens)) for text, _ in texts[:120]], 3, 2)
    width = json.loads((tmp_path / "run" / "results.json").read_text())["data"]["width"]
    assert width == len(expected)
    unknown = "xyzzy"
    several = [text for text, _ in texts] + ["A good film! (Not bad.)", f"the {unknown} film", "the film", ""]
    for text in several[-4:]:
        explanation = run.explain(text)
        assert set(explanation.shares) == {" ".join(gram) for gram in grams(list(spoken(text, tokens)), 3) & expected}
        assert explanation.probability == pytest.approx(float(run.predict_proba([text])[0]), abs=1e-6)
    assert "the film" in run.explain("the film").shares
    assert "the film" not in run.explain(f"the {unknown} film").shares
    # Many at once go another way than few; and evaluate finds what the run found.
    one_by_one = np.concatenate([run.predict_proba([text]) for text in several])
    np.testing.assert_array_equal(run.predict_proba(several * 2)[: len(several)], one_by_one)
    answer = command(tmp_path, "run", module="imdb_lightning.evaluate", IMDB_LIGHTNING_CACHE=str(tmp_path / "none"))
    assert "a run whose reviews are in the cache" in answer.stderr
    answer = command(tmp_path, "run", "--data", files["test"], module="imdb_lightning.evaluate")
    assert answer.returncode == 0, answer.stderr
    found, tested = (
        json.loads((tmp_path / "run" / name).read_text())
        for name in ("evaluation/test/evaluation.json", "results.json")
    )
    assert found["metrics"]["accuracy"] == tested["test"]["accuracy"]
    (tmp_path / "run" / "ngrams.safetensors").unlink()
    answer = command(tmp_path, "run", "--text=film", module="imdb_lightning.predict")
    assert answer.returncode == 2
    assert (
        "run/ngrams.safetensors: expected a file of a finished run, but got No such file or directory" in answer.stderr
    )


@pytest.mark.distributed
@pytest.mark.slow
def test_best_is_the_same_over_processes_and_finds_weights_in_training_alone(
    files: dict[str, str], command: Command, tmp_path: Path
) -> None:
    settings = ["data=text", "+experiment=best", "trainer.max_epochs=3", "data.batch_size=50"]
    settings += [f"data.{name}={path}" for name, path in files.items()]
    other = tmp_path / "other.jsonl"  # The test's labels turned round.
    rows = [json.loads(line) for line in Path(files["test"]).read_text().splitlines()]
    other.write_text("".join(json.dumps(row | {"label": 1 - row["label"]}) + "\n" for row in rows))
    for folder, some in (("one", []), ("two", ["trainer=ddp_cpu"]), ("turned", [f"data.test={other}"])):
        answer = command(tmp_path, *settings, *some, f"hydra.run.dir={folder}")
        assert answer.returncode == 0, answer.stderr
    one, two, turned = (load_file(tmp_path / folder / "model.safetensors") for folder in ("one", "two", "turned"))
    for name, weight in one.items():
        np.testing.assert_allclose(weight, two[name], atol=3e-7)
        np.testing.assert_array_equal(weight, turned[name])
    np.testing.assert_array_equal(one["words.factors"], two["words.factors"])
    assert one["words.factors"].std() > 0.1
    texts = ["a wonderful film", "the worst film", ""]
    first, second = (load_run(tmp_path / folder).predict_proba(texts) for folder in ("one", "two"))
    np.testing.assert_allclose(first, second, atol=3e-7)
    explanation = load_run(tmp_path / "one").explain(texts[0])
    assert explanation.probability == pytest.approx(float(first[0]), abs=1e-6)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ([[4, 3]], "rising order"), ([[4, 4]], "rising order"), ([[4, 2**31 + 4]], "unknown ones"),
        ([[4, 5], [2 * 2**31 + 4]], "unknown ones"), ([[4, 5], [-(2**31)]], "unknown ones"), ([[-1]], "unknown ones"),
        ([[4, 5], [4], [4]], "unknown ones"), ([[[4]]], "rising order"),
    ],
)  # fmt: skip
def test_damaged_tables_are_refused(tables: list, message: str, tmp_path: Path) -> None:
    arrays = {str(number): np.array(table, np.int64) for number, table in enumerate(tables, start=1)}
    save_file(arrays, tmp_path / "ngrams.safetensors")
    with pytest.raises(UserError, match=rf"ngrams\.safetensors: expected the n-grams of a run, but got .*{message}"):
        load_ngrams(tmp_path)


def test_more_reviews_than_any_word_is_in_are_refused(files: dict[str, str], tmp_path: Path) -> None:
    config = TextDataConfig(**files, min_count=1000, cache_dir=str(tmp_path))
    with pytest.raises(UserError, match=r"data\.min_count: expected a number of training reviews .* but got 1000"):
        load_reviews(config)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_generated_reviews_have_no_ngrams() -> None:
    settings: list[dict] = [{"ngrams": 2}, {"min_count": 2}, {"num_words": None}]
    for some in settings:
        with pytest.raises(UserError, match="Generated words stand in no order"):
            SyntheticDataConfig(**some)
    assert DataConfig(source="imdb", ngrams=2).learns_columns()
