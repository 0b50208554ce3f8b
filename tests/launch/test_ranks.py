"""Several real processes: the same numbers, one folder, and nothing left behind when one of them dies."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support import CACHE, Command, family, in_use, wait_until_gone

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

DATA = [
    "data=synthetic", "data.reviews=2500", "data.validation_size=700", "data.test_size=901", "data.num_words=800",
    "data.batch_size=250",
]  # fmt: skip
LONG = [*DATA, "data.batch_size=50", "trainer.max_epochs=400", "callbacks=none", "checkpoint.every_n_steps=5"]


def ddp(processes: int) -> list[str]:
    return ["trainer=ddp_cpu", f"trainer.devices={processes}"]


def probabilities(folder: Path) -> np.ndarray:
    rows = np.genfromtxt(folder / "predictions.csv", delimiter=",", names=True)
    np.testing.assert_array_equal(rows["row"], np.arange(901))
    return rows["probability"]


def result_of(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def files_of(folder: Path) -> set[str]:
    """Names of a run's files; TensorBoard's have the time and the process in theirs."""
    return {path.name.partition(".tfevents.")[0] for path in folder.iterdir()}


def status_of(folder: Path) -> dict:
    return json.loads((folder / "status.json").read_text())


@pytest.mark.parametrize("model", ["deep_tanh_mse", "regularized_relu_bce"])
def test_numbers_are_the_same_for_1_2_and_3_processes(model: str, command: Command, tmp_path: Path) -> None:
    arguments = [*DATA, f"model={model}", "model.dropout=0", "trainer.max_epochs=2"]
    for processes in (1, 2, 3):
        answer = command(tmp_path, *arguments, *ddp(processes), f"hydra.run.dir={processes}")
        assert answer.returncode == 0, answer.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2", "3"}
    alone, expected = result_of(tmp_path / "1"), probabilities(tmp_path / "1")
    for processes in (2, 3):
        folder = tmp_path / str(processes)
        result = result_of(folder)
        assert result["world_size"] == processes
        np.testing.assert_allclose(probabilities(folder), expected, atol=1e-6, rtol=0)
        for split in ("test", "validation"):
            assert result[split]["loss"] == pytest.approx(alone[split]["loss"], abs=1e-7)
        changed = (probabilities(folder) > 0.5) != (expected > 0.5)
        assert (np.abs(expected[changed] - 0.5) < 1e-6).all()
        assert result["test"]["accuracy"] == pytest.approx(alone["test"]["accuracy"], abs=(changed.sum() + 1e-6) / 901)
        assert files_of(folder) == files_of(tmp_path / "1")
        events = [path for path in folder.rglob("events.out.tfevents.*") if path.parent.name == "train"]
        assert len(events) == 1


def test_balanced_classes_find_the_rare_one_with_any_number_of_processes(command: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = ["text,label"]
    for row in range(2550):
        rare = row % 51 == 0
        # The rare class has its words four times as often, and all words occur in both.
        words = np.where(rng.random(20) < (0.4 if rare else 0.1), rng.integers(0, 20, 20), rng.integers(20, 60, 20))
        rows.append(" ".join(f"w{word}" for word in words) + f",{int(rare)}")
    (tmp_path / "reviews.csv").write_text("\n".join(rows))
    arguments = ["data=text", "data.train=reviews.csv", "data.batch_size=64", "trainer.max_epochs=5", "callbacks=none"]
    results = {}
    for name, overrides in (
        ("plain", []), *((str(n), ["data.class_weights=balanced", *ddp(n)]) for n in (1, 2, 3)),
    ):  # fmt: skip
        answer = command(tmp_path, *arguments, *overrides, f"hydra.run.dir={name}")
        assert answer.returncode == 0, answer.stderr
        results[name] = result_of(tmp_path / name)
    assert "no better than one that always answers the larger class" in (tmp_path / "plain" / "train.log").read_text()
    assert results["plain"]["test"]["recall"] < 0.2 < 0.6 < results["1"]["test"]["recall"]
    for split in ("validation", "test"):
        losses = [results[name][split]["loss"] for name in "123"]
        assert max(losses) - min(losses) < 1e-5
    weights = results["1"]["data"]["class_weights"]
    assert weights[1] / weights[0] == pytest.approx(50, rel=0.05)


def test_more_processes_than_reviews_in_a_batch_are_refused(command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, *DATA, *ddp(3), "data.batch_size=2")
    assert answer.returncode == 2
    assert answer.stderr.startswith("data.batch_size: expected at least one review for each of the 3 processes")
    assert list(tmp_path.iterdir()) == []


def test_machines_that_do_not_know_where_to_meet_are_refused(command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, *DATA, *ddp(1), "trainer.num_nodes=2", "trainer.node_rank=0")
    assert answer.returncode == 2
    assert answer.stderr.startswith("trainer.rendezvous: expected a value, as there are several machines")
    assert list(tmp_path.iterdir()) == []


def test_sweep_of_distributed_jobs_runs_each_once(command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, "-m", *DATA, "trainer=ddp_cpu", "seed=0,1", "trainer.max_epochs=1", RANK="7")
    assert answer.returncode == 0, answer.stderr
    (sweep,) = (tmp_path / "logs" / "multirun").iterdir()
    results = [json.loads(path.read_text()) for path in sorted(sweep.glob("*/results.json"))]
    assert [(result["seed"], result["world_size"]) for result in results] == [(0, 2), (1, 2)]


def test_mistake_in_the_ranks_is_one_message(command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, *DATA, "trainer=ddp_cpu", "trainer.flags.colour=red")
    assert answer.returncode == 2, answer.stderr
    assert answer.stderr.splitlines()[-1].startswith("trainer.flags.colour: expected a flag")
    assert "Traceback" not in answer.stderr
    assert list(tmp_path.iterdir()) == []


def start(folder: Path, cache: Path, *arguments: str, sweep: bool = False) -> subprocess.Popen[str]:
    environment = os.environ | {CACHE: str(cache)}
    mode = ["-m", f"hydra.sweep.dir={folder}"] if sweep else [f"hydra.run.dir={folder}"]
    return subprocess.Popen(
        [sys.executable, "-m", "imdb_lightning", *mode, *LONG, *arguments],
        env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not (folder / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def listening(pids: list[int]) -> set[str]:
    """Addresses at which processes wait for TCP connections, as the kernel lists them."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                inodes.add(str(link.readlink()))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                words = bytes.fromhex(fields[1].partition(":")[0])
                # Four bytes at a time in the machine's order.
                packed = b"".join(
                    words[i : i + 4][:: 1 if sys.byteorder == "big" else -1] for i in range(0, len(words), 4)
                )
                found.add(str(ipaddress.ip_address(packed)))
    return found


