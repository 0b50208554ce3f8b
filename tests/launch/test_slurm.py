"""A real Slurm: jobs of two nodes, sweeps, preemption, requeue, and nodes and jobs that are lost.

The tests use the cluster that answers to `sinfo`; it needs two nodes of two CPUs, this machine's disk, and for the
preemption partitions `low` and `high`, the first preempted by the second. A node is crashed by the command in
SLURM_KILL_NODE and brought back by the one in SLURM_START_NODE; each is called with the node's name.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support import CACHE, Command, start

pytestmark = [pytest.mark.slurm, pytest.mark.distributed, pytest.mark.slow]

DATA = [
    "data=synthetic", "data.reviews=2500", "data.validation_size=700", "data.test_size=901", "data.num_words=800",
    "data.batch_size=50", "model=regularized_relu_bce", "model.hidden_units=[16,16]", "callbacks=none",
]  # fmt: skip
TWO_NODES = ["trainer=ddp_cpu", "trainer.devices=1", "trainer.num_nodes=2"]
SWEEP = ["-m", "hydra/launcher=slurm", "hydra.sweep.dir=sweep"]
JOB = Path("sweep", "0_regularized_relu_bce")


def slurm_says(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(autouse=True, scope="module")
def slurm() -> None:
    if shutil.which("sinfo") is None:
        pytest.skip("needs Slurm: there is no sinfo here")
    if subprocess.run(["sinfo"], capture_output=True, check=False).returncode:
        pytest.skip("needs Slurm: sinfo gets no answer")
    pytest.importorskip("submitit", reason="needs the extra slurm")


@pytest.fixture(scope="module")
def reference(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """An uninterrupted run of two processes on this machine."""
    folder = tmp_path_factory.mktemp("reference")

    def run(epochs: int) -> Path:
        run_dir = folder / str(epochs)
        answer = command(folder, *DATA, "trainer=ddp_cpu", f"trainer.max_epochs={epochs}", f"hydra.run.dir={run_dir}")
        assert answer.returncode == 0, answer.stderr
        return run_dir

    return run


def wait_for(
    condition: Callable[[], object], process: subprocess.Popen[str] | None, output: Path, seconds: int = 120
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, output.read_text()
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.1)


def epochs_done(run: Path) -> int:
    history = run / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0


def job_numbers(output: Path) -> list[str]:
    return re.findall(r"as Slurm job (\S+)", output.read_text())


def words(text: str) -> str:
    """Text without the ends of a terminal's lines."""
    return " ".join(text.split())


def assert_same_bits(run: Path, expected: Path) -> None:
    for name in ("model.safetensors", "predictions.csv"):
        assert (run / name).read_bytes() == (expected / name).read_bytes(), name


def test_srun_on_two_nodes_needs_no_address_and_makes_one_folder(
    cache: Path, tmp_path: Path, reference: Callable[[int], Path]
) -> None:
    command = ["srun", "-N2", "--ntasks-per-node=1", sys.executable, "-m", "imdb_lightning", *DATA]
    answer = subprocess.run(
        [*command, "trainer.max_epochs=2"],
        cwd=tmp_path, env=os.environ | {CACHE: str(cache)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    (run,) = tmp_path.glob("logs/*/*")
    assert re.fullmatch(r"slurm-\d+\.0", run.name)
    assert json.loads((run / "results.json").read_text())["world_size"] == 2
    assert answer.stdout.count("tested       the weights of epoch ") == 1
    assert_same_bits(run, reference(2))


def test_two_tasks_on_a_node_are_refused(cache: Path, tmp_path: Path) -> None:
    command = ["srun", "-N1", "-n2", sys.executable, "-m", "imdb_lightning", *DATA]
    answer = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {CACHE: str(cache)}, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2
    assert "srun: expected one task on each of the 1 machines of trainer.num_nodes, but got 2 tasks" in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_sweep_of_distributed_jobs_names_the_one_that_was_cancelled(cache: Path, tmp_path: Path) -> None:
    process = start(tmp_path, cache, *SWEEP, *DATA, "trainer=ddp_cpu", "seed=0,1,2", "trainer.max_epochs=2,500")
    output = tmp_path / "output"
    wait_for(lambda: len(job_numbers(output)) == 6, process, output)
    doomed = job_numbers(output)[1::2]
    subprocess.run(["scancel", *doomed], check=True)
    assert process.wait(timeout=200) == 1
    results = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("sweep/*/results.json"))]
    assert [(result["seed"], result["epochs"], result["world_size"]) for result in results] == [
        (0, 2, 2), (1, 2, 2), (2, 2, 2),
    ]  # fmt: skip
    for job in doomed:
        assert f"failed. Slurm job {job} ended as " in words(output.read_text()), output.read_text()
    assert "3 runs, mean" in output.read_text()


