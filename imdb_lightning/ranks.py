"""A run as several processes: started by torchrun, watched, told about signals, and their result brought back.

Lightning's own launcher would repeat this process's command line in each child, the whole of a sweep included, and
leave its variables behind. Here each rank is `python -m imdb_lightning.worker RUN_DIR`, which knows neither Hydra nor
the command line, and nothing of it is seen in this process.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from imdb_lightning.config import Config, TrainerConfig
from imdb_lightning.errors import RelayedError
from imdb_lightning.interruption import SIGNALS, Interrupted
from imdb_lightning.results import COMPLETED, FAILED, INTERRUPTED, RunResult, read_result, read_status
from imdb_lightning.run_folder import record_failure, write_settings

PIDS = "IMDB_LIGHTNING_PIDS"
"""Variable that names the folder into which each rank writes its process number."""
_PR_SET_PDEATHSIG = 1
# What another launcher around us, or an earlier run, may have left.
_FOREIGN = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_",
    "GROUP_",
    "ROLE_",
    "MASTER_",
    "NODE_RANK",
    "TORCHELASTIC_",
    "PL_GLOBAL_SEED",
)


class RanksFailedError(RuntimeError):
    """A process of the run crashed or was killed."""


def run_ranks(config: Config, folder: Path, devices: int) -> RunResult:
    """Runs the ranks of this machine to their end.

    Args:
        config: the settings.
        folder: the run's, on a disk that all machines share.
        devices: processes on this machine.

    Raises:
        UserError: what the ranks cannot go on with.
        Interrupted: a signal asked the run to stop.
        RanksFailedError: a process crashed or was killed, more often than `trainer.max_restarts` allows.
    """
    if not config.trainer.node_rank:  # The first machine, or the only one.
        write_settings(config, folder)
    with tempfile.TemporaryDirectory(prefix="imdb_lightning-ranks-") as name:
        scratch = Path(name)
        process = subprocess.Popen(
            [*_torchrun(config.trainer, devices), "-m", "imdb_lightning.worker", str(folder)],
            env=_environment(config.trainer, scratch),
            start_new_session=True,  # Ctrl-C is for this process, which passes it on.
            preexec_fn=lambda: end_with_parent(signal.SIGTERM),
        )
        with _passing_on_signals(process, scratch) as received:
            code = process.wait()
        reason = _first_error(scratch / "error.json")
    return _outcome(folder, code, received, reason)


def end_with_parent(signum: int) -> None:
    """Asks the kernel to signal this process when its parent dies, however it dies. Linux only; elsewhere nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signum)


def _torchrun(config: TrainerConfig, devices: int) -> list[str]:
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={devices}"]
    command += [f"--max-restarts={config.max_restarts}"]
    if config.num_nodes == 1:
        return [*command, "--standalone", "--local-addr=127.0.0.1"]
    return [
        *command,
        f"--nnodes={config.num_nodes}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={config.rendezvous}",
        "--rdzv-id=imdb_lightning",
    ]


def _environment(config: TrainerConfig, scratch: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return inherited | {
        "OMP_NUM_THREADS": str(config.threads),
        "TORCHELASTIC_ERROR_FILE": str(scratch / "error.json"),
        # Shared with torchrun's own (the default of torch 2.13), the ranks' store would survive a restart, and in 5 of
        # 7 trials the new ranks tried for ever to reach the addresses that the killed ones had left in it.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        PIDS: str(scratch),
    }


@contextmanager
def _passing_on_signals(process: subprocess.Popen[bytes], scratch: Path) -> Iterator[list[int]]:
    """Passes the first signal to the ranks, which save and leave; a second one ends them at once.

    Not to torchrun: it would take the signal for its own end and report the ranks' good-bye as a failure.
    """
    received: list[int] = []

    def pass_on(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        ranks = [int(path.read_text()) for path in scratch.glob("*.pid")]
        if len(received) > 1 or not ranks:
            process.kill()  # The ranks end with it.
        for pid in ranks:
            if len(received) == 1:
                os.kill(pid, signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {signum: signal.signal(signum, pass_on) for signum in SIGNALS}
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _outcome(folder: Path, code: int, received: list[int], reason: str) -> RunResult:
    status = read_status(folder)
    state = "" if status is None else status.state
    if received:
        raise Interrupted(received[0])
    if code == 0 and state == COMPLETED:
        return read_result(folder)
    if code == 0 and state == INTERRUPTED:
        raise Interrupted(signal.SIGTERM)
    if code == 0 and state == FAILED and status is not None:
        raise RelayedError(status.reason)
    if state not in (COMPLETED, FAILED):
        record_failure(folder, reason)
    raise RanksFailedError(reason)


def _first_error(path: Path) -> str:
    """What torchrun wrote of the first rank that failed."""
    if not path.is_file():
        return "A process of the run was killed; torchrun's report above names it. The same command goes on."
    message = json.loads(path.read_text())["message"]
    return str(message if isinstance(message, str) else message["extraInfo"]["py_callstack"])