def listening_while_it_runs(process: subprocess.Popen[str]) -> set[str]:
    seen: set[str] = set()
    while process.poll() is None:
        seen |= listening(family(process.pid))
    return seen


def test_what_listens_is_found() -> None:
    with socket.create_server(("0.0.0.0", 0)), socket.create_server(("::1", 0), family=socket.AF_INET6):
        assert {"0.0.0.0", "::1"} <= listening([os.getpid()])


@pytest.mark.parametrize("kind", ["sweep", "restarted run"])
def test_nothing_of_a_run_listens_beyond_this_machine(kind: str, cache: Path, tmp_path: Path) -> None:
    """torchrun's own rendezvous listens on all addresses, and unpickles what anyone sends."""
    short = [*ddp(2), "trainer.max_epochs=6", "trainer.max_restarts=2"]
    if kind == "sweep":
        process = start(tmp_path, cache, *short, "seed=0,1", sweep=True)
    else:
        process = start(tmp_path / "run", cache, *short)
        wait_for_checkpoint(tmp_path / "run", process)
        os.kill(family(process.pid)[-1], signal.SIGKILL)
    seen = listening_while_it_runs(process)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert seen  # The ranks themselves, to each other.
    assert all(ipaddress.ip_address(address).is_loopback for address in seen), seen