def test_ctrl_c_leaves_the_jobs_in_the_queue_and_says_so(cache: Path, tmp_path: Path) -> None:
    process = start(tmp_path, cache, *SWEEP, *DATA, "trainer.max_epochs=5000")
    output = tmp_path / "output"
    wait_for(lambda: "Ctrl-C leaves the jobs in the queue" in output.read_text(), process, output)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 128 + signal.SIGINT
    (job,) = job_numbers(output)
    assert slurm_says("squeue", "--noheader", f"--jobs={job}")
    subprocess.run(["scancel", job], check=True)
    *_, queue, heading, again = output.read_text().splitlines()
    assert queue == "Its jobs stay in the queue (see squeue and scancel). Once none is left there:"
    assert heading == "This goes on:"
    assert shlex.split(again) == [sys.executable, "-m", "imdb_lightning", *SWEEP, *DATA, "trainer.max_epochs=5000"]


def test_job_of_two_nodes_preempted_three_times_ends_with_the_same_bits(
    cache: Path, tmp_path: Path, reference: Callable[[int], Path]
) -> None:
    if not {"low", "high"} <= set(slurm_says("sinfo", "--noheader", "--format=%R").split()):
        pytest.skip("needs partitions low and high, the first preempted by the second")
    arguments = [*SWEEP, *DATA, *TWO_NODES, "trainer.max_epochs=60"]
    process = start(tmp_path, cache, *arguments, "hydra.launcher.partition=low")
    run, output = tmp_path / JOB, tmp_path / "output"
    for _ in range(3):
        before = epochs_done(run)
        wait_for(lambda before=before: epochs_done(run) > before, process, output)
        # Waits for all CPUs of both nodes, which it gets by preempting the job.
        subprocess.run(
            ["srun", "--partition=high", "--nodes=2", "--exclusive", "true"], capture_output=True, check=True
        )
        assert json.loads((run / "status.json").read_text())["state"] == "interrupted"
    assert process.wait(timeout=200) == 0, output.read_text()
    (job,) = job_numbers(output)
    assert slurm_says("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T").strip() == "COMPLETED"
    assert "Restarts=3" in slurm_says("scontrol", "show", "job", job)
    assert_same_bits(run, reference(60))


def test_job_of_two_nodes_that_was_preempted_goes_on_with_one(command: Command, cache: Path, tmp_path: Path) -> None:
    if not {"low", "high"} <= set(slurm_says("sinfo", "--noheader", "--format=%R").split()):
        pytest.skip("needs partitions low and high, the first preempted by the second")
    settings = [*DATA, "trainer.shards=12", "trainer.max_epochs=60"]
    answer = command(tmp_path, *settings, "hydra.run.dir=whole")
    assert answer.returncode == 0, answer.stderr
    process = start(tmp_path, cache, *SWEEP, *settings, *TWO_NODES, "hydra.launcher.partition=low")
    run, output = tmp_path / JOB, tmp_path / "output"
    wait_for(lambda: epochs_done(run) > 0, process, output)
    subprocess.run(["srun", "--partition=high", "--nodes=2", "--exclusive", "true"], capture_output=True, check=True)
    assert json.loads((run / "status.json").read_text())["state"] == "interrupted"
    (job,) = job_numbers(output)
    subprocess.run(["scancel", job], check=True)  # Which waits for two nodes again.
    assert process.wait(timeout=200) == 1, output.read_text()
    assert epochs_done(run) < 60
    answer = command(tmp_path, *SWEEP, *settings)
    assert answer.returncode == 0, answer.stderr
    assert json.loads((run / "results.json").read_text())["world_size"] == 1
    assert_same_bits(run, tmp_path / "whole")


def test_warning_of_the_time_limit_requeues_the_job(
    cache: Path, tmp_path: Path, reference: Callable[[int], Path]
) -> None:
    """By the signal that Slurm sends before a job's time is up."""
    arguments = [*SWEEP, *DATA, "trainer=ddp_cpu", "trainer.max_epochs=60", "hydra.launcher.timeout_min=5"]
    process = start(tmp_path, cache, *arguments)
    run, output = tmp_path / JOB, tmp_path / "output"
    wait_for(lambda: epochs_done(run) > 0, process, output)
    (job,) = job_numbers(output)
    subprocess.run(["scancel", "--signal=USR2", job], check=True)
    assert process.wait(timeout=200) == 0, output.read_text()
    assert "Restarts=1" in slurm_says("scontrol", "show", "job", job)
    assert "9 remaining timeouts" in (tmp_path / f"sweep/.submitit/{job}/{job}_0_log.out").read_text()
    assert_same_bits(run, reference(60))


