"""Searches: the space, real ones from the command line, and how they go on after a kill."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from imdb_lightning.config.errors import UserError
from imdb_lightning.launch.command_line import read_command_line, register_schema
from tests.support import Command, family, interrupt, start, wait_until_gone

optuna = pytest.importorskip("optuna", reason="needs the extra optuna")
pytestmark = pytest.mark.optuna

SMALL = [
    "data=synthetic", "data.reviews=900", "data.validation_size=300", "data.test_size=100", "data.num_words=100",
    "data.batch_size=100",
]  # fmt: skip
SPACE = ["model.learning_rate=tag(log,interval(1e-5,1e-1))", "model.dropout=interval(0,0.6)"]
SEARCH = ["-m", "hydra/sweeper=optuna", *SMALL, *SPACE, "trainer.max_epochs=3", "hydra.sweep.dir=sweep"]
TRIALS = "hydra.sweeper.n_trials"


def read(*arguments: str) -> list[str]:
    register_schema()
    line = read_command_line(["-m", "hydra/sweeper=optuna", "data=synthetic", *arguments], check=False)
    line.refuse_mistakes()
    return line.arguments


def study(sweep: Path) -> Any:
    backend = optuna.storages.journal.JournalFileBackend(str(sweep / "study.journal"))
    return optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(backend))


def rows(sweep: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((sweep / "trials.csv").read_text().splitlines()))


def results(sweep: Path) -> dict[int, Path]:
    return {int(path.parent.name.partition("_")[0]): path for path in sweep.glob("*/results.json")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed=0"], r"hydra/sweeper=optuna: expected a setting to search over, but got none\."),
        (["model.dropout=interval(0.5,0.5)"], r"model\.dropout: expected an interval from a number to a larger one"),
        (["model.l2=interval(0,inf)"], r"model\.l2: expected an interval"),
        (["model.l2=tag(log,interval(0,1))"], r"model\.l2: expected an interval of numbers above 0"),
        (["model.l2=tag(cubic,interval(0,1))"], r"model\.l2: expected no tag, or log, but got tag\(cubic"),
        (["seed=tag(log,range(1,5))"], r"seed: expected values without a tag or an order"),
        (["seed=shuffle(1,2)"], r"seed: expected values without a tag or an order"),
        (["seed=range(3,3)"], r"seed: expected a range with a number in it, but got range\(3,3\)"),
        (["model.hidden_units=[interval(8,16)]"], r"model\.hidden_units: expected a value, or several"),
        (["model.hidden_units=[8],[interval(8,16)]"], r"model\.hidden_units: expected a value, or several"),
        (["hydra.sweeper.seed=0,1"], r"hydra\.sweeper\.seed: expected a value, or several of a setting of a run"),
        (["seed=0,1", "hydra.sweeper.n_trials=0"], r"hydra\.sweeper\.n_trials: expected a whole number, at least 1"),
        (["seed=0,1", "hydra.sweeper.n_jobs=0"], r"hydra\.sweeper\.n_jobs: expected a whole number, at least 1"),
        (["seed=0,1", "hydra.sweeper.trials=3"], r"hydra\.sweeper\.trials: expected one of the keys .*n_trials"),
        (["model.dropout=interval(0,2)"], r"1 of 2 jobs cannot run.*\n.*model\.dropout=2\n.*below 1, but got 2\.0"),
        (["model=shallow_relu_bce,nosuch"], r"model: expected one of .* but got 'nosuch'"),
        (["trainer.max_epochs=interval(0.5,2)"], r"trainer\.max_epochs: expected int, but got 0\.5"),
        (["callbacks.monitor=val/loss,val/accuracy"], r"callbacks\.monitor: expected one value"),
        (["model=shallow_relu_bce,deep_tanh_mse"], r"callbacks\.monitor: expected val/accuracy, as losses"),
        (
            ["seed=0,1", "trainer=ddp_cpu", "trainer.num_nodes=2", "trainer.node_rank=0"],
            r"trainer\.num_nodes: expected",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_by_its_key(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(*arguments)


def test_space_in_optunas_terms() -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    from imdb_lightning.launch.search_space import read_space

    texts = read(
        "model.learning_rate=tag(log,interval(1e-4,1e-2))", "trainer.max_epochs=interval(2,9)", "model.dropout=0,0.5,0",
        "data.batch_size=range(32,129,32)", "model.l2=range(0,1,0.1)", "model.hidden_units=[8],[16,8]", "seed=1",
        "model=glob(*relu*)", "callbacks.monitor=val/accuracy", "trainer.flags.gradient_clip_val=interval(1,2)",
    )  # fmt: skip
    space = read_space(OverridesParser.create().parse_overrides(texts[1:-2]))
    assert space.dimensions == {
        "data.batch_size": IntDistribution(32, 128, step=32),
        "model": CategoricalDistribution(["regularized_relu_bce", "shallow_relu_bce"]),
        "model.dropout": CategoricalDistribution(["0", "0.5"]),
        "model.hidden_units": CategoricalDistribution(["[8]", "[16,8]"]),
        "model.l2": FloatDistribution(0, 0.9, step=0.1),
        "model.learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
        "trainer.max_epochs": IntDistribution(2, 9),
        "++trainer.flags.gradient_clip_val": FloatDistribution(1, 2),
    }
    assert space.fixed == ["hydra/sweeper=optuna", "data=synthetic", "seed=1", "callbacks.monitor=val/accuracy"]
    first, second = (dict(text.split("=", 1) for text in job[4:]) for job in space.border_jobs())
    assert (first["model.learning_rate"], first["model.l2"], first["model"]) == ("0.0001", "0", "regularized_relu_bce")
    assert (second["model.learning_rate"], second["model.l2"], second["model"]) == ("0.01", "0.9", "shallow_relu_bce")
    drawn = {key: of.high for key, of in space.dimensions.items() if not isinstance(of, CategoricalDistribution)}
    drawn |= {"model.learning_rate": 0.0012345678, "model.l2": 0.1 + 0.2}
    drawn |= {"model": "x", "model.dropout": "0", "model.hidden_units": "[8]"}
    rounded = space.rounded(drawn)
    assert (rounded["model.learning_rate"], rounded["model.l2"]) == (0.00123457, 0.3)
    with pytest.raises(UserError, match=r"model: expected one of \('regularized_relu_bce', .* but got 'x'\."):
        space.overrides(rounded)


@pytest.fixture(scope="module")
def searched(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that nobody interrupted; tests read it and leave it as it is."""
    folder = tmp_path_factory.mktemp("searched")
    answer = command(folder, *SEARCH, f"{TRIALS}=20")
    assert answer.returncode == 0, answer.stderr
    (folder / "output").write_text(answer.stdout)
    return folder / "sweep"


