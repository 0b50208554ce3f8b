"""The command as a user types it: refusals, help, failing jobs, what is left behind."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import imdb_lightning
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


@pytest.mark.parametrize("place", [0, 1])
def test_version_is_our_own(place: int, command: Command, tmp_path: Path) -> None:
    arguments = ["seed=1"]
    arguments.insert(place, "--version")
    answer = command(tmp_path, *arguments, PYTHONPROFILEIMPORTTIME="1")
    assert (answer.returncode, answer.stdout) == (0, f"imdb_lightning {imdb_lightning.__version__}\n")
    assert "torch" not in answer.stderr
    assert "hydra" not in answer.stderr


@pytest.mark.slow
def test_last_lines_say_what_was_tested_and_where_it_is(command: Command, tmp_path: Path) -> None:
    """In another working directory, and with all that a verbose Hydra shows of other libraries."""
    elsewhere = ["hydra.job.chdir=true", "hydra.verbose=true", "model.learning_rate=0.1", "hydra.run.dir=a/run"]
    answer = command(tmp_path, *SMALL, "callbacks=none", "trainer.max_epochs=4", *elsewhere)
    assert answer.returncode == 0, answer.stderr
    best = json.loads((tmp_path / "a" / "run" / "results.json").read_text())["best_epoch"]
    assert best < 4
    *shown, folder, curves = answer.stdout.splitlines()
    assert (folder, curves) == ("folder       a/run", "curves       tensorboard --logdir a/run")
    assert f"tested       the weights of epoch 4, the last; epoch {best} had the best val/loss" in shown
    log = (tmp_path / "a" / "run" / "train.log").read_text(encoding="utf-8").splitlines()
    # Only the command line knows what was changed.
    assert shown[0] == "shallow_relu_bce (learning_rate=0.1), seed 0"
    assert log[-len(shown) :] == ["shallow_relu_bce, seed 0", *shown[1:]]
    assert "font" not in answer.stdout + answer.stderr


def test_file_that_another_working_directory_does_not_have(command: Command, tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("text,label\ngood,1\nbad,0\n")
    answer = command(tmp_path, "data=text", "data.train=reviews.csv", "hydra.job.chdir=true", "hydra.run.dir=run")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("data.train: expected an existing file")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mode", ["cfg", "info"])
def test_settings_of_a_sweep_are_not_shown(mode: str, command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, f"--{mode}", *(["job"] if mode == "cfg" else []), "-m", "seed=0,1")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert f"expected one of --multirun, --cfg and --info, but got --multirun and --{mode}" in answer.stderr


def test_help_lists_choices(command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, "--help")
    assert answer.returncode == 0
    assert "model: deep_tanh_mse, nb_linear_ngrams, nb_ngrams, regularized_relu_bce, shallow_relu_bce" in answer.stdout
    assert "data=text --help" in answer.stdout
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
    assert (tmp_path / "läufe, (1)" / "1_mine_seed=1" / "results.json").is_file()
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
        (
            ["model=min"],
            "model: expected one of deep_tanh_mse, mine, nb_linear_ngrams, nb_ngrams, regularized_relu_bce, ",
        ),
        ([f"hydra.searchpath=[file://{own_settings.parent}]", "model=mine", "seed=-1"], "seed: expected"),
    ):
        answer = command(tmp_path, "--config-dir", "my_conf", *arguments)
        assert answer.returncode == 2
        assert answer.stderr.startswith(message)
    missing = command(tmp_path, "--config-dir", "nowhere")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr == "--config-dir: expected an existing folder, but got 'nowhere'. Mend the path.\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\tl2: 0", "my_conf/model/mine.yaml: expected settings in YAML, but got other content (while scanning"),
        (b"l2: 0\nl2: 1", "my_conf/model/mine.yaml: expected settings in YAML, but got other content (while construct"),
        (b"l2: \xff", "my_conf/model/mine.yaml: expected settings in YAML, but got other content ('utf-8' codec"),
        (b"[" * 5000, "my_conf/model/mine.yaml: expected settings in YAML, but got other content (maximum recursion"),
        (b"defaults: [mine]", "command line: Defaults lists name each other without end."),
        (b"l2: 1" + b"0" * 400, "command line: int too large to convert to float."),
        (b"l3: 0", "command line: In 'model/mine': Key 'l3' not in 'ModelConfig'."),
    ],
)
def test_damaged_file_of_own_settings_is_named(
    content: bytes, message: str, own_settings: Path, command: Command, tmp_path: Path
) -> None:
    (own_settings / "model" / "mine.yaml").write_bytes(content)
    answer = command(tmp_path, "--config-dir", "my_conf", "model=mine")
    assert (answer.returncode, answer.stdout) == (2, "")
    (line,) = answer.stderr.splitlines()
    assert line.removeprefix(f"{tmp_path}/").startswith(message)
    assert {path.name for path in tmp_path.iterdir()} == {"my_conf"}


@pytest.mark.parametrize("chosen", ["hydra/sweeper=mine", "+experiment=swept"])
def test_other_sweepers_are_refused_before_anything_is_trained(
    chosen: str, own_settings: Path, command: Command, tmp_path: Path
) -> None:
    """With a sweeper that waits for results of its own kind, all jobs were trained, and all was called a success."""
    answer = command(tmp_path, "-m", "--config-dir", "my_conf", *SMALL, chosen, "seed=0,1")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("hydra/sweeper: expected basic")
    assert {path.name for path in tmp_path.iterdir()} == {"my_conf"}


def test_search_without_optuna(command: Command, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['optuna'] = None\n")
    answer = command(tmp_path, "-m", *SMALL, "hydra/sweeper=optuna", "seed=0,1", PYTHONPATH=str(tmp_path))
    assert (answer.returncode, answer.stdout) == (2, "")
    expected = "hydra/sweeper=optuna: expected the package optuna, but got none installed. "
    assert answer.stderr == f"{expected}pip install 'imdb-lightning[optuna]'\n"


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
    answer = command(tmp_path, "model.learning_rate=0.001,1e30", "-m", *SMALL)
    assert answer.returncode == 1
    (sweep,) = (tmp_path / "logs" / "multirun").iterdir()
    statuses = {path.parent.name: json.loads(path.read_text()) for path in sweep.glob("*/status.json")}
    done, failed = "0_shallow_relu_bce_learning_rate=0.001", "1_shallow_relu_bce_learning_rate=1e+30"
    assert {name: status["state"] for name, status in statuses.items()} == {done: "completed", failed: "failed"}
    assert "The training diverged" in statuses[failed]["reason"]
    assert f"- `{failed}`: failed. {statuses[failed]['reason']}" in (sweep / "comparison.md").read_text()
    assert f"{failed}: failed." in answer.stdout
    (row,) = csv.DictReader((sweep / "comparison.csv").read_text().splitlines())
    assert row["runs"] == "1"


@pytest.mark.parametrize(
    ("swept", "wrong", "jobs"),
    [
        (["model.dropout=0.1,2.0"], {"model.dropout=2.0": "model.dropout: expected a number from 0 to below 1"}, 2),
        (["seed=0,1,2,3,4,5,-6,7"], {"seed=-6": "seed: expected a whole number from 0"}, 8),
        (
            ["seed=1,-1", "data.batch_size=100,0"],
            {
                "seed=1 data.batch_size=0": "data.batch_size: expected a whole number, at least 1",
                "seed=-1 data.batch_size=100": "seed: expected a whole number from 0",
                "seed=-1 data.batch_size=0": "data.batch_size: expected a whole number, at least 1",
            },
            4,
        ),
    ],
)
def test_sweep_with_a_wrong_job_trains_nothing(
    swept: list[str], wrong: dict[str, str], jobs: int, command: Command, tmp_path: Path
) -> None:
    answer = command(tmp_path, "-m", "data=synthetic", *swept)
    assert (answer.returncode, answer.stdout) == (2, "")
    heading, *lines = answer.stderr.splitlines()
    assert heading == f"command line: {len(wrong)} of {jobs} jobs cannot run, so none was started:"
    assert lines[::2] == [f"  data=synthetic {overrides}" for overrides in wrong]
    for line, message in zip(lines[1::2], wrong.values(), strict=True):
        assert line.startswith(f"    {message}")
    assert list(tmp_path.iterdir()) == []


def test_many_wrong_jobs_are_counted(command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, "-m", "data=synthetic", "seed=range(-12,1)")
    assert answer.returncode == 2
    lines = answer.stderr.splitlines()
    assert lines[0] == "command line: 12 of 13 jobs cannot run, so none was started:"
    assert (len(lines), lines[-1]) == (22, "  and 2 more")


def test_mistake_of_all_jobs_is_named_once(command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, "-m", "data=synthetic", "data.batch_size=0", "seed=0,1")
    assert answer.returncode == 2
    assert answer.stderr.startswith("data.batch_size: expected a whole number, at least 1, but got 0.")
    assert len(answer.stderr.splitlines()) == 1


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


@pytest.mark.parametrize("name", ["spam (final), v2.csv", "a, b.csv"])
def test_quoted_name_in_a_message_works_when_typed(name: str, command: Command, tmp_path: Path) -> None:
    (tmp_path / name).write_text("text,label\n" + "good,1\nbad,0\n" * 10)
    wide = {"COLUMNS": "1000"}
    refused = command(tmp_path, "data=text", f"data.train={name}", module="imdb_lightning.check", **wide)
    assert refused.returncode == 2
    shown = refused.stdout.rpartition("ype ")[2]
    typed = subprocess.run(
        f"{shlex.quote(sys.executable)} -m imdb_lightning.check data=text {shown}",
        cwd=tmp_path, shell=True, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert typed.stdout == "ok     settings, data, devices\n", shown


def test_home_and_names_in_lists(command: Command, tmp_path: Path) -> None:
    (tmp_path / "a (1).csv").write_text("text,label\ngood,1\nbad,0\n")
    shutil.copy(tmp_path / "a (1).csv", tmp_path / "b.csv")
    wide = {"COLUMNS": "1000"}
    refused = command(tmp_path, "data=text", "data.train=[a (1).csv,b.csv]", module="imdb_lightning.check", **wide)
    assert """Type 'data.train=["a (1).csv",b.csv]'""" in refused.stdout
    answer = command(tmp_path, "data=text", "data.train=~/b.csv", module="imdb_lightning.check", HOME=str(tmp_path))
    assert (answer.returncode, answer.stdout) == (0, "ok     settings, data, devices\n")