def test_crashed_node_costs_no_more_than_time(cache: Path, tmp_path: Path, reference: Callable[[int], Path]) -> None:
    kill, back = os.environ.get("SLURM_KILL_NODE"), os.environ.get("SLURM_START_NODE")
    if not kill or not back:
        pytest.skip("needs SLURM_KILL_NODE and SLURM_START_NODE, which crash a node and bring it back")
    process = start(tmp_path, cache, *SWEEP, *DATA, *TWO_NODES, "trainer.max_epochs=60", "trainer.max_restarts=2")
    run, output = tmp_path / JOB, tmp_path / "output"
    wait_for(lambda: epochs_done(run) > 0, process, output)
    (job,) = job_numbers(output)
    nodes = slurm_says("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()
    lost = slurm_says("scontrol", "show", "hostnames", nodes).split()[-1]
    subprocess.run([*kill.split(), lost], check=True)
    try:
        wait_for(lambda: "Restarts=1" in slurm_says("scontrol", "show", "job", job), process, output)
    finally:
        subprocess.run([*back.split(), lost], check=True)
    assert process.wait(timeout=200) == 0, output.read_text()
    assert_same_bits(run, reference(60))


@pytest.mark.optuna
def test_killed_search_goes_on_with_what_its_jobs_have_reached(cache: Path, command: Command, tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="needs the extra optuna")
    search = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=2"]
    arguments = [*SWEEP, *search, *DATA, "trainer.max_epochs=2", "model.dropout=interval(0,0.6)"]
    process = start(tmp_path, cache, *arguments)
    output = tmp_path / "output"
    wait_for(lambda: len(list(tmp_path.glob("sweep/*/results.json"))) >= 3, process, output)
    process.kill()
    process.wait()
    submitted = job_numbers(output)
    assert len(submitted) == 4
    wait_for(lambda: not slurm_says("squeue", "--noheader", "--name=imdb_lightning"), None, output)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("sweep/*/results.json")}
    again = command(tmp_path, *arguments)
    assert again.returncode == 0, again.stderr
    assert len(re.findall("as Slurm job", again.stdout + again.stderr)) == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(tmp_path.glob("sweep/*/results.json"))) == 6
    assert len((tmp_path / "sweep" / "trials.csv").read_text().splitlines()) == 7


def test_check_names_what_slurm_cannot_grant(command: Command, tmp_path: Path) -> None:
    arguments = ["-m", "hydra/launcher=slurm", *DATA]
    answer = command(tmp_path, *arguments, "hydra.launcher.partition=nowhere", module="imdb_lightning.check")
    assert answer.returncode == 2
    assert answer.stdout.count("wrong  ") == 1
    assert re.search("wrong request: .* invalid partition .* open shared folder: not looked at: ", words(answer.stdout))
    refused = command(tmp_path, *arguments, "hydra.launcher.partition=nowhere")
    assert refused.returncode == 2
    assert "a request that Slurm can grant" in refused.stderr
    assert list(tmp_path.iterdir()) == []
    nodes = np.sum([int(count) for count in slurm_says("sinfo", "--noheader", "--format=%D").split()])
    answer = command(
        tmp_path, *arguments, "trainer=ddp_cpu", f"trainer.num_nodes={nodes + 1}", module="imdb_lightning.check"
    )
    assert answer.returncode == 2
    assert "wrong  request" in answer.stdout


def test_check_names_a_folder_that_nodes_do_not_see(cache: Path, tmp_path: Path) -> None:
    """A disk that only this process sees: a mount in a namespace of its own."""
    (tmp_path / "private").mkdir()
    arguments = ["-m", "hydra/launcher=slurm", "hydra.sweep.dir=private/sweep", *DATA]
    mount = 'mount -t tmpfs none private && exec "$@"'
    answer = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, "sh", sys.executable, "-m", "imdb_lightning.check", *arguments],
        cwd=tmp_path, env=os.environ | {CACHE: str(cache)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare:" in answer.stderr or "mount:" in answer.stderr:
        pytest.skip(f"needs the right to mount: {answer.stderr}")
    assert answer.returncode == 2, answer.stdout + answer.stderr
    assert "hydra.sweep.dir: expected a folder that all machines of the cluster share" in words(answer.stdout)
    (tmp_path / "shared").mkdir()
    arguments[2] = "hydra.sweep.dir=shared/sweep"
    answer = subprocess.run(
        [sys.executable, "-m", "imdb_lightning.check", *arguments],
        cwd=tmp_path, env=os.environ | {CACHE: str(cache)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