@pytest.mark.slow
def test_search_leaves_a_study_a_table_pictures_and_the_best_settings(searched: Path) -> None:
    trials = study(searched).trials
    assert [trial.number for trial in trials] == list(range(20))
    best = min((trial for trial in trials if trial.state.name == "COMPLETE"), key=lambda trial: trial.value)
    table = rows(searched)
    for row, trial in zip(table, trials, strict=True):
        result = json.loads((searched / row["folder"] / "results.json").read_text())
        assert row["folder"].startswith(
            f"{row['number']}_shallow_relu_bce_dropout={row['model.dropout']}_learning_rate="
        )
        assert (row["state"], result["stopped"] == "pruned") == (trial.state.name.lower(), row["state"] == "pruned")
        if row["state"] == "complete":
            assert float(row["value"]) == trial.value == result["validation"]["loss"]
    found = yaml.safe_load((searched / "experiment" / "found.yaml").read_text())
    settings = {key: found["model"][key] for key in ("learning_rate", "dropout")}
    assert settings == {key: best.params[f"model.{key}"] for key in settings}
    assert settings == {key: float(table[best.number][f"model.{key}"]) for key in settings}
    assert {"search.png", "importances.png", "comparison.md"} <= {path.name for path in searched.iterdir()}
    output = (searched.parent / "output").read_text()
    assert "  python -m imdb_lightning --config-dir sweep +experiment=found\n" in output
    # It learns: with the first ten drawn blindly, the best one comes later.
    assert best.number >= 10


