"""Much at once, and standard streams that fail: whole commands."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tests.support import CACHE, family
from tests.torture.table import Row

SETTINGS = [
    "data=synthetic", "data.reviews=700", "data.validation_size=200", "data.test_size=300", "data.num_words=500",
    "trainer.max_epochs=1",
]  # fmt: skip
JOBS, SWEEPS, LINES = 200, 8, (1_000_000, 10_000_000)
MIB = 1 << 20
# Of a process: what 200 jobs may add, and what `predict` may hold however many lines there are.
GROWTH, PREDICTING = 100 * MIB, 700 * MIB
TEXTS = [f"this film is {word} and number {number}" for number in range(500) for word in ("good", "bad")]


def run(scale: float, seed: int) -> Iterator[Row]:
    """Gives a row for each kind of load; the numbers of jobs and lines shrink with the scale."""
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        folder = Path(name)
        os.environ[CACHE] = str(folder / "cache")
        train = command("imdb_lightning", *SETTINGS, "hydra.run.dir=run")
        subprocess.run(train, cwd=folder, check=True, capture_output=True)
        yield failing_streams(folder)
        yield many_jobs(folder, max(20, round(scale * JOBS)))
        yield sweeps_at_once(folder)
        for lines in LINES:
            yield many_lines(folder, max(1000, round(scale * lines)))


def command(module: str, *arguments: str) -> list[str]:
    """A command of the project."""
    return [sys.executable, "-m", module, *arguments]


def failing_streams(folder: Path) -> Row:
    """Each command with a full disk behind its output, with a reader that leaves, and with streams that are closed."""
    row = Row("output to a full disk, readers that leave, closed standard streams")
    reviews = folder / "reviews.txt"
    reviews.write_text("\n".join(200 * TEXTS))
    (folder / "reviews.csv").write_text(
        "text,label\n" + "".join(f"{text},{number % 2}\n" for number, text in enumerate(TEXTS))
    )
    commands = {
        "predict": command("imdb_lightning.predict", "run", "reviews.txt"),
        "predict --explain": command("imdb_lightning.predict", "run", "--explain", "--text", "a good film"),
        "predict -": command("imdb_lightning.predict", "run", "-"),
        "evaluate": command("imdb_lightning.evaluate", "run", "--output=evaluated"),
        "compare": command("imdb_lightning.compare", "run"),
        "check": command("imdb_lightning.check", *SETTINGS, "data=text", "data.train=reviews.csv"),
        "train": command("imdb_lightning", *SETTINGS, "hydra.run.dir=streams"),
        "sweep": command("imdb_lightning", "-m", *SETTINGS, "seed=0,1", "hydra.sweep.dir=streams"),
        "help": command("imdb_lightning", "--help"),
    }
    # By a shell, as people redirect; bash gives the command's own status.
    ways = {
        "full": "exec {} < reviews.txt > /dev/full",
        "reader leaves": "{} < reviews.txt | true; exit ${{PIPESTATUS[0]}}",
        "closed input": "exec {} <&-",
        "closed output": "exec {} < reviews.txt >&-",
        "all closed": "exec {} <&- >&- 2>&-",
    }
    for name, arguments in commands.items():
        for way, shell in ways.items():
            subprocess.run(["rm", "-rf", "streams", "evaluated"], cwd=folder, check=True)
            line = shell.format(subprocess.list2cmdline(arguments))
            answer = subprocess.run(
                ["bash", "-c", line], cwd=folder, capture_output=True, text=True, timeout=120, check=False
            )
            row.cases += 1
            described = f"{name}, {way}: exit {answer.returncode}: {answer.stderr[-300:]}"
            if "Traceback" in answer.stderr or "Exception ignored" in answer.stderr:
                row.tracebacks += 1
                row.failures.append(described)
            # The output was lost: the status must not say that all is well, unless there was nobody to read it.
            elif answer.returncode == 0 and way == "full":
                row.lost += 1
                row.failures.append(described)
    return row


def many_jobs(folder: Path, jobs: int) -> Row:
    """One process does all jobs; what it holds after the first twenty is compared with what it holds at the end."""
    seeds = ",".join(map(str, range(jobs)))
    process = subprocess.Popen(
        command("imdb_lightning", "-m", *SETTINGS, f"seed={seeds}", "hydra.sweep.dir=many"), cwd=folder,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    seen = []
    while process.poll() is None:
        finished = len(list((folder / "many").glob("*/results.json")))
        if held := holds(process.pid):
            seen.append((finished, *held))
        time.sleep(0.5)
    row = Row("jobs of one multirun: memory, threads, files, processes", jobs)
    row.lost = jobs - len(list((folder / "many").glob("*/results.json")))
    if process.returncode != 0:
        row.failures.append(f"exit {process.returncode}")
    begin = max(each for each in seen if each[0] <= 20)
    for place, (name, bound) in enumerate({"bytes": GROWTH, "threads": 0, "files": 0, "processes": 0}.items(), 1):
        # The last jobs' median, since a job holds files and threads of its own while it runs.
        late = sorted(each[place] for each in seen if each[0] > 0.8 * jobs)
        early = max(each[place] for each in seen if each[0] <= begin[0])
        if late[len(late) // 2] > early + bound:
            row.lost += 1
            row.failures.append(f"{early} {name} in the first {begin[0]} jobs, {late[len(late) // 2]} in the last")
    return row


def holds(pid: int) -> tuple[int, int, int, int] | None:
    """Resident bytes, threads, open files and child processes of a process; None: it has ended."""
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return int(status["VmRSS"].split()[0]) * 1024, int(status["Threads"]), files, len(family(pid)) - 1
    except (FileNotFoundError, ProcessLookupError, KeyError):
        return None


def sweeps_at_once(folder: Path) -> Row:
    """Sweeps that start at the same moment on an empty cache end with the same predictions."""
    environment = os.environ | {CACHE: str(folder / "shared")}
    processes = [
        subprocess.Popen(
            command("imdb_lightning", "-m", *SETTINGS, "seed=0,1", f"hydra.sweep.dir=at_once/{number}"), cwd=folder,
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for number in range(SWEEPS)
    ]  # fmt: skip
    row = Row("sweeps at once on one empty cache", SWEEPS)
    for number, process in enumerate(processes):
        _, errors = process.communicate()
        if process.returncode != 0:
            row.failures.append(f"sweep {number}: exit {process.returncode}: {errors[-300:]}")
    for seed in range(2):
        found = [path.read_bytes() for path in sorted(folder.glob(f"at_once/*/*{seed}/predictions.csv"))]
        row.lost += SWEEPS - found.count(found[0])
    row.lost += sum(".unfinished" in path.name for path in (folder / "shared").rglob("*"))
    return row


def many_lines(folder: Path, count: int) -> Row:
    """`predict` reads lines from a pipe and answers each; the texts repeat, and so must the answers."""
    row = Row("lines through predict", count)
    process = subprocess.Popen(
        command("imdb_lightning.predict", "run", "-", "--rows"), cwd=folder,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    block = "".join(f"{text}\n" for text in TEXTS).encode()

    def feed() -> None:
        with process.stdin as lines:
            for _ in range(count // len(TEXTS)):
                lines.write(block)

    feeder = threading.Thread(target=feed)
    feeder.start()
    answers, blocks, peak = iter(process.stdout), 0, 0
    next(answers)  # The header.
    digests = set()
    while rows := list(islice(answers, len(TEXTS))):
        # Without the row's number.
        digests.add(hashlib.sha256(b"".join(row.partition(b",")[2] for row in rows)).digest())
        blocks += len(rows) == len(TEXTS)
        if blocks % 100 == 1:
            peak = max(peak, (holds(process.pid) or (0,))[0])
    feeder.join()
    row.tracebacks = process.stderr.read().count(b"Traceback")
    if process.wait() or blocks != count // len(TEXTS) or len(digests) != 1:
        row.lost = count - blocks * len(TEXTS) or 1
        row.failures.append(f"exit {process.returncode}, {blocks} blocks answered in {len(digests)} ways")
    if peak > PREDICTING:
        row.lost += 1
        row.failures.append(f"{peak >> 20} MiB at {count:,} lines")
    return row
