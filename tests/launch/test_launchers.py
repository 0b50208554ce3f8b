"""Sweeps of distributed jobs by other launchers, and two sweeps at once, on one machine."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from tests.support import CACHE, Command, interrupt, start

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

SWEEP = [
    "data=synthetic", "data.reviews=2500", "data.validation_size=700", "data.test_size=901", "data.num_words=800",
    "trainer=ddp_cpu", "trainer.max_epochs=1",
]  # fmt: skip


def results(sweep: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(sweep.glob("*/results.json"))]


@pytest.mark.parametrize(
    ("launcher", "settings"),
    [
        pytest.param("joblib", ["hydra.launcher.n_jobs=2"]),
        pytest.param("local", ["hydra.launcher.n_jobs=2"]),
        pytest.param("ray", ["hydra.launcher.ray.init.num_cpus=4"], marks=pytest.mark.ray),
    ],
)
def test_sweep_runs_each_distributed_job_once(
    launcher: str, settings: list[str], command: Command, tmp_path: Path
) -> None:
    if launcher != "local":
        pytest.importorskip(launcher)
    arguments = ["-m", f"hydra/launcher={launcher}", *settings, *SWEEP]
    answer = command(tmp_path, *arguments, "seed=0,1,2", "hydra.sweep.dir=sweep")
    assert answer.returncode == 0, answer.stderr
    found = results(tmp_path / "sweep")
    assert [(result["seed"], result["world_size"]) for result in found] == [(0, 2), (1, 2), (2, 2)]
    assert "3 runs" in answer.stdout
    assert (tmp_path / "sweep" / "comparison.csv").read_text().splitlines()[1].startswith("shallow_relu_bce,3,")
    alone = command(tmp_path, *SWEEP, "seed=2", "hydra.run.dir=alone")
    assert alone.returncode == 0, alone.stderr
    theirs, ours = (tmp_path / name / "predictions.csv" for name in ("sweep/2_shallow_relu_bce_seed=2", "alone"))
    assert theirs.read_bytes() == ours.read_bytes()


@pytest.mark.parametrize("launcher", ["joblib", "local"])
def test_interrupted_sweep_saves_every_job_and_says_how_to_go_on(launcher: str, cache: Path, tmp_path: Path) -> None:
    """Ctrl-C reaches all processes at once: two jobs train, and two wait for them."""
    if launcher != "local":
        pytest.importorskip(launcher)
    settings = [f"hydra/launcher={launcher}", "hydra.launcher.n_jobs=2"]
    arguments = [*settings, *SWEEP[:-2], "callbacks=none", "trainer.max_epochs=2000", "seed=0,1,2,3"]
    text = interrupt(start(tmp_path, cache, *arguments, "-m"), tmp_path, 2)
    assert "Traceback" not in text
    assert {"#0 Interrupted by SIGINT.", "#1 Interrupted by SIGINT."} <= set(text.splitlines()), text
    assert any(line.startswith("#1 epoch  1/2000 ") for line in text.splitlines())
    (sweep,) = (tmp_path / "logs" / "multirun").iterdir()
    states = [json.loads(path.read_text()) for path in sorted(sweep.glob("*/status.json"))]
    assert [(status["state"], status["reason"]) for status in states] == [("interrupted", "SIGINT")] * 2
    heading, again = text.splitlines()[-2:]
    assert heading == "This goes on:"
    started = [sys.executable, "-m", "imdb_lightning", *arguments]
    assert shlex.split(again) == [*started, f"hydra.sweep.dir={sweep.relative_to(tmp_path)}", "-m"]


def test_local_sweep_names_a_killed_job_and_finishes_it_later(cache: Path, command: Command, tmp_path: Path) -> None:
    settings = [*SWEEP[:-2], "callbacks=none", "trainer.max_epochs=300"]
    arguments = [
        "-m",
        "hydra/launcher=local",
        "hydra.launcher.n_jobs=2",
        *settings,
        "seed=0,1,2",
        "hydra.sweep.dir=sweep",
    ]
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "imdb_lightning", *arguments],
            cwd=tmp_path, env=os.environ | {CACHE: str(cache)}, stdout=output, stderr=output,
        )  # fmt: skip
    doomed = tmp_path / "sweep" / "0_shallow_relu_bce_seed=0"
    while not (doomed / "history.csv").exists():
        assert process.poll() is None, (tmp_path / "output").read_text()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    assert process.wait(timeout=200) == 1
    text = " ".join((tmp_path / "output").read_text().split())
    assert "0_shallow_relu_bce_seed=0: failed. Its process ended with status -9." in text
    assert [result["seed"] for result in results(tmp_path / "sweep")] == [1, 2]
    again = command(tmp_path, *arguments)
    assert again.returncode == 0, again.stderr
    assert "#0 epoch   1/300" not in again.stderr
    alone = command(tmp_path, *settings, "seed=0", "hydra.run.dir=alone")
    assert alone.returncode == 0, alone.stderr
    for name in ("predictions.csv", "model.safetensors"):
        assert (doomed / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


OWNER = """
import sys
from imdb_lightning.launch.clusters import Launcher, lock_ray
lock_ray(Launcher("ray", {"ray": {"init": {"address": None}}}))
import os, ray
context = ray.init(num_cpus=1, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
print(context.address_info["gcs_address"], os.environ["RAY_AUTH_TOKEN"], flush=True)
sys.stdin.read()
"""
CALLER = """
import sys, ray
ray.init(address=sys.argv[1], _node_ip_address="127.0.0.1", log_to_driver=False)
print(ray.get(ray.remote(lambda: "ran").remote()))
"""


@pytest.mark.ray
def test_ray_that_a_sweep_starts_answers_nobody_else() -> None:
    pytest.importorskip("ray")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as owner:  # fmt: skip
        assert owner.stdout is not None
        address, token = owner.stdout.readline().split()
        answers = {}
        for name, variables in (("owner", {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}), ("other", {})):
            caller = subprocess.Popen(
                [sys.executable, "-c", CALLER, address], env=environment | variables, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            try:
                answers[name] = caller.communicate(timeout=30)
            except subprocess.TimeoutExpired:  # It asks again and again.
                caller.kill()
                answers[name] = caller.communicate()
        owner.kill()
    assert answers["owner"][0] == "ran\n", answers
    assert answers["other"][0] == ""
    assert "InvalidAuthToken" in answers["other"][1]


def test_launcher_without_a_sweep(command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, *SWEEP, "hydra/launcher=joblib")
    assert answer.returncode == 2
    assert answer.stderr.startswith("hydra/launcher=joblib: expected a sweep")


@pytest.mark.parametrize("jobs", ["0", "-1", "2.5", "many"])
def test_local_sweep_of_no_jobs_at_once(jobs: str, command: Command, tmp_path: Path) -> None:
    arguments = ["-m", "hydra/launcher=local", f"hydra.launcher.n_jobs={jobs}", *SWEEP]
    answer = command(tmp_path, *arguments)
    assert answer.returncode == 2
    assert answer.stderr.startswith("hydra.launcher.n_jobs: expected a whole number, at least 1, or null")
    assert list(tmp_path.iterdir()) == []
    checked = command(tmp_path, *arguments, module="imdb_lightning.check")
    assert (checked.returncode, "wrong  jobs at once" in checked.stdout) == (2, True)


def test_slurm_without_sbatch(command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, "-m", "hydra/launcher=slurm", *SWEEP, module="imdb_lightning.check", PATH=str(tmp_path))
    assert answer.returncode == 2
    wrong = "wrong sbatch: hydra/launcher=slurm: expected the command sbatch, but got none on the PATH"
    assert wrong in " ".join(answer.stdout.split())


@pytest.mark.parametrize(
    ("launcher", "setting"),
    [("slurm", "partition: gpu\n"), pytest.param("ray", "address: null\n", marks=pytest.mark.ray)],
)
def test_settings_of_a_launcher_are_shown_without_asking_it(
    launcher: str, setting: str, command: Command, tmp_path: Path
) -> None:
    """And without a warning of Hydra's, which it gives of a file that has the name of a plug-in's stored settings."""
    pytest.importorskip({"slurm": "submitit"}.get(launcher, launcher))
    shown = ["--cfg", "hydra", "--package", "hydra.launcher", f"hydra/launcher={launcher}"]
    chosen = ["hydra.launcher.partition=gpu"] if launcher == "slurm" else []
    answer = command(tmp_path, *shown, *chosen, PATH=str(tmp_path))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert setting in answer.stdout


def test_hydra_takes_our_launcher_in_the_place_of_submitits(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    from imdb_lightning.launch import submitit_launcher

    monkeypatch.setattr(Plugins.instance(), "class_name_to_class", dict(Plugins.instance().class_name_to_class))
    submitit_launcher.register()
    plugin = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
    settings = OmegaConf.create({"hydra": {"launcher": {"_target_": plugin, "max_num_timeout": 3}}})
    launcher = Plugins.instance().instantiate_launcher(None, lambda job: None, settings)
    assert type(launcher) is submitit_launcher.SlurmLauncher
    assert launcher.params == {"max_num_timeout": 3}


def test_two_sweeps_at_once_keep_out_of_each_others_way(cache: Path, tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "imdb_lightning", "-m", *SWEEP, f"seed={seeds}"],
            cwd=tmp_path, env=os.environ | {CACHE: str(cache)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True,
        )
        for seeds in ("0,1", "2,3")
    ]  # fmt: skip
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    sweeps = list((tmp_path / "logs" / "multirun").iterdir())
    found = sorted([result["seed"] for result in results(sweep)] for sweep in sweeps)
    assert found == [[0, 1], [2, 3]]


def test_several_processes_started_by_somebody_elses_torchrun(command: Command, cache: Path, tmp_path: Path) -> None:
    """`torchrun ... -m imdb_lightning.worker RUN_DIR`, for those who start ranks themselves."""
    first = command(tmp_path, *SWEEP, "hydra.run.dir=first")
    assert first.returncode == 0, first.stderr
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "config.yaml").write_bytes((tmp_path / "first" / "config.yaml").read_bytes())
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    answer = subprocess.run(
        [*torchrun, "-m", "imdb_lightning.worker", "second"],
        cwd=tmp_path, env=os.environ | {CACHE: str(cache)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    runs = [(tmp_path / name / "predictions.csv").read_bytes() for name in ("first", "second")]
    assert runs[0] == runs[1]