@pytest.mark.slow
def test_trial_that_is_behind_half_of_the_finished_ones_is_stopped(searched: Path) -> None:
    trials = study(searched).trials
    assert all(trial.user_attrs["stop_behind"] == [] for trial in trials[:5])
    pruned = [trial for trial in trials if trial.state.name == "PRUNED"]
    assert pruned
    for trial in pruned:
        values = trial.intermediate_values
        assert 2 <= len(values) < 3
        assert min(values.values()) > trial.user_attrs["stop_behind"][len(values) - 2]
    before = [t for t in trials[: pruned[0].number] if t.state.name == "COMPLETE"]
    second = sorted(min(trial.intermediate_values[epoch] for epoch in (1, 2)) for trial in before)
    middle = len(second) // 2
    expected = second[middle] if len(second) % 2 else (second[middle - 1] + second[middle]) / 2
    assert pruned[0].user_attrs["stop_behind"][0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_found_settings_train_to_the_best_trials_value(searched: Path, command: Command) -> None:
    folder = searched.parent
    again = ["--config-dir", "sweep", "+experiment=found", "hydra.run.dir=again"]
    answer = command(folder, *again)
    assert answer.returncode == 0, answer.stderr
    best = min((row for row in rows(searched) if row["state"] == "complete"), key=lambda row: float(row["value"]))
    theirs, ours = (
        json.loads((path / "results.json").read_text()) for path in (searched / best["folder"], folder / "again")
    )
    assert (ours["validation"], ours["test"]) == (theirs["validation"], theirs["test"])


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=local", "hydra.sweeper.n_jobs=2"]])
def test_killed_search_goes_on(
    launcher: list[str], searched: Path, cache: Path, command: Command, tmp_path: Path
) -> None:
    arguments = [*SEARCH, *launcher, f"{TRIALS}=20"]
    sweep = tmp_path / "sweep"
    process = start(tmp_path, cache, *arguments)
    while len(results(sweep)) < 7:
        assert process.poll() is None, (tmp_path / "output").read_text()
    pids = family(process.pid)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_until_gone(pids)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in results(sweep).values()}
    assert len(before) < 20
    answer = command(tmp_path, *arguments)
    assert answer.returncode == 0, answer.stderr
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before} == before
    assert sorted(results(sweep)) == list(range(20))
    assert len(list(sweep.glob("*/status.json"))) == 20
    trials = study(sweep).trials
    assert [trial.state.is_finished() for trial in trials] == [True] * 20
    table = rows(sweep)
    best = min((row for row in table if row["state"] == "complete"), key=lambda row: float(row["value"]))
    found = yaml.safe_load((sweep / "experiment" / "found.yaml").read_text())["model"]
    assert (found["learning_rate"], found["dropout"]) == (
        float(best["model.learning_rate"]),
        float(best["model.dropout"]),
    )
    if not launcher:  # One after the other, it finds what it would have found.
        without = [{key: row[key] for key in row if key != "seconds"} for row in table]
        assert without == [{key: row[key] for key in row if key != "seconds"} for row in rows(searched)]


