"""Real runs of all three networks through the command line, and everything that they leave."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from tensorboard import context
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer as DataMultiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

from imdb_lightning.config.file import load_config
from imdb_lightning.data.bags import Bags, multi_hot
from imdb_lightning.data.datamodule import ReviewDataModule
from imdb_lightning.runs.lifecycle import LOCK
from tests import oracle
from tests.support import REAL, Command

pytestmark = [pytest.mark.slow, pytest.mark.reviews]

PARAMETERS = {"shallow_relu_bce": 160_033, "deep_tanh_mse": 322_177, "regularized_relu_bce": 644_289}
# Means over six seeds of Keras's own runs of the notebook, and as far as single runs may be from them (measured
# standard deviations: 0.0007, 0.0024, 0.0036).
KERAS = {
    "shallow_relu_bce": (0.8795, 0.003),
    "deep_tanh_mse": (0.8572, 0.0115),
    "regularized_relu_bce": (0.8760, 0.012),
}
NOTEBOOK = {"shallow_relu_bce": "0.88032", "deep_tanh_mse": "0.8474", "regularized_relu_bce": "0.8774"}
FILES = {
    "config.yaml", "status.json", "results.json", "history.csv", "predictions.csv", "loss.png", "accuracy.png",
    "confusion.png", "roc.png", "precision_recall.png", "calibration.png",
    "checkpoints", "model.safetensors", "vocabulary.json", "train", "validation",
    "train.log",
}  # fmt: skip
DATA = [] if REAL else ["data=synthetic"]


@dataclass
class Sweep:
    folder: Path
    output: str

    def runs(self) -> dict[str, Path]:
        """The first seed's run of each network."""
        found = {}
        for path in sorted(self.folder.glob("*/results.json")):
            found.setdefault(json.loads(path.read_text())["model"], path.parent)
        return found


@pytest.fixture(scope="module")
def sweep(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    work = tmp_path_factory.mktemp("sweep")
    variables = {"IMDB_NPZ": REAL} if REAL else {}
    answer = command(work, "-m", "+experiment=glob(notebook/*)", "seed=0,1", *DATA, PYTHONWARNINGS="error", **variables)
    assert answer.returncode == 0, answer.stderr
    (folder,) = (work / "logs" / "multirun").iterdir()
    return Sweep(folder, answer.stdout)


@pytest.fixture(params=PARAMETERS)
def run(request: pytest.FixtureRequest, sweep: Sweep) -> Path:
    return sweep.runs()[request.param]


def result_of(run: Path) -> dict:
    return json.loads((run / "results.json").read_text())


def history_of(run: Path) -> dict[str, np.ndarray]:
    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def predictions_of(run: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = np.genfromtxt(run / "predictions.csv", delimiter=",", names=True)
    np.testing.assert_array_equal(rows["row"], np.arange(len(rows)))
    return rows["label"], rows["probability"]


def bags_tested_by(run: Path) -> Bags:
    datamodule = ReviewDataModule(load_config(run / "config.yaml").data)
    datamodule.setup()
    return datamodule.splits.test


def test_folder_holds_the_promised_files(run: Path) -> None:
    events = list(run.glob("events.out.tfevents.*"))
    assert len(events) == 1
    assert {path.name for path in run.iterdir() if path.name != LOCK and path not in events} == FILES
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["last.ckpt"]
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["reason"]) == ("completed", "")
    assert status["last_epoch"] == result_of(run)["epochs"]
    assert "epoch  1/" in (run / "train.log").read_text()


def test_results_agree_with_the_other_files(run: Path) -> None:
    result, history = result_of(run), history_of(run)
    assert result["parameters"] == PARAMETERS[result["model"]]
    assert result["seed"] == 0
    assert (result["schema"], result["world_size"], result["precision"]) == (1, 1, "32-true")
    assert result["epochs"] == len(history["epoch"])
    assert history["epoch"].tolist() == list(range(1, result["epochs"] + 1))
    assert result["best_epoch"] == 1 + np.argmin(history["val_loss"])
    early = result["model"] == "shallow_relu_bce"
    tested = result["best_epoch"] - 1 if early else -1
    assert result["validation"] == {"loss": history["val_loss"][tested], "accuracy": history["val_accuracy"][tested]}
    assert result["stopped"] == ("early" if early else "max_epochs")
    if early:
        assert result["epochs"] == result["best_epoch"] + 2
    phases = ("start", "data", "fit", "test", "report")
    assert sum(result["seconds"][phase] for phase in phases) == pytest.approx(result["seconds"]["total"], abs=0.01)
    assert set(result["provenance"]) == {"git", "python", "torch", "lightning", "command", "host"}


def test_test_metrics_follow_from_the_predictions(run: Path) -> None:
    test = result_of(run)["test"]
    labels, probabilities = predictions_of(run)
    guesses = probabilities > 0.5
    hits = (guesses & (labels == 1)).sum()
    precision, recall = hits / guesses.sum(), hits / (labels == 1).sum()
    assert test["accuracy"] == pytest.approx(np.mean(guesses == labels), abs=1e-9)
    assert test["precision"] == pytest.approx(precision, abs=1e-6)
    assert test["recall"] == pytest.approx(recall, abs=1e-6)
    assert test["f1"] == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-6)
    assert test["auroc"] == pytest.approx(oracle.auroc(probabilities, labels), abs=1e-6)


