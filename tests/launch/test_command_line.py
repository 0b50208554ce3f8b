"""The command as a user types it: refusals, help, failing jobs, what is left behind."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.support import Command

SMALL = [
    "data=synthetic", "data.reviews=1500", "data.validation_size=500", "data.test_size=400", "data.num_words=500",
    "data.batch_size=100", "trainer.max_epochs=2",
]  # fmt: skip


@pytest.mark.parametrize(
    "argument",
    [
        "data.batch_size=0",
        "model.activation=rellu",
        "data.validation_size=25000",
        "model.hiden_units=[16]",
        "model=nosuch",
        "trainer.max_epochs=0",
        "data.path=/nonexistent.npz",
    ],
)
def test_bad_setting_ends_with_one_message_and_no_folder(argument: str, command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, argument)
    assert answer.returncode == 2
    assert argument.partition("=")[0] in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert answer.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("argument", ["trainer.flags.colour=red", "trainer.flags.max_epochs=3"])
def test_mistake_seen_late_leaves_no_folder_either(argument: str, command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, *SMALL, argument)
    assert answer.returncode == 2
    assert answer.stderr.splitlines()[-1].startswith(argument.partition("=")[0])
    assert "Traceback" not in answer.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["model=nosuch"]])
def test_help_settings_and_refusals_do_without_torch(arguments: list[str], command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, *arguments, PYTHONPROFILEIMPORTTIME="1")
    imported = {
        line.rpartition("|")[2].strip() for line in answer.stderr.splitlines() if line.startswith("import time")
    }
    assert "hydra" in imported
    assert not imported & {"torch", "pytorch_lightning", "matplotlib", "tensorboard"}


@pytest.mark.parametrize("mode", ["cfg", "info"])
def test_settings_of_a_sweep_are_not_shown(mode: str, command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, f"--{mode}", *(["job"] if mode == "cfg" else []), "-m", "seed=0,1")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert f"expected one of --multirun, --cfg and --info, but got --multirun and --{mode}" in answer.stderr


def test_help_lists_choices(command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, "--help")
    assert answer.returncode == 0
    assert "model: deep_tanh_mse, regularized_relu_bce, shallow_relu_bce" in answer.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def own_settings(tmp_path: Path) -> Path:
    """A user's own folder of settings: a network, an experiment with it, and a sweeper."""
    folder = tmp_path / "my_conf"
    for name, lines in {
        "model/mine.yaml": ["defaults: [shallow_relu_bce, _self_]", "name: mine", "hidden_units: [3]"],
        "experiment/mine.yaml": ["# @package _global_", "defaults: [{override /model: mine}]", "seed: 7"],
        "hydra/sweeper/mine.yaml": ["_target_: hydra._internal.core_plugins.basic_sweeper.BasicSweeper"],
        "experiment/swept.yaml": ["# @package _global_", "defaults: [{override /hydra/sweeper: mine}]"],
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.slow
def test_folders_may_have_any_name(own_settings: Path, command: Command, tmp_path: Path) -> None:
    own_settings.rename(tmp_path / "meine (ä), %20")
    sweep = "hydra.sweep.dir='läufe, (1)'"
    answer = command(tmp_path, "-m", "--config-dir", "meine (ä), %20", "model=mine", *SMALL, "seed=0,1", sweep)
    assert answer.returncode == 0, answer.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"meine (ä), %20", "läufe, (1)"}
    assert (tmp_path / "läufe, (1)" / "1_mine" / "results.json").is_file()
    assert (tmp_path / "läufe, (1)" / "comparison.csv").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("form", [["--config-dir", "my_conf"], ["-cd", "my_conf"], ["--config-dir={absolute}"]])
def test_own_settings_folder_adds_to_ours(
    form: list[str], own_settings: Path, command: Command, tmp_path: Path
) -> None:
    named = [part.format(absolute=own_settings) for part in form]
    answer = command(tmp_path, *named, *SMALL, "+experiment=mine", "hydra.run.dir=run")
    assert answer.returncode == 0, answer.stderr
    result = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (result["model"], result["seed"], result["parameters"]) == ("mine", 7, 3 * 500 + 3 + 3 + 1)


