"""What tests of several rooms use: the reviews, the command's type, processes, and comparison to the bit."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.numpy import load_file

CACHE = "IMDB_LIGHTNING_CACHE"
REAL = os.environ.get("IMDB_NPZ")
"""The real reviews, if they are there."""
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(descendant for child in children for descendant in family(int(child)))]


def wait_until_gone(pids: list[int]) -> None:
    """Waits until none of the processes is left; a test that leaves processes behind would lie about the next one."""
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            sys.exit(f"still running a minute later: {[pid for pid in pids if alive(pid)]}")
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def start(folder: Path, cache: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts the command in a folder, in a process group of its own; all that it prints goes to `output` there."""
    with (folder / "output").open("w") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "imdb_lightning", *arguments], text=True,
            cwd=folder, env=os.environ | {CACHE: str(cache)}, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip


def interrupt(process: subprocess.Popen[str], folder: Path, histories: int) -> str:
    """Sends Ctrl-C to a sweep that `start` started, once so many runs have trained an epoch; gives what it printed."""
    while len(list(folder.glob("logs/multirun/*/*/history.csv"))) < histories:
        assert process.poll() is None, (folder / "output").read_text()
    pids = family(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=100) == 128 + signal.SIGINT
    wait_until_gone(pids)
    return (folder / "output").read_text()


def outcome(folder: Path) -> dict[str, object]:
    """What must be equal to the bit."""
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    history = [row[:-1] for row in csv.reader((folder / "history.csv").read_text().splitlines())]
    return {
        "weights": checkpoint["state_dict"],
        "optimizer": checkpoint["optimizer_states"][0]["state"],
        "tested": load_file(folder / "model.safetensors"),
        "predictions": (folder / "predictions.csv").read_text(),
        "history": history,
    }


def equal(first: object, second: object) -> bool:
    """Whether two nested values are equal to the bit."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(value, second[key]) for key, value in first.items())
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    same = first == second
    return bool(same.all()) if hasattr(same, "all") else bool(same)


@contextmanager
def in_use(folder: Path, seconds: float) -> Iterator[None]:
    """Another process holds the folder's lock for so long."""
    holder = (
        "import sys, time; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire(); "
        "print(flush=True); time.sleep(float(sys.argv[2]))"
    )
    command = [sys.executable, "-c", holder, str(folder / ".lock"), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        try:
            yield
        finally:
            other.kill()
