"""Commands of the package with a disk that fails on request: each in a fork of a process that has imported all.

A command line takes 4 s, nearly all of them imports; a fork with a small run 0.3 s. `Forks` starts that process, with
`faults.c` preloaded, and has commands run in it; `python -m tests.torture.forks` is that process.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import NamedTuple, NoReturn

SECONDS = 300
"""After which a command counts as hung; the slowest takes 2."""


class State(ctypes.Structure):
    """`struct state` of `faults.c`."""

    _fields_ = [
        ("at", ctypes.c_int), ("error", ctypes.c_int), ("lasts", ctypes.c_int), ("seen", ctypes.c_int),
        ("fired", ctypes.c_int), ("kind", ctypes.c_int), ("path", ctypes.c_char * 4096),
    ]  # fmt: skip

    @classmethod
    def read(cls, file: Path) -> State:
        """What the processes have left in a file."""
        return cls.from_buffer_copy(file.read_bytes())


class Fault(NamedTuple):
    """What is to fail: the operation of number `at` (0: none), how (0: a kill), and whether the disk stays full."""

    at: int = 0
    error: int = 0
    lasts: bool = False


class Command(NamedTuple):
    """A command, run in `folder`; what it prints goes to `output`. Faults are below `root`, the state in `state`."""

    module: str
    arguments: list[str]
    folder: Path
    root: Path
    fault: Fault = Fault()

    @property
    def output(self) -> Path:
        """Not below the root."""
        return self.folder.with_name(f"{self.folder.name}.output")

    @property
    def state(self) -> Path:
        """Likewise."""
        return self.folder.with_name(f"{self.folder.name}.state")

    def begin(self) -> None:
        """Writes the state that the command begins with."""
        self.folder.mkdir(exist_ok=True)
        self.state.write_bytes(bytes(State(at=self.fault.at, error=self.fault.error, lasts=self.fault.lasts)))


def build(folder: Path) -> Path:
    """Compiles `faults.c` into a folder."""
    compiler = shutil.which("cc")
    if compiler is None:
        sys.exit("The faults need a C compiler: install gcc, or name other parts of the torture.")
    library = folder / "libfaults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


class Forks:
    """A process that forks commands."""

    def __init__(self, library: Path) -> None:
        environment = os.environ | {"LD_PRELOAD": str(library), "COLUMNS": "80"}
        command = [sys.executable, "-m", "tests.torture.forks"]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, *commands: Command) -> list[int | None]:
        """Runs commands at once; gives their exit statuses, minus the signal for one that was killed, None: it hung."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for command in commands:
            command.begin()
        tasks = [
            [each.module, each.arguments, str(each.folder), str(each.root), str(each.state), str(each.output)]
            for each in commands
        ]
        print(json.dumps(tasks), file=self._process.stdin, flush=True)
        codes: list[int | None] = json.loads(self._process.stdout.readline())
        return codes

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """Reads lists of commands, runs each list, answers with exit statuses."""
    for module in ("training.experiment", "inference.evaluation", "inference.answers", "runs.report", "launch.cli"):
        importlib.import_module(f"imdb_lightning.{module}")
    # What they import later.
    for module in ("hydra._internal.core_plugins.basic_launcher", "pyarrow.pandas_compat", "PIL.JpegImagePlugin"):
        importlib.import_module(module)
    library = ctypes.CDLL(os.environ.pop("LD_PRELOAD"))
    for line in sys.stdin:
        pids = []
        for task in json.loads(line):
            pid = os.fork()
            if not pid:
                _child(library, *task)
            pids.append(pid)
        print(json.dumps([_wait(pid) for pid in pids]), flush=True)


def _wait(pid: int) -> int | None:
    poll, handle = select.poll(), os.pidfd_open(pid)
    poll.register(handle, select.POLLIN)
    hung = not poll.poll(1000 * SECONDS)
    if hung:
        os.kill(pid, signal.SIGKILL)
    os.close(handle)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return None if hung else status


def _child(
    library: ctypes.CDLL, module: str, arguments: list[str], folder: str, root: str, state: str, output: str
) -> NoReturn:
    """Does what the interpreter would do with `python -m module arguments`."""
    code: object = 1
    try:
        os.chdir(folder)
        for name, descriptor in ((os.devnull, 0), (output, 1)):
            file = os.open(name, os.O_RDWR | os.O_CREAT | (os.O_APPEND | os.O_TRUNC) * descriptor)
            os.dup2(file, descriptor)
        os.dup2(1, 2)
        sys.argv = [module, *arguments]
        library.faults_begin(os.fsencode(state), os.fsencode(root))
        importlib.import_module(module).main()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    library.faults_begin(b"", b"")
    sys.stdout.flush()
    if isinstance(code, str):
        print(code, file=sys.stderr)
    os._exit(code if isinstance(code, int) else code is not None)


if __name__ == "__main__":
    main()