@pytest.mark.slow
def test_longer_search_goes_on_and_another_one_is_refused(command: Command, tmp_path: Path) -> None:
    arguments = [text for text in SEARCH if not text.startswith("trainer.max_epochs")] + ["trainer.max_epochs=1"]
    assert command(tmp_path, *arguments, f"{TRIALS}=2", "hydra.sweeper.pruning=false").returncode == 0
    journal = tmp_path / "sweep" / "study.journal"
    with journal.open("ab") as file:  # As a full disk leaves it.
        file.write(b'{"op_code":4,"worker_id":')
    for other, message in (
        (["model.dropout=interval(0,0.5)"], "space.model.dropout ("),
        (["callbacks.monitor=val/accuracy"], "callbacks.monitor ('val/loss' there, now 'val/accuracy')"),
        (["trainer.max_epochs=2"], "trainer.max_epochs (1 there, now 2)"),
        (["hydra.sweeper.seed=1"], "hydra.sweeper.seed (0 there, now 1)"),
    ):
        refused = command(tmp_path, *arguments, "hydra.sweeper.pruning=false", *other)
        assert (refused.returncode, refused.stdout) == (2, ""), refused.stderr
        assert (
            f"sweep: expected a new folder, or the settings of the search in it, but got other values of {message}"
            in (refused.stderr)
        )
    # Settings in another order are no others.
    again = command(tmp_path, *arguments[:2], *arguments[:1:-1], f"{TRIALS}=7", "hydra.sweeper.pruning=false")
    assert again.returncode == 0, again.stderr
    assert len(results(tmp_path / "sweep")) == 7
    assert [trial.user_attrs["stop_behind"] for trial in study(tmp_path / "sweep").trials] == [[]] * 7
    assert not (tmp_path / "sweep" / "importances.png").exists()


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("launcher", ["basic", "local", "joblib"])
def test_interrupted_search_says_how_to_go_on(launcher: str, cache: Path, tmp_path: Path) -> None:
    if launcher == "joblib":
        pytest.importorskip("joblib")
    arguments = [f"hydra/launcher={launcher}", *SEARCH[1:-2], "trainer.max_epochs=2000", "callbacks=none", "-m"]
    process = start(tmp_path, cache, *arguments)
    text = interrupt(process, tmp_path, 1)
    assert "Traceback" not in text
    heading, again = text.splitlines()[-2:]
    (sweep,) = (tmp_path / "logs" / "multirun").iterdir()
    assert heading == "This goes on:"
    started = [sys.executable, "-m", "imdb_lightning", *arguments[:-1]]
    assert shlex.split(again) == [*started, f"hydra.sweep.dir={sweep.relative_to(tmp_path)}", "-m"]


@pytest.mark.slow
def test_failed_trial_is_named_and_tried_again(command: Command, tmp_path: Path) -> None:
    arguments = ["-m", "hydra/sweeper=optuna", *SMALL, "trainer.max_epochs=1", "hydra.sweep.dir=sweep", f"{TRIALS}=5"]
    answer = command(tmp_path, *arguments, "model.learning_rate=0.01,1e30")
    assert answer.returncode == 1, answer.stderr
    states = [(trial.state.name, trial.params["model.learning_rate"]) for trial in study(tmp_path / "sweep").trials]
    assert set(states) == {("COMPLETE", "0.01"), ("RUNNING", "1e+30")}
    failed = [number for number, (state, _) in enumerate(states) if state == "RUNNING"]
    assert all(f"{number}_shallow_relu_bce_learning_rate=1e+30: failed." in answer.stdout for number in failed)
    assert yaml.safe_load((tmp_path / "sweep/experiment/found.yaml").read_text())["model"]["learning_rate"] == 0.01
    again = command(tmp_path, *arguments, "model.learning_rate=0.01,1e30")
    assert again.returncode == 1
    assert [int(number) for number in re.findall(r"\t#(\d+) : ", again.stdout)] == failed
    assert len(results(tmp_path / "sweep")) == 5 - len(failed)