def test_own_settings_folder_in_refusals(own_settings: Path, command: Command, tmp_path: Path) -> None:
    for arguments, message in (
        (["model=min"], "model: expected one of deep_tanh_mse, mine, regularized_relu_bce, shallow_relu_bce, but got"),
        ([f"hydra.searchpath=[file://{own_settings.parent}]", "model=mine", "seed=-1"], "seed: expected"),
    ):
        answer = command(tmp_path, "--config-dir", "my_conf", *arguments)
        assert answer.returncode == 2
        assert answer.stderr.startswith(message)
    missing = command(tmp_path, "--config-dir", "nowhere")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr == "--config-dir: expected an existing folder, but got 'nowhere'. Mend the path.\n"


@pytest.mark.parametrize("chosen", ["hydra/sweeper=mine", "+experiment=swept", "hydra/sweeper=optuna"])
def test_other_sweepers_are_refused_before_anything_is_trained(
    chosen: str, own_settings: Path, command: Command, tmp_path: Path
) -> None:
    """With a sweeper that waits for results, all jobs were trained, and then all was called a success."""
    answer = command(tmp_path, "-m", "--config-dir", "my_conf", *SMALL, chosen, "seed=0,1")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("hydra/sweeper: expected basic")
    assert {path.name for path in tmp_path.iterdir()} == {"my_conf"}


@pytest.mark.parametrize(("name", "plugin"), [("joblib", "joblib"), ("slurm", "submitit")])
def test_launcher_without_its_plug_in(name: str, plugin: str, command: Command, tmp_path: Path) -> None:
    """Hydra itself only finds an option missing: the plug-in's own, or the one on which our file builds."""
    hidden = f"import sys\nsys.modules['hydra_plugins.hydra_{plugin}_launcher'] = None\n"
    (tmp_path / "sitecustomize.py").write_text(hidden)
    answer = command(tmp_path, "-m", *SMALL, f"hydra/launcher={name}", PYTHONPATH=str(tmp_path))
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith(f"hydra/launcher={name}: expected the plug-in hydra-{plugin}-launcher")


@pytest.mark.slow
def test_failing_jobs_are_named_and_the_others_go_on(command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, *SMALL, "data.batch_size=100,0", "model.learning_rate=0.001,1e30", "-m")
    assert answer.returncode == 1
    assert "This job will fail" in answer.stderr
    (sweep,) = (tmp_path / "logs" / "multirun").iterdir()
    statuses = {path.parent.name[0]: json.loads(path.read_text()) for path in sweep.glob("*/status.json")}
    assert {number: status["state"] for number, status in statuses.items()} == {
        "0": "completed", "1": "failed", "2": "failed", "3": "failed",
    }  # fmt: skip
    assert "The training diverged" in statuses["1"]["reason"]
    assert "data.batch_size: expected a whole number" in statuses["2"]["reason"]
    table = (sweep / "comparison.md").read_text()
    for number in "123":
        assert f"- `{number}_shallow_relu_bce`: failed. {statuses[number]['reason']}" in table
        assert f"{number}_shallow_relu_bce: failed." in answer.stdout
    (row,) = csv.DictReader((sweep / "comparison.csv").read_text().splitlines())
    assert row["runs"] == "1"


@pytest.mark.slow
def test_debug_fast_keeps_nothing(command: Command, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    work = tmp_path / "work"
    temporary.mkdir()
    work.mkdir()
    answer = command(work, *SMALL, "debug=fast", TMPDIR=str(temporary))
    assert answer.returncode == 0, answer.stderr
    assert "test" in answer.stdout
    assert list(work.iterdir()) == list(temporary.glob("imdb_lightning*")) == []


@pytest.mark.slow
def test_debug_overfit_learns_its_batches_by_heart(command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, *SMALL[:-1], "debug=overfit", "data.train_size=200")
    assert answer.returncode == 0, answer.stderr
    (history,) = tmp_path.rglob("history.csv")
    assert float(list(csv.DictReader(history.read_text().splitlines()))[-1]["accuracy"]) == 1.0


@pytest.mark.slow
def test_debug_profile_says_where_the_time_goes(command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, *SMALL[:-1], "debug=profile")
    assert answer.returncode == 0, answer.stderr
    assert "run_training_batch" in answer.stderr + answer.stdout
