"""Kills runs at random moments, repeats their command, and compares with a run that nobody killed.

    python -m tests.kill_rounds --rounds 50
    python -m tests.kill_rounds --rounds 50 --processes 2
    python -m tests.kill_rounds --rounds 20 --processes 3,1,4 --shards 12

Each round starts a run of a network with dropout, kills it with SIGKILL at a moment drawn from the reference run's
duration (one process: its process group; several: any one process of parent, torchrun and ranks), looks at every file
that is there, and gives the same command again. With several numbers of processes, a round begins with the next one,
and kills all of its starts but the last, each with another number. The weights, the optimizer's state and the
predictions must then be those of the reference, to the bit. Ends with status 1 at the first difference.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.numpy import load_file

from tests.support import alive, equal, family, outcome, wait_until_gone

SETTINGS = [
    "model=regularized_relu_bce", "model.hidden_units=[16,16]", "callbacks=early_stopping", "callbacks.patience=50",
    "data=synthetic", "data.reviews=6000", "data.validation_size=1000", "data.test_size=1000", "data.num_words=2000",
    "data.batch_size=64", "trainer.max_epochs=8", "checkpoint.every_n_steps=7",
]  # fmt: skip


def start(folder: Path, processes: int, shards: int | None) -> subprocess.Popen[bytes]:
    """Starts the command, in a process group of its own."""
    trainer = ["trainer=ddp_cpu", f"trainer.devices={processes}"] if processes > 1 else []
    trainer += [] if shards is None else [f"trainer.shards={shards}"]
    command = [sys.executable, "-m", "imdb_lightning", *SETTINGS, *trainer, f"hydra.run.dir={folder}"]
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def check_files(folder: Path) -> None:
    """Opens everything that is there: a damaged file raises. A cache entry that is being built may be anything."""
    for path in folder.rglob("*"):
        if path.parent.suffix == ".unfinished":
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.name == "last.ckpt":
            torch.load(path, weights_only=True)
        elif path.name == "model.safetensors":
            load_file(path)
        elif path.suffix == ".csv":
            rows = list(csv.reader(path.read_text().splitlines()))
            assert {len(row) for row in rows} == {len(rows[0])}, path
        elif path.suffix == ".png":
            assert path.read_bytes()[-8:-4] == b"IEND", path


def one_kill(folder: Path, processes: int, shards: int | None, moment: float, choice: random.Random) -> str:
    """Starts and kills; says what was killed."""
    process = start(folder, processes, shards)
    time.sleep(moment)  # The moment of the kill is the experiment, not a wait for something.
    members = family(process.pid)
    if processes == 1:
        victim, name = process.pid, "group"
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    else:
        victim = choice.choice(members or [process.pid])
        name = f"process {members.index(victim) + 1} of {len(members)}" if members else "nothing, it was done"
        if alive(victim):
            os.kill(victim, signal.SIGKILL)
    process.wait()
    wait_until_gone(members)
    if folder.exists():
        check_files(folder)
    return f"{name} of {processes} after {moment:.2f} s"


def finish(folder: Path, processes: int, shards: int | None) -> None:
    """Gives the command and waits."""
    if start(folder, processes, shards).wait() != 0:
        sys.exit(f"the command failed: see {folder}.log")


def main() -> None:
    """Runs the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--processes", default="1", help="of a run, or several numbers, as 3,1,4 (default 1)")
    parser.add_argument("--shards", type=int, help="trainer.shards (default null)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and victims")
    parser.add_argument("--folder", type=Path, help="where to run (default: a temporary folder)")
    arguments = parser.parse_args()
    choice = random.Random(arguments.seed)
    work = arguments.folder or Path(tempfile.mkdtemp(prefix="kill_rounds-"))
    work.mkdir(parents=True, exist_ok=True)
    counts, shards = [int(count) for count in arguments.processes.split(",")], arguments.shards
    finish(work / "warm-up", counts[0], shards)  # So that the reference does not prepare the data.
    begin = time.monotonic()
    finish(work / "reference", counts[0], shards)
    duration = time.monotonic() - begin
    reference = outcome(work / "reference")
    print(f"reference: {duration:.1f} s, in {work}", flush=True)
    for number in range(arguments.rounds):
        folder, first = work / f"round-{number}", number % len(counts)
        *killed, last = [*counts[first:], *counts[:first]] if len(counts) > 1 else 2 * counts
        told = [one_kill(folder, count, shards, choice.uniform(0, duration), choice) for count in killed]
        finish(folder, last, shards)
        differing = [key for key, value in reference.items() if not equal(value, outcome(folder)[key])]
        done = differing or "equal to the bit"
        print(f"round {number}: killed {', '.join(told)}; ended by {last}: {done}", flush=True)
        if differing:
            sys.exit(1)
    print(f"{arguments.rounds} rounds, all equal to the bit")


if __name__ == "__main__":
    main()
