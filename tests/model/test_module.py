"""The classifier under a stock trainer: what it reports, what it minimizes, how it starts."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision
from safetensors.torch import load_file
from torch.utils.data import DataLoader, TensorDataset

from imdb_lightning import IMDBDataModule, SentimentClassifier
from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import Config
from imdb_lightning.data.bags import multi_hot
from imdb_lightning.data.sampling import BatchLoader
from imdb_lightning.model import objective
from imdb_lightning.training import experiment
from tests import oracle


@pytest.fixture
def datamodule(npz: Path, cache: Path, tmp_path: Path) -> IMDBDataModule:
    index = tmp_path / "index.json"
    index.write_text('{"the": 1}')
    return IMDBDataModule(
        str(npz),
        word_index=str(index),
        cache_dir=str(cache),
        num_words=500,
        validation_size=200,
        train_size=300,
        batch_size=70,
    )


def stock_trainer(folder: Path, **flags: object) -> pl.Trainer:
    return pl.Trainer(
        default_root_dir=folder, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", **flags,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("hidden_units", "parameters"), [([16], 160_033), ([32, 32, 32], 322_177), ([64, 64], 644_289)]
)
def test_networks_have_as_many_parameters_as_the_notebooks(hidden_units: list[int], parameters: int) -> None:
    classifier = SentimentClassifier(hidden_units, activation="relu", loss="bce")
    assert sum(parameter.numel() for parameter in classifier.parameters()) == parameters


def test_stock_trainer_fits_and_tests(datamodule: IMDBDataModule, tmp_path: Path) -> None:
    pl.seed_everything(0, verbose=False)
    classifier = SentimentClassifier([16], activation="relu", loss="bce", num_words=500)
    trainer = stock_trainer(tmp_path, max_epochs=3)
    trainer.fit(classifier, datamodule)
    assert {"train/loss", "train/accuracy", "val/loss", "val/accuracy"} <= set(trainer.callback_metrics)
    (metrics,) = trainer.test(classifier, datamodule, verbose=False)
    bags = datamodule.splits.test
    dense = multi_hot(*bags.span(0, len(bags)), 500)
    weights = [p.detach().numpy() if p.ndim == 1 or n == 0 else p.detach().numpy().T
               for n, p in enumerate(classifier.network.parameters())]  # fmt: skip
    expected = oracle.network(dense, weights, "relu")
    np.testing.assert_allclose(classifier.test_probabilities, expected, atol=1e-6)
    assert metrics["test/loss"] == pytest.approx(oracle.binary_cross_entropy(expected, bags.labels), rel=1e-5)
    assert metrics["test/accuracy"] == pytest.approx(np.mean((expected > 0.5) == bags.labels), abs=1e-9)
    predicted = trainer.predict(classifier, datamodule)
    assert torch.equal(torch.cat(predicted), classifier.test_probabilities)


def test_penalty_is_part_of_every_reported_loss(datamodule: IMDBDataModule, tmp_path: Path) -> None:
    reported = []
    for l2 in (0.0, 0.01):
        pl.seed_everything(0, verbose=False)
        # Nearly no learning, so that the weights, and with them the penalty, stay what they are.
        classifier = SentimentClassifier([8, 4], "relu", "bce", l2=l2, learning_rate=1e-12, num_words=500)
        trainer = stock_trainer(tmp_path, max_epochs=1)
        trainer.fit(classifier, datamodule)
        metrics = trainer.callback_metrics | trainer.test(classifier, datamodule, verbose=False)[0]
        reported.append(metrics)
    kernels = [classifier.network.words.weight, classifier.network.rest[1].weight]
    penalty = 0.01 * sum(float((kernel.detach().double() ** 2).sum()) for kernel in kernels)
    for split in ("train", "val", "test"):
        difference = float(reported[1][f"{split}/loss"]) - float(reported[0][f"{split}/loss"])
        assert difference == pytest.approx(penalty, rel=1e-5)
        assert reported[1][f"{split}/accuracy"] == reported[0][f"{split}/accuracy"]


@pytest.mark.parametrize("flags", [{}, {"gradient_clip_val": 0.1}])
@pytest.mark.parametrize("model", [("relu", "bce", 0.0), ("tanh", "mse", 0.0), ("relu", "bce", 0.001)])
def test_half_precision_with_loss_scaling_trains_to_nearly_the_same(
    model: tuple[str, str, float], flags: dict[str, float], datamodule: IMDBDataModule, tmp_path: Path
) -> None:
    reported = []
    # What trainer.precision=16-mixed becomes on a GPU, on the CPU's own float16 operations.
    for plugins in ([], [MixedPrecision("16-mixed", "cpu")]):
        pl.seed_everything(0, verbose=False)
        classifier = SentimentClassifier([16, 16], *model[:2], l2=model[2], num_words=500)
        trainer = stock_trainer(tmp_path, max_epochs=4, plugins=plugins, **flags)
        trainer.fit(classifier, datamodule)
        trainer.test(classifier, datamodule, verbose=False)
        reported.append(classifier.test_probabilities)
    assert not torch.equal(*reported)
    torch.testing.assert_close(*reported, rtol=0, atol=0.01)


@pytest.mark.parametrize("model", [("relu", "bce", 0.0), ("tanh", "mse", 0.0), ("relu", "bce", 0.001)])
def test_dense_layout_trains_to_the_same(
    model: tuple[str, str, float], datamodule: IMDBDataModule, tmp_path: Path
) -> None:
    activation, loss, l2 = model
    results = []
    for layout in ("sparse", "dense"):
        datamodule.config.layout = layout
        pl.seed_everything(0, verbose=False)
        classifier = SentimentClassifier([8, 8], activation, loss, l2=l2, num_words=500)
        trainer = stock_trainer(tmp_path, max_epochs=2)
        trainer.fit(classifier, datamodule)
        trainer.test(classifier, datamodule, verbose=False)
        results.append((classifier.test_probabilities, float(trainer.callback_metrics["test/loss"])))
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-5, rtol=0)
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
def test_every_optimizer_lowers_the_loss(optimizer: str, datamodule: IMDBDataModule, tmp_path: Path) -> None:
    losses = []
    for epochs in (1, 6):
        pl.seed_everything(0, verbose=False)
        rate = 0.5 if optimizer == "sgd" else 0.01
        classifier = SentimentClassifier([8], "relu", "bce", optimizer=optimizer, learning_rate=rate, num_words=500)
        trainer = stock_trainer(tmp_path, max_epochs=epochs)
        trainer.fit(classifier, datamodule)
        losses.append(float(trainer.callback_metrics["train/loss"]))
    assert losses[1] < losses[0] - 0.02


def test_classifier_is_loaded_from_a_checkpoint_of_any_trainer(datamodule: IMDBDataModule, tmp_path: Path) -> None:
    classifier = SentimentClassifier([8, 4], "tanh", "mse", dropout=0.1, num_words=500)
    trainer = stock_trainer(tmp_path, max_epochs=2)
    trainer.fit(classifier, datamodule)
    trainer.save_checkpoint(tmp_path / "stock.ckpt")
    (expected,) = trainer.test(classifier, datamodule, verbose=False)
    loaded = SentimentClassifier.load_from_checkpoint(tmp_path / "stock.ckpt")
    assert (loaded.hparams["hidden_units"], loaded.hparams["dropout"]) == ([8, 4], 0.1)
    assert stock_trainer(tmp_path).test(loaded, datamodule, verbose=False) == [expected]


def test_classifier_is_loaded_from_a_runs_own_checkpoint(compose: Callable[..., Config], tmp_path: Path) -> None:
    small = ["data=synthetic", "data.reviews=900", "data.validation_size=300", "data.test_size=300"]
    result = experiment.run(compose(*small, "callbacks=none", "trainer.max_epochs=2"), tmp_path)
    loaded = SentimentClassifier.load_from_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    weights = load_file(tmp_path / "model.safetensors")
    assert weights.keys() == loaded.network.state_dict().keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in loaded.network.state_dict().items())
    assert sum(parameter.numel() for parameter in loaded.parameters()) == result.parameters


def test_stock_data_loaders_of_multi_hot_rows_and_labels_work(datamodule: IMDBDataModule, tmp_path: Path) -> None:
    """The same reviews in the same batches give the same numbers as our own loader."""
    datamodule.setup()
    splits, results = datamodule.splits, []
    rows = {name: getattr(splits, name).part(0, 200) for name in ("train", "validation", "test")}
    sets = {
        name: TensorDataset(
            torch.from_numpy(multi_hot(*bags.span(0, 200), 500)), torch.from_numpy(bags.labels.astype(int))
        )
        for name, bags in rows.items()
    }
    ours = {name: BatchLoader(bags, 64, 500, "dense") for name, bags in rows.items()}
    for loaders in (ours, {name: DataLoader(dataset, batch_size=64) for name, dataset in sets.items()}):
        pl.seed_everything(0, verbose=False)
        classifier = SentimentClassifier([8, 4], "relu", "bce", l2=0.001, num_words=500)
        trainer = stock_trainer(tmp_path, max_epochs=2)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            trainer.fit(classifier, loaders["train"], loaders["validation"])
            (metrics,) = trainer.test(classifier, loaders["test"], verbose=False)
            predicted = torch.cat(trainer.predict(classifier, loaders["test"]))
        results.append((metrics, predicted, classifier.test_probabilities))
    assert results[0][0] == results[1][0]
    for first, second in zip(results[0][1:], results[1][1:], strict=True):
        assert torch.equal(first, second)


def test_class_weights_make_losses_weighted_means(npz: Path, cache: Path, tmp_path: Path) -> None:
    """Against NumPy: of the whole epoch's losses, with the penalty once; and the loss that training minimizes."""
    pl.seed_everything(0, verbose=False)
    sizes = {"num_words": 500, "validation_size": 200, "train_size": 300, "batch_size": 70}
    (tmp_path / "index.json").write_text("{}")
    files = {"path": npz, "word_index": str(tmp_path / "index.json"), "cache_dir": str(cache)}
    reviews = IMDBDataModule(**files, class_weights=[0.5, 3.0], **sizes)
    classifier = SentimentClassifier([8], "relu", "bce", l2=0.01, num_words=500)
    trainer = stock_trainer(tmp_path)
    (metrics,) = trainer.test(classifier, reviews, verbose=False)
    test = reviews.splits.test
    kernel, bias = classifier.network.words.weight, classifier.network.words.bias
    layers = [kernel, bias, classifier.network.rest[1].weight.T, classifier.network.rest[1].bias]
    weights = [layer.detach().numpy() for layer in layers]
    dense = multi_hot(*test.span(0, len(test)), 500)
    probabilities = oracle.network(dense, weights, "relu")
    losses = -np.where(test.labels == 1, np.log(probabilities), np.log1p(-probabilities))
    of_reviews = np.where(test.labels == 1, 3.0, 0.5)
    penalty = 0.01 * float((weights[0].astype(np.float64) ** 2).sum())
    assert metrics["test/loss"] == pytest.approx((of_reviews * losses).sum() / of_reviews.sum() + penalty, rel=1e-6)
    assert metrics["test/accuracy"] == ((probabilities > 0.5) == test.labels).mean()
    (batch, *_) = reviews.test_dataloader()
    rows = slice(0, len(batch.labels))
    expected = (of_reviews[rows] * losses[rows]).sum() / of_reviews[rows].sum() + penalty
    assert classifier.training_step(batch, 0).item() == pytest.approx(expected, rel=1e-6)


