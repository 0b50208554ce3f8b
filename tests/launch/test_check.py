"""What is said before a command is run: by `python -m imdb_lightning.check`, and by the command itself."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from imdb_lightning.config.errors import UserError
from imdb_lightning.launch import clusters
from imdb_lightning.launch.run import claimed_gpu
from tests.support import Command

DATA = ["data=synthetic"]


def check(command: Command, folder: Path, *arguments: str, **variables: str):
    return command(folder, *arguments, module="imdb_lightning.check", **variables)


def test_nothing_wrong(command: Command, tmp_path: Path) -> None:
    answer = check(command, tmp_path, "-m", *DATA, "seed=0,1")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout == "ok     settings, data, devices\n"
    assert list(tmp_path.iterdir()) == []


def test_each_mistake_is_named(command: Command, tmp_path: Path) -> None:
    answer = check(command, tmp_path, "-m", *DATA, "seed=0,-1", "model.dropout=0.1")
    assert answer.returncode == 2
    assert "wrong  data=synthetic seed=-1 model.dropout=0.1: seed: expected" in answer.stdout
    both = check(command, tmp_path, "-m", *DATA, "seed=-2,-1")
    assert both.returncode == 2
    assert [line[:33] for line in both.stdout.splitlines()[::2]] == [
        "wrong  data=synthetic seed=-2: se", "wrong  data=synthetic seed=-1: se",
    ]  # fmt: skip


def test_plug_in_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hydra_plugins.hydra_ray_launcher", None)
    with pytest.raises(UserError, match=r"hydra/launcher=ray: expected the plug-in hydra-ray-launcher"):
        clusters.check_plugin("ray")


@pytest.mark.parametrize(("minutes", "timeouts", "refused"), [(10, 0, True), (10, 1, False), (11, 0, False)])
def test_job_that_would_not_be_requeued(minutes: int, timeouts: int, refused: bool) -> None:
    settings = {"timeout_min": minutes, "max_num_timeout": timeouts}
    if refused:
        with pytest.raises(UserError, match=r"hydra\.launcher\.max_num_timeout: expected at least 1"):
            clusters._check_requeue(settings)
    else:
        clusters._check_requeue(settings)


def test_port_that_is_taken(command: Command, tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as other:
        rendezvous = f"127.0.0.1:{other.getsockname()[1]}"
        machines = ["trainer=ddp_cpu", "trainer.num_nodes=2", f"trainer.rendezvous={rendezvous}"]
        first = check(command, tmp_path, *DATA, *machines, "trainer.node_rank=0")
        second = check(command, tmp_path, *DATA, *machines, "trainer.node_rank=1")
    assert first.returncode == 2
    assert f"expected a free port of this machine, but got {rendezvous}" in " ".join(first.stdout.split())
    assert second.returncode == 0  # The first machine listens; this one calls.


def test_each_run_claims_a_gpu_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with claimed_gpu(3) as first, claimed_gpu(3) as second:
        assert (first, second) == (0, 1)
        (folder,) = tmp_path.iterdir()
        with FileLock(folder / "2.lock"), claimed_gpu(3) as shared:
            assert shared == 0
    with claimed_gpu(3) as again:
        assert again == 0
