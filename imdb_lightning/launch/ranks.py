"""A run as several processes: started by torchrun, watched, told about signals, and their result brought back.

Lightning's own launcher would repeat this process's command line in each child, the whole of a sweep included, and
leave its variables behind. Here each rank is `python -m imdb_lightning.worker RUN_DIR`, which knows neither Hydra nor
the command line, and nothing of it is seen in this process.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path

from imdb_lightning.config.errors import RelayedError
from imdb_lightning.config.schema import Config, TrainerConfig
from imdb_lightning.launch.rank import SCRATCH, TORCHRUN, end_with_parent
from imdb_lightning.launch.slurm import current_step
from imdb_lightning.runs.lifecycle import is_first, record_failure, write_settings
from imdb_lightning.runs.records import COMPLETED, FAILED, INTERRUPTED, RunResult, read_result, read_status
from imdb_lightning.runs.signals import SIGNALS, Interrupted, SignalWatch

_KEEP_ALIVE_SECONDS = 3600
"""How often torchrun writes that it is alive: for other machines, of which there are none where it writes to a file,
which would grow by 0.4 KB each time, 7 MB a day with its default of 5 s."""
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
    if is_first(config):
        write_settings(config, folder)
    with tempfile.TemporaryDirectory(prefix="imdb_lightning-ranks-") as name:
        scratch = Path(name)
        process = subprocess.Popen(
            [*_torchrun(config.trainer, devices, scratch), "-m", "imdb_lightning.worker", str(folder)],
            env=_environment(config.trainer, scratch),
            start_new_session=True,  # Ctrl-C is for this process, which passes it on.
            preexec_fn=partial(_prepare_torchrun, os.getpid()),
        )
        (scratch / TORCHRUN).write_text(str(process.pid))
        with _SignalsToRanks(process, scratch) as signals:
            code = process.wait()
        if signals.received:
            raise Interrupted(signals.received)
        _raise_refusal(folder, scratch)
        reason = _first_error(scratch / "error.json")
    return _outcome(folder, code, reason)


def _prepare_torchrun(parent: int) -> None:
    """Runs in the child before torchrun does: Slurm signals every process of a job, and torchrun is to outlive that."""
    end_with_parent(parent)
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


def _torchrun(config: TrainerConfig, devices: int, scratch: Path) -> list[str]:
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={devices}"]
    command += [f"--max-restarts={config.max_restarts}", f"--log-dir={scratch / 'logs'}"]
    command += [f"--nnodes={config.num_nodes}", "--rdzv-backend=c10d", "--rdzv-id=imdb_lightning"]
    if config.num_nodes == 1:
        # torchrun's own store, also that of --standalone, listens on all addresses without a password, and torchrun
        # unpickles what it reads there: whoever reached the machine could run code as this user. A file cannot be
        # reached.
        conf = f"store_type=file,keep_alive_interval={_KEEP_ALIVE_SECONDS}"
        return [*command, f"--rdzv-conf={conf}", f"--rdzv-endpoint={scratch / 'rendezvous'}", "--local-addr=127.0.0.1"]
    if config.rendezvous is not None:
        return [*command, f"--rdzv-endpoint={config.rendezvous}"]
    step = current_step()
    assert step is not None, "a run on several machines knows where to meet"
    # torchrun tells machines apart by address and process number. Its own idea of the address may be localhost on all
    # of them, and containers number their processes alike: then each takes the other for itself and waits for ever.
    return [*command, f"--rdzv-endpoint={step.rendezvous()}", f"--local-addr={step.node}"]


def _environment(config: TrainerConfig, scratch: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    if config.num_nodes == 1:
        # Else gloo and nccl listen on whatever address the machine's name stands for, often that of its network.
        loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
        inherited |= {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
    return inherited | {
        "OMP_NUM_THREADS": str(config.threads),
        "TORCHELASTIC_ERROR_FILE": str(scratch / "error.json"),
        # Shared with torchrun's own (the default of torch 2.13), the ranks' store would survive a restart, and in 5 of
        # 7 trials the new ranks tried for ever to reach the addresses that the killed ones had left in it.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        # Slurm signals torchrun, too; see `_prepare_torchrun`. Known from torch 2.10 on.
        "PET_SIGNALS_TO_HANDLE": "SIGQUIT",
        SCRATCH: str(scratch),
    }


class _SignalsToRanks(SignalWatch):
    """Passes the first signal on to the ranks, which save and leave; a second Ctrl-C ends them at once.

    Not to torchrun: it would take the signal for its own end and report the ranks' good-bye as a failure.
    """

    def __init__(self, torchrun: subprocess.Popen[bytes], scratch: Path) -> None:
        super().__init__()
        self.torchrun, self.scratch = torchrun, scratch

    def react(self, signum: int, first: bool) -> None:
        """Passes it on."""
        ranks = [int(path.read_text()) for path in self.scratch.glob("*.pid")]
        if not ranks or (signum == signal.SIGINT and not first):
            self.torchrun.kill()  # The ranks end with it.
        for pid in ranks if first else ():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def _raise_refusal(folder: Path, scratch: Path) -> None:
    """Raises what a rank could not go on with, if there was anything."""
    refusals = sorted(scratch.glob("refusal-*"))
    if refusals:
        reason = refusals[0].read_text(encoding="utf-8")
        # Rank 0 writes its own into the status, and knows when the folder is another run's. When another rank alone
        # has one, rank 0 has only seen a connection break.
        if refusals[0].name != "refusal-0":
            record_failure(folder, reason)
        raise RelayedError(reason)


def _outcome(folder: Path, code: int, reason: str) -> RunResult:
    status = read_status(folder)
    state = "" if status is None else status.state
    if code == 0 and state == COMPLETED:
        return read_result(folder)
    if code == 0 and state == INTERRUPTED:
        raise Interrupted(signal.SIGTERM)
    if state not in (COMPLETED, FAILED):
        record_failure(folder, reason)
    raise RanksFailedError(reason)


def _first_error(path: Path) -> str:
    """What torchrun wrote of the first rank that failed."""
    if not path.is_file():
        return "A process of the run was killed; torchrun's report above names it. The same command goes on."
    message = json.loads(path.read_text())["message"]
    return str(message if isinstance(message, str) else message["extraInfo"]["py_callstack"])