def test_labels_are_smoothed_in_training_alone() -> None:
    torch.manual_seed(0)
    rows, labels = torch.rand(6, 20).round(), torch.tensor([0, 1, 1, 0, 1, 0])
    classifier = SentimentClassifier([4], "relu", "bce", num_words=20, label_smoothing=0.2)
    probabilities = torch.sigmoid(classifier(rows).double()).detach().numpy()
    for step, targets in (
        (lambda: classifier.training_step((rows, labels), 0), np.where(labels == 1, 0.9, 0.1)),
        (lambda: classifier.validation_step((rows, labels), 0), labels.numpy()),
    ):
        step()
        losses = -targets * np.log(probabilities) - (1 - targets) * np.log1p(-probabilities)
        loss, accuracy = classifier.totals_of("train" if targets[0] else "val").compute()
        assert loss.item() == pytest.approx(losses.mean(), rel=1e-6)
        assert accuracy.item() == ((probabilities > 0.5) == labels.numpy()).mean()


def test_weights_of_columns_need_a_data_module_that_finds_them(tmp_path: Path) -> None:
    classifier = SentimentClassifier([4], "relu", "bce", num_words=20, feature_weighting="naive_bayes")
    loader = torch.utils.data.DataLoader([(torch.zeros(20), torch.tensor(1))])
    with pytest.raises(UserError, match="feature_weighting: expected none without a data module that finds it"):
        stock_trainer(tmp_path, max_epochs=1).fit(classifier, loader, loader)


def test_mean_squared_error_does_not_saturate_in_bfloat16() -> None:
    logits = torch.tensor([12.0], dtype=torch.bfloat16, requires_grad=True)
    objective.LOSSES["mse"](logits, torch.zeros(1)).sum().backward()
    assert float(logits.grad) > 0
