"""A fault at each operation on files in turn, as SQLite tests itself, and kills at them.

The fault moves by one operation until a command passes untouched. After each one the command has said what is wrong in
one message, every file is there whole, old or new, and the same command ends with the bits of one that nothing befell
and leaves nothing else behind. A fault that no result depends on, as at removing a leftover, may pass unsaid.
"""

from __future__ import annotations

import errno
import itertools
import random
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from queue import SimpleQueue

from tests.torture.forks import Fault, Forks, State, build
from tests.torture.stages import STAGES, Stage, after_fault, differences, write_reviews
from tests.torture.table import Row

KINDS = {
    "disk full for one operation": Fault(error=errno.ENOSPC),
    "disk error (EIO) at an operation": Fault(error=errno.EIO),
    "no permission (EACCES) or quota (EDQUOT) at an operation": Fault(error=errno.EACCES),
    "disk full from an operation on": Fault(error=errno.ENOSPC, lasts=True),
    "kill -9 at an operation": Fault(),
}
OPERATIONS = ["open", "write", "rename", "mkdir", "unlink", "fsync", "ftruncate"]  # By their numbers in `faults.c`.


def run(scale: float, seed: int) -> Iterator[Row]:
    """Gives the rows as they are done."""
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
        yield from _operations(work, forks, references, counts, scale, random.Random(seed))


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
        # The last one is passed untouched. For the sake of time, all operations meet a disk that is full for good,
        # three of four one of the other errors, and every fifth a kill.
        cases = [
            (stage, fault._replace(at=at))
            for stage in STAGES
            for at in range(1, counts[stage.name] + 2)
            if fault.lasts or (at % 4 == number if fault.error else at % 5 == 0)
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
    printed, state = command.output.read_text(), State.read(command.state)
    where = f"{state.path.decode()} ({OPERATIONS[state.kind]})"
    lost = [f"{where}: {text}" for text in after_fault(folder, fault, code, printed, state)]
    raised = [f"{where}: {printed.splitlines()[-1]}"] if "Traceback" in printed else []
    again = stage.command(folder)
    (code,) = forks.run(again)
    printed = again.output.read_text()
    if code != 0:
        lost.append(f"{where}: the same command ends with {code}: {' / '.join(printed.splitlines()[-2:])}")
    else:
        lost += [f"{where}: {text}" for text in differences(folder, stage.outcome(folder), reference)]
    for path in (folder, command.output, command.state):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return "; ".join(lost), "; ".join(raised)
