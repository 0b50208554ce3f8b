"""A fault at each operation on files in turn, as SQLite tests itself, kills at them, and what else comes from outside.

The fault moves by one operation until a command passes untouched. After each one the command has said what is wrong in
one message, every file is there whole, old or new, and the same command ends with the bits of one that nothing befell
and leaves nothing else behind. A fault that no result depends on, as at removing a leftover, may pass unsaid.
"""

from __future__ import annotations

import csv
import errno
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np

from tests.kill_rounds import check_files
from tests.support import equal, family, outcome, wait_until_gone
from tests.torture.forks import SECONDS, Command, Fault, Forks, State, build
from tests.torture.table import Row

KINDS = {
    "disk full for one operation": Fault(error=errno.ENOSPC),
    "disk error (EIO) at an operation": Fault(error=errno.EIO),
    "no permission (EACCES) or quota (EDQUOT) at an operation": Fault(error=errno.EACCES),
    "disk full from an operation on": Fault(error=errno.ENOSPC, lasts=True),
    "kill -9 at an operation": Fault(),
}
MESSAGE = re.compile(r"^(.+?): expected .+, but got .+\. .+\.$", re.MULTILINE)
TRAIN = [
    "model=regularized_relu_bce", "model.hidden_units=[8]", "data.num_words=60", "data.batch_size=50",
    "trainer.max_epochs=2", "checkpoint.every_n_steps=2", "data.cache_dir=cache", "hydra.run.dir=run",
]  # fmt: skip
OPERATIONS = ["open", "write", "rename", "mkdir", "unlink", "fsync", "ftruncate"]  # By their numbers in `faults.c`.
KILLS = 50
"""Of a run on two processes, and five times the full disks that it meets."""
STARTS = 16
"""At once, on one empty cache."""


class Stage(NamedTuple):
    """A command of the package, in a folder of its own beside what it reads."""

    name: str
    module: str
    arguments: list[str]
    root: str  # Where faults happen, in its folder.
    outcome: Callable[[Path], dict[str, object]]  # What must be equal to the bit.

    def command(self, folder: Path, fault: Fault = Fault()) -> Command:  # noqa: B008, it cannot be changed.
        """The command in a folder."""
        return Command(f"imdb_lightning.{self.module}", self.arguments, folder, folder / self.root, fault)


def _contents(folder: Path) -> dict[str, object]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _trained(folder: Path) -> dict[str, object]:
    status = json.loads((folder / "run" / "status.json").read_text())
    return outcome(folder / "run") | {"state": status["state"]}


STAGES = [
    Stage("imdb.npz to report", "__main__", [*TRAIN, "data.path=../imdb.npz", "data.validation_size=50"], "", _trained),
    Stage("text to bags", "__main__", [*TRAIN, "data=text", "data.train=../reviews.csv"], "cache", _trained),
    Stage(
        "evaluate", "evaluate", ["../trained/run", "--cache", "../trained/cache", "--output", "answers"], "", _contents
    ),
    Stage("predict", "predict", ["../trained/run", "../reviews.txt", "--output", "answers.csv"], "", _contents),
    Stage("compare", "compare", ["../trained/run", "--output", "answers"], "", _contents),
]


def run(scale: float, seed: int) -> Iterator[Row]:
    """Gives the rows as they are done."""
    choice = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="torture-faults-") as name, ExitStack() as stack:
        work = Path(name).resolve()
        library = build(work)
        write_reviews(work)
        forks: SimpleQueue[Forks] = SimpleQueue()
        for _ in range(2):
            forks.put(stack.enter_context(closing(Forks(library))))
        first = forks.get()
        trained = STAGES[0].command(work / "trained")
        assert first.run(trained) == [0], trained.output.read_text()
        references, counts = {}, {}
        for stage in STAGES:
            command = stage.command(work / f"{stage.name} reference")
            assert first.run(command) == [0], command.output.read_text()
            references[stage.name] = stage.outcome(command.folder)
            counts[stage.name] = State.read(command.state).seen
        forks.put(first)
        yield from _operations(work, forks, references, counts, scale, choice)
        yield _starts(work, forks)
        yield _clock(work, library, references[STAGES[0].name])
        yield from _two_processes(work, library, max(5, round(KILLS * scale)), choice)


