"""Several processes of a run at once in which faults happen, many starts, and a clock that is set back."""

from __future__ import annotations

import csv
import errno
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tests.support import equal, family, wait_until_gone
from tests.torture.forks import SECONDS, Fault, Forks, State, build
from tests.torture.stages import STAGES, after_fault, differences, write_reviews
from tests.torture.table import Row

KILLS = 50
"""Of a run on two processes, and five times the full disks that it meets."""
STARTS = 16
"""At once, on one empty cache."""
STAGE = STAGES[0]


def run(scale: float, seed: int) -> Iterator[Row]:
    """Gives the rows as they are done."""
    with tempfile.TemporaryDirectory(prefix="torture-processes-") as name:
        work = Path(name).resolve()
        library = build(work)
        write_reviews(work)
        reference = STAGE.command(work / "reference")
        with closing(Forks(library)) as forks:
            assert forks.run(reference) == [0], reference.output.read_text()
            expected = STAGE.outcome(reference.folder)
            yield _starts(work, forks, expected)
        yield _clock(work, library, expected)
        yield from _two_processes(work, library, max(5, round(KILLS * scale)), random.Random(seed))


def _starts(work: Path, forks: Forks, reference: dict[str, object]) -> Row:
    """Many runs at once on one empty cache: all end with the bits of one alone."""
    row = Row(f"{STARTS} starts at once on one empty cache", STARTS)
    stage = STAGE._replace(arguments=[*STAGE.arguments, "data.cache_dir=../shared-cache"])
    commands = [stage.command(work / f"start-{number}") for number in range(STARTS)]
    codes = forks.run(*commands)
    for command, code in zip(commands, codes, strict=True):
        printed = command.output.read_text()
        row.tracebacks += "Traceback" in printed
        if code != 0 or not equal(STAGE.outcome(command.folder), reference):
            row.lost += 1
            row.failures.append(f"{command.folder.name} ends with {code}: {printed[-300:]!r}")
    builds = sum(command.output.read_text().count("Preparing") for command in commands)
    if builds != 1:
        row.lost += 1
        row.failures.append(f"{builds} of them prepared the reviews")
    return row


def _output(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.output")


def _start(library: Path, folder: Path, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
    """A whole command line, in a process group of its own."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "imdb_lightning", *STAGE.arguments, *arguments]
    # The tests may not be where the package is installed from.
    place = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": place} | variables
    with _output(folder).open("wb") as output:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        )


def _clock(work: Path, library: Path, reference: dict[str, object]) -> Row:
    """A clock that falls by an hour at each look at it: the same bits, and no negative duration."""
    row, folder = Row("the clock set back by an hour at each look", 1), work / "clock"
    code = _start(library, folder, FAULTS_CLOCK="1").wait()
    printed = _output(folder).read_text()
    row.tracebacks = int("Traceback" in printed)
    if code == 0:
        seconds = json.loads((folder / "run" / "results.json").read_text())["seconds"]
        with (folder / "run" / "history.csv").open() as file:
            durations = [*seconds.values(), *(float(epoch["seconds"]) for epoch in csv.DictReader(file))]
        if min(durations) < 0 or sum(durations) > 1000:
            row.failures.append(f"durations: {durations}")
        row.failures += differences(folder, STAGE.outcome(folder), reference)
    else:
        row.failures.append(f"it ends with {code}: {printed[-300:]!r}")
    row.lost = len(row.failures)
    return row


def _two_processes(work: Path, library: Path, count: int, choice: random.Random) -> Iterator[Row]:
    """Lets faults happen to whichever of a run's processes begins an operation, up to ten in a row; then it goes on."""
    state = work / "two.state"

    def give(folder: Path, fault: Fault) -> int | None:
        state.write_bytes(bytes(State(at=fault.at, error=fault.error, lasts=fault.lasts)))
        variables = {"FAULTS_STATE": str(state), "FAULTS_ROOT": str(folder)}
        process = _start(library, folder, "trainer=ddp_cpu", **variables)
        try:
            return process.wait(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            members = family(process.pid)
            os.killpg(process.pid, signal.SIGKILL)
            wait_until_gone(members)
            return None

    code = give(work / "two reference", Fault())
    assert code == 0, _output(work / "two reference").read_text()
    reference, operations = STAGE.outcome(work / "two reference"), State.read(state).seen
    kinds = {
        "kill -9 at an operation of a run on two processes": (Fault(), count),
        "disk full from an operation of a run on two processes on": (Fault(error=errno.ENOSPC, lasts=True), count // 5),
    }
    for (kind, (fault, cases)), letter in zip(kinds.items(), "ab", strict=True):
        row, rounds = Row(kind), itertools.count()
        while row.cases < cases:
            folder, failures = work / f"two-{letter}{next(rounds)}", []
            for _ in range(min(10, cases - row.cases)):
                code = give(folder, fault._replace(at=choice.randint(1, operations)))
                printed, happened = _output(folder).read_text(), State.read(state)
                if happened.fired:
                    row.cases += 1
                    where = f"{happened.path.decode()}, operation {happened.at}"
                    # A kill of a rank is reported by the command, which ends with 1.
                    killed = -signal.SIGKILL if not fault.error and code == 1 else code
                    failures += [f"{where}: {text}" for text in after_fault(folder, fault, killed, printed, happened)]
                    row.tracebacks += "Traceback" in printed
            code = give(folder, Fault())
            if code != 0:
                failures.append(f"the same command ends with {code}: {_output(folder).read_text()[-300:]!r}")
            else:
                failures += differences(folder, STAGE.outcome(folder), reference)
            row.lost += bool(failures)
            row.failures += failures
            shutil.rmtree(folder)
        yield row