def test_predictions_follow_from_the_saved_weights(run: Path) -> None:
    config, bags = load_config(run / "config.yaml"), bags_tested_by(run)
    labels, probabilities = predictions_of(run)
    np.testing.assert_array_equal(labels, bags.labels)
    saved = load_file(run / "model.safetensors")
    weights = [saved["words.weight"], saved["words.bias"]]
    for name in sorted(
        {name.rpartition(".")[0] for name in saved if name.startswith("rest.")}, key=lambda n: int(n[5:])
    ):
        weights += [saved[f"{name}.weight"].T, saved[f"{name}.bias"]]
    rows = 2000
    expected = oracle.network(multi_hot(*bags.span(0, rows), 10_000), weights, config.model.activation)
    np.testing.assert_allclose(probabilities[:rows], expected, atol=2e-6)


def test_real_reviews_give_the_accuracy_of_keras(run: Path, real_npz: Path) -> None:
    result = result_of(run)
    mean, distance = KERAS[result["model"]]
    assert result["test"]["accuracy"] == pytest.approx(mean, abs=distance)
    if result["model"] == "shallow_relu_bce":
        assert result["validation"]["loss"] == pytest.approx(0.2789, abs=0.01)


def test_checkpoint_opens_without_running_code(run: Path) -> None:
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["epoch"] == result_of(run)["epochs"] - 1


def test_tensorboard_shows_both_curves_under_one_tag(run: Path) -> None:
    history = history_of(run)
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(run))
    multiplexer.Reload()
    assert set(multiplexer.Runs()) == {".", "train", "validation"}
    for name, prefix in (("train", ""), ("validation", "val_")):
        for tag in ("loss", "accuracy"):
            points = multiplexer.Scalars(name, tag)
            assert [point.step for point in points] == history["epoch"].tolist()
            np.testing.assert_allclose([point.value for point in points], history[prefix + tag], rtol=1e-6)


def test_tensorboard_lists_settings_and_test_metrics(run: Path) -> None:
    events = EventAccumulator(str(run))
    events.Reload()
    result = result_of(run)
    tested = result["best_epoch" if result["model"] == "shallow_relu_bce" else "epochs"]
    for name, value in result["test"].items():
        (point,) = events.Scalars(f"test/{name}")
        assert (point.step, point.value) == (tested, pytest.approx(value, rel=1e-6))
    for name in ("confusion", "roc", "precision_recall", "calibration"):
        (image,) = events.Images(f"test/{name}")
        assert image.encoded_image_string == (run / f"{name}.png").read_bytes()