def test_mistake_of_one_rank_alone_is_one_message(command: Command, tmp_path: Path) -> None:
    """Rank 0 only sees a connection break."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "if os.environ.get('RANK') == '1':\n"
        "    from imdb_lightning.config import file\n"
        "    from imdb_lightning.config.errors import UserError\n"
        "    def load(path):\n"
        "        raise UserError('data.path', 'a file on this machine', 'none', 'Copy it.')\n"
        "    file.load_config = load\n"
    )
    answer = command(tmp_path, *DATA, *ddp(2), "hydra.run.dir=run", PYTHONPATH=str(tmp_path))
    assert answer.returncode == 2
    assert answer.stderr.splitlines()[-1] == "data.path: expected a file on this machine, but got none. Copy it."


def test_folder_in_use_is_left_alone_in_a_sweep_too(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "sweep" / "0_shallow_relu_bce_seed=0"
    folder.mkdir(parents=True)
    with in_use(folder, 600):
        answer = command(tmp_path, "-m", *DATA, *ddp(2), "seed=0,1", "hydra.sweep.dir=sweep")
    assert answer.returncode == 2
    assert "expected a folder that no process is at work in" in answer.stderr.splitlines()[-1]
    assert not (folder / "status.json").exists()  # It is the other process's.


@pytest.mark.parametrize(
    ("signum", "processes"), [(signal.SIGINT, 2), (signal.SIGTERM, 1), (signal.SIGUSR1, 2), (signal.SIGUSR2, 1)]
)
def test_signal_saves_says_how_to_go_on_and_leaves(
    signum: signal.Signals, processes: int, cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    process = start(folder, cache, *ddp(processes))
    wait_for_checkpoint(folder, process)
    members = family(process.pid)
    process.send_signal(signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signum
    assert "goes on" in errors
    wait_until_gone(members)
    assert status_of(folder)["state"] == "interrupted"
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] > 0
    # Each process's own sums: their total, taken back by one, would be rounded otherwise than without an interruption.
    assert len(checkpoint["train_totals"]) == processes


def test_two_machines_meet_at_the_rendezvous(cache: Path, tmp_path: Path) -> None:
    """Both on this machine: the same command, once for each node, in one shared folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = ["trainer=ddp_cpu", "trainer.devices=1", "trainer.num_nodes=2", f"trainer.rendezvous=127.0.0.1:{port}"]
    short = ["trainer.max_epochs=2", "model=deep_tanh_mse"]
    processes = [start(tmp_path / "two", cache, *short, *nodes, f"trainer.node_rank={rank}") for rank in (0, 1)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    alone = start(tmp_path / "one", cache, *short)
    alone.communicate(timeout=60)
    assert alone.returncode == 0
    assert result_of(tmp_path / "two")["world_size"] == 2
    np.testing.assert_allclose(probabilities(tmp_path / "two"), probabilities(tmp_path / "one"), atol=1e-4, rtol=0)


def test_second_ctrl_c_ends_at_once(cache: Path, tmp_path: Path) -> None:
    process = start(tmp_path / "run", cache, *ddp(2))
    wait_for_checkpoint(tmp_path / "run", process)
    members = family(process.pid)
    os.kill(members[-1], signal.SIGSTOP)  # So that the ranks cannot agree to save, which the first one asks for.
    deadline = time.monotonic() + 60
    while process.poll() is None:  # Until the first and another one have been seen.
        assert time.monotonic() < deadline
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    process.communicate()
    assert process.returncode in (128 + signal.SIGINT, -signal.SIGINT)  # The latter if one more came at the very end.
    wait_until_gone(members)


def test_killed_rank_without_restarts_fails_and_leaves_no_process(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(folder, cache, *ddp(2))
    wait_for_checkpoint(folder, process)
    members = family(process.pid)
    os.kill(members[-1], signal.SIGKILL)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "Traceback" not in errors
    last = errors.splitlines()[-1]
    assert re.fullmatch(r"Rank \d, process \d+, was killed by SIGKILL\. The same command goes on\.", last)
    wait_until_gone(members)
    assert status_of(folder)["state"] == "failed"


def test_killed_rank_with_restarts_recovers_to_the_same_bits(cache: Path, tmp_path: Path) -> None:
    short = ["trainer.max_epochs=6", "trainer.max_restarts=2", "model=regularized_relu_bce", *ddp(2)]
    for name in ("reference", "killed"):
        process = start(tmp_path / name, cache, *short)
        wait_for_checkpoint(tmp_path / name, process)
        if name == "killed":
            os.kill(family(process.pid)[-1], signal.SIGKILL)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    first, second = ((tmp_path / name / "predictions.csv").read_bytes() for name in ("reference", "killed"))
    assert first == second
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("reference", "killed")]
    assert weights[0] == weights[1]
    # The losses of the epoch that was cut are sums over ranks, to the last digit, too.
    histories = [(tmp_path / name / "history.csv").read_text().splitlines() for name in ("reference", "killed")]
    first, second = ([line.rpartition(",")[0] for line in history] for history in histories)
    assert first == second


@pytest.mark.parametrize("victim", [0, 1])
def test_rank_whose_parents_died_while_it_started_ends(victim: int, cache: Path, tmp_path: Path) -> None:
    """The command itself, and with it torchrun; or torchrun alone."""
    process = start(tmp_path / "run", cache, *ddp(2))
    deadline = time.monotonic() + 60
    while len(family(process.pid)) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    members = family(process.pid)
    os.kill(members[victim], signal.SIGKILL)
    process.communicate(timeout=60)  # Until the last rank, too, has let go of the output.
    assert process.returncode == (-signal.SIGKILL if victim == 0 else 1)
    wait_until_gone(members)