def write_reviews(folder: Path) -> None:
    """Writes small reviews of each kind that is read."""
    rng, arrays = np.random.default_rng(0), {}
    for split in ("train", "test"):
        rows = np.empty(300, object)
        rows[:] = [rng.zipf(1.3, rng.integers(1, 40)).clip(max=88).tolist() for _ in rows]
        arrays |= {f"x_{split}": rows, f"y_{split}": np.repeat([1, 0], 150)}
    np.savez_compressed(folder / "imdb.npz", **arrays)
    words = {f"word{rank}": rank for rank in range(1, 89)}
    (folder / "imdb_word_index.json").write_text(json.dumps(words))
    texts = [" ".join(rng.choice(list(words), rng.integers(1, 20))) for _ in range(200)]
    (folder / "reviews.txt").write_text("\n".join(texts))
    with (folder / "reviews.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(texts, itertools.cycle((0, 1)))])


def _operations(
    work: Path,
    forks: SimpleQueue[Forks],
    references: dict[str, dict[str, object]],
    counts: dict[str, int],
    scale: float,
    choice: random.Random,
) -> Iterator[Row]:
    numbers = itertools.count()

    def one(stage: Stage, fault: Fault) -> tuple[str, str]:
        fork = forks.get()
        try:
            return one_fault(fork, stage, work / f"case-{next(numbers)}", fault, references[stage.name])
        finally:
            forks.put(fork)

    for number, (kind, fault) in enumerate(KINDS.items()):
        row = Row(f"{kind}, then the same command")
        # The last one is passed untouched. For the sake of time, all operations meet a disk that is full for good, each
        # meets one of the other errors, and every fifth a kill.
        cases = [
            (stage, fault._replace(at=at))
            for stage in STAGES
            for at in range(1, counts[stage.name] + 2)
            if fault.lasts or (at % 3 == number if fault.error else at % 5 == 0)
        ]
        if scale < 1:
            cases = choice.sample(cases, max(1, round(scale * len(cases))))
        with ThreadPoolExecutor(2) as pool:
            for (stage, each), (lost, raised) in zip(cases, pool.map(lambda case: one(*case), cases), strict=True):
                row.cases += 1
                row.lost += bool(lost)
                row.tracebacks += bool(raised)
                if lost or raised:
                    row.failures.append(f"{stage.name}, operation {each.at}: {lost or raised}")
        yield row


def one_fault(forks: Forks, stage: Stage, folder: Path, fault: Fault, reference: dict[str, object]) -> tuple[str, str]:
    """Has one fault happen, and gives the command again; says what was lost, and what a traceback ended with."""
    command = stage.command(folder, fault)
    (code,) = forks.run(command)
    told, state = command.output.read_text(), State.read(command.state)
    where = f"{state.path.decode()} ({OPERATIONS[state.kind]})"
    lost = [f"{where}: {text}" for text in _after_fault(folder, fault, code, told, state)]
    raised = [f"{where}: {told.splitlines()[-1]}"] if "Traceback" in told else []
    again = stage.command(folder)
    (code,) = forks.run(again)
    told = again.output.read_text()
    if code != 0:
        lost.append(f"{where}: the same command ends with {code}: {' / '.join(told.splitlines()[-2:])}")
    else:
        lost += [f"{where}: {text}" for text in _differences(folder, stage.outcome(folder), reference)]
    for path in (folder, command.output, command.state):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return "; ".join(lost), "; ".join(raised)


def _after_fault(folder: Path, fault: Fault, code: int | None, told: str, state: State) -> Iterator[str]:
    messages = list(MESSAGE.finditer(told))
    if code is None:
        yield "it hangs"
    elif fault.error == 0:
        if state.fired and code != -signal.SIGKILL:
            yield f"it ends with {code}"
    elif code == 0:
        if messages:
            yield "it has failed, and ends with 0"
    elif len(messages) != 1:
        yield f"it says {len(messages)} things: {told[-300:]!r}"
    elif code != 2:
        yield f"it ends with {code}"
    elif os.strerror(state.error) not in messages[0][0]:
        yield f"it says something else: {messages[0][0]}"
    elif not Path(os.path.normpath(folder / messages[0][1])).is_relative_to(folder):
        yield f"it names no file: {messages[0][0]}"
    try:
        check_files(folder)
    except Exception as error:
        yield f"a damaged file: {error!r}"
    status, own = folder / "run" / "status.json", str(folder / "run" / ".status")
    spared = fault.error and not state.path.decode().startswith(own)
    if spared and status.is_file() and json.loads(status.read_text())["state"] == "running":
        yield "its status says that it is running"


def _differences(folder: Path, found: dict[str, object], reference: dict[str, object]) -> Iterator[str]:
    if not equal(found, reference):
        keys = [key for key in {**reference, **found} if not equal(found.get(key), reference.get(key))]
        yield f"other bits: {', '.join(keys)}"
    if left := [path.name for path in folder.rglob("*") if re.search(r"^\..*\.\d+$|\.unfinished$", path.name)]:
        yield f"left behind: {', '.join(left)}"


def _starts(work: Path, forks: SimpleQueue[Forks]) -> Row:
    """Many runs at once on one empty cache: all end with the same bits."""
    row, fork = Row(f"{STARTS} starts at once on one empty cache", STARTS), forks.get()
    stage = STAGES[0]._replace(arguments=[*STAGES[0].arguments, "data.cache_dir=../shared-cache"])
    commands = [stage.command(work / f"start-{number}") for number in range(STARTS)]
    codes = fork.run(*commands)
    forks.put(fork)
    for command, code in zip(commands, codes, strict=True):
        told = command.output.read_text()
        row.tracebacks += "Traceback" in told
        if code != 0 or not equal(_trained(command.folder), _trained(commands[0].folder)):
            row.lost += 1
            row.failures.append(f"{command.folder.name} ends with {code}: {told[-300:]!r}")
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
    command = [sys.executable, "-m", "imdb_lightning", *STAGES[0].arguments, *arguments]
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
    told = _output(folder).read_text()
    row.tracebacks = int("Traceback" in told)
    if code == 0:
        seconds = json.loads((folder / "run" / "results.json").read_text())["seconds"]
        with (folder / "run" / "history.csv").open() as file:
            durations = [*seconds.values(), *(float(epoch["seconds"]) for epoch in csv.DictReader(file))]
        if min(durations) < 0 or sum(durations) > 1000:
            row.failures.append(f"durations: {durations}")
        row.failures += _differences(folder, _trained(folder), reference)
    else:
        row.failures.append(f"it ends with {code}: {told[-300:]!r}")
    row.lost = len(row.failures)
    return row


def _two_processes(work: Path, library: Path, count: int, choice: random.Random) -> Iterator[Row]:
    """Lets faults happen to whichever of a run's processes begins an operation, up to ten in a row; then it goes on."""
    state, stage = work / "two.state", STAGES[0]

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
    reference, operations = stage.outcome(work / "two reference"), State.read(state).seen
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
                told, happened = _output(folder).read_text(), State.read(state)
                if happened.fired:
                    row.cases += 1
                    where = f"{happened.path.decode()}, operation {happened.at}"
                    # A kill of a rank is told by the command, which ends with 1.
                    killed = -signal.SIGKILL if not fault.error and code == 1 else code
                    failures += [f"{where}: {text}" for text in _after_fault(folder, fault, killed, told, happened)]
                    row.tracebacks += "Traceback" in told
            code = give(folder, Fault())
            if code != 0:
                failures.append(f"the same command ends with {code}: {_output(folder).read_text()[-300:]!r}")
            else:
                failures += _differences(folder, stage.outcome(folder), reference)
            row.lost += bool(failures)
            row.failures += failures
            shutil.rmtree(folder)
        yield row