def test_hparams_tab_opens_with_what_matters(sweep: Sweep) -> None:
    """By the dashboard's own backend; it shows the first five settings and the first metric."""
    folder = str(sweep.folder)
    multiplexer = DataMultiplexer().AddRunsFromDirectory(folder)
    multiplexer.Reload()
    tensorboard = base_plugin.TBContext(data_provider=MultiplexerDataProvider(multiplexer, folder))
    asked = context.RequestContext(), backend_context.Context(tensorboard), ""
    experiment = get_experiment.Handler(*asked, api_pb2.GetExperimentRequest()).run()
    assert [info.name for info in experiment.hparam_infos][:2] == ["learning_rate", "seed"]
    assert {"model", "dropout", "hidden_units", "max_epochs"} < {info.name for info in experiment.hparam_infos}
    assert experiment.metric_infos[0].name.tag == "test/accuracy"
    request = api_pb2.ListSessionGroupsRequest(allowed_statuses=[api_pb2.STATUS_SUCCESS], slice_size=10)
    groups = list_session_groups.Handler(*asked, request).run().session_groups
    results = {path.parent.name: json.loads(path.read_text()) for path in sweep.folder.glob("*/results.json")}
    assert {group.name for group in groups} == results.keys()
    for group in groups:
        result, metric = results[group.name], group.metric_values[0]
        assert (group.hparams["seed"].number_value, group.hparams["model"].string_value) == (
            result["seed"], result["model"],
        )  # fmt: skip
        assert (metric.name.tag, metric.value) == ("test/accuracy", pytest.approx(result["test"]["accuracy"], rel=1e-6))


def test_pictures_can_be_opened(run: Path) -> None:
    for name in ("loss", "accuracy", "confusion", "roc"):
        with Image.open(run / f"{name}.png") as picture:
            colors = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        assert min(picture.size) > 400
        assert len(np.unique(colors, axis=0)) > 50


def test_no_progress_bar_where_output_is_no_terminal(sweep: Sweep) -> None:
    log = "".join((run / "train.log").read_text() for run in sweep.runs().values())
    assert "\r" not in sweep.output + log
    assert "\x1b" not in sweep.output + log


def test_comparison_holds_means_and_deviations_over_seeds(sweep: Sweep) -> None:
    rows = {row["model"]: row for row in csv.DictReader((sweep.folder / "comparison.csv").read_text().splitlines())}
    assert set(rows) == set(PARAMETERS)
    for name, row in rows.items():
        results = [json.loads(path.read_text()) for path in sweep.folder.glob(f"*_{name}_seed=*/results.json")]
        assert row["runs"] == "2" == str(len(results))
        accuracies = np.array([result["test"]["accuracy"] for result in results])
        assert float(row["test_accuracy_mean"]) == pytest.approx(accuracies.mean(), abs=1e-12)
        assert float(row["test_accuracy_std"]) == pytest.approx(accuracies.std(ddof=1), abs=1e-12)
        assert float(row["parameters_mean"]) == PARAMETERS[name]
        shown = f"{accuracies.mean():.4f} ± {accuracies.std(ddof=1):.4f}"
        assert shown in sweep.output
        assert shown in (sweep.folder / "comparison.md").read_text()
    # The notebook's figures are of the real reviews, and stand beside those alone.
    shown = {name: row["notebook_test_accuracy"] for name, row in rows.items()}
    assert shown == (NOTEBOOK if REAL else dict.fromkeys(PARAMETERS, ""))
    assert (sweep.folder / "comparison.png").stat().st_size > 10_000


def test_compare_command_does_the_same_for_any_folders(sweep: Sweep, command: Command, tmp_path: Path) -> None:
    shallow, deep = (str(sweep.runs()[name]) for name in ("shallow_relu_bce", "deep_tanh_mse"))
    answer = command(tmp_path, shallow, deep, "--output", ".", module="imdb_lightning.compare")
    assert answer.returncode == 0, answer.stderr
    rows = list(csv.DictReader((tmp_path / "comparison.csv").read_text().splitlines()))
    assert [(row["model"], row["runs"]) for row in rows] == [("shallow_relu_bce", "1"), ("deep_tanh_mse", "1")]
    assert rows[0]["test_accuracy_std"] == ""
    refused = command(tmp_path, "nowhere", module="imdb_lightning.compare")
    assert refused.returncode == 2
    assert refused.stderr.startswith("nowhere: expected a folder with runs")