@pytest.mark.slow
def test_test_reviews_have_no_part_in_the_search(
    labelled: list[tuple[str, int]], command: Command, tmp_path: Path
) -> None:
    """Also shows found settings of own reviews, with an experiment below them."""
    found = []
    for name in ("right", "shuffled"):
        folder = tmp_path / name
        folder.mkdir()
        labels = [label for _, label in labelled[600:]]
        labels = labels if name == "right" else labels[1:] + labels[:1]
        tests = [(text, label) for (text, _), label in zip(labelled[600:], labels, strict=True)]
        for file, reviews in (("train.csv", labelled[:600]), ("test.csv", tests)):
            with (folder / file).open("w", newline="", encoding="utf-8") as opened:
                csv.writer(opened).writerows([("text", "label"), *reviews])
        arguments = ["data=text", "data.train=train.csv", "data.test=test.csv", "+experiment=best", "data.min_count=3"]
        arguments += ["trainer.max_epochs=2", "seed=3", "callbacks.monitor=val/accuracy", f"{TRIALS}=4"]
        space = ["model.normalize=interval(1,20)", "model.label_smoothing=0,0.1", "data.ngrams=interval(1,2)"]
        answer = command(folder, "-m", "hydra/sweeper=optuna", *arguments, *space, "hydra.sweep.dir=sweep")
        assert answer.returncode == 0, answer.stderr
        table = [{key: row[key] for key in row if key != "seconds"} for row in rows(folder / "sweep")]
        tested = [
            json.loads(path.read_text())["test"]["accuracy"] for _, path in sorted(results(folder / "sweep").items())
        ]
        found.append((table, (folder / "sweep" / "experiment" / "found.yaml").read_text(), tested))
    assert found[0][:2] == found[1][:2]
    assert all(right != shuffled for right, shuffled in zip(found[0][2], found[1][2], strict=True))
    settings = yaml.safe_load(found[0][1])
    assert settings["defaults"] == ["/experiment/best", "_self_", {"override /data": "text"}]
    assert (settings["data"]["train"], settings["data"]["min_count"]) == ("train.csv", 3)
    assert "seed" not in settings
    answer = command(tmp_path / "right", "--config-dir", "sweep", "+experiment=found", "seed=3", "hydra.run.dir=again")
    assert answer.returncode == 0, answer.stderr
    best = max(found[0][0], key=lambda row: float(row["value"]))
    again = json.loads((tmp_path / "right" / "again" / "results.json").read_text())
    assert (again["model"], again["validation"]["accuracy"]) == ("nb_ngrams", float(best["value"]))


@pytest.mark.slow
def test_best_settings_alone_are_refitted(command: Command, tmp_path: Path) -> None:
    """Asked for later, too: the search itself has nothing left to do."""
    arguments = [*SEARCH, "trainer.max_epochs=1", f"{TRIALS}=3"]
    assert command(tmp_path, *arguments).returncode == 0
    before = study(tmp_path / "sweep").trials
    answer = command(tmp_path, *arguments, "refit=true")
    assert answer.returncode == 0, answer.stderr
    assert study(tmp_path / "sweep").trials == before
    refitted = [path for path in results(tmp_path / "sweep").values() if json.loads(path.read_text())["refit"]]
    best = min(rows(tmp_path / "sweep"), key=lambda row: float(row["value"]))
    assert [path.parent.name for path in refitted] == [best["folder"]]
    assert "refit" not in (tmp_path / "sweep" / "experiment" / "found.yaml").read_text()
    longer = command(tmp_path, *arguments, f"{TRIALS}=4", "refit=true")
    assert longer.returncode == 0, longer.stderr
    assert len(results(tmp_path / "sweep")) == 4


@pytest.mark.slow
def test_damaged_journal_is_refused_and_without_it_the_search_goes_on(command: Command, tmp_path: Path) -> None:
    assert command(tmp_path, *SEARCH, f"{TRIALS}=2").returncode == 0
    journal, before = tmp_path / "sweep" / "study.journal", (tmp_path / "sweep" / "trials.csv").read_text()
    content, found = journal.read_bytes(), {path: path.stat().st_mtime_ns for path in results(journal.parent).values()}
    for damaged in (content.replace(b"{", b"[", 1), content.replace(b'"op_code"', b'"code"'), b"\0\n", b"[1]\n"):
        journal.write_bytes(damaged)
        answer = command(tmp_path, *SEARCH, f"{TRIALS}=2")
        assert answer.returncode == 2
        assert answer.stderr.splitlines()[-1].startswith(f"sweep/{journal.name}: expected the journal of a search")
        assert journal.read_bytes() == damaged
    journal.unlink()
    answer = command(tmp_path, *SEARCH, f"{TRIALS}=2")
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "sweep" / "trials.csv").read_text() == before
    assert {path: path.stat().st_mtime_ns for path in found} == found
