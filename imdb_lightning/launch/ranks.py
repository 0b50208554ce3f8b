"""A run as several processes: started by torchrun, watched, told about signals, and their result brought back.

Lightning's own launcher would repeat this process's command line in each child, the whole of a sweep included, and
leave its variables behind. Here each rank is `python -m imdb_lightning.worker RUN_DIR`, which knows no command line:
it ends with its torchrun, joins the others, and hands its mistakes back. Both sides meet in a private folder.
"""

import atexit
import ctypes
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import Config, TrainerConfig
from imdb_lightning.launch.private import private_folder, secrets_of
from imdb_lightning.launch.slurm import current_step
from imdb_lightning.runs.lifecycle import is_first, prepare_ranks, record_failure
from imdb_lightning.runs.records import COMPLETED, FAILED, INTERRUPTED, RUNNING, RunResult, read_result, read_status
from imdb_lightning.runs.signals import SIGNALS, Interrupted, SignalWatch

# Variable that names the run's private folder (mode 0700): process numbers, and on one machine the stores' files.
SCRATCH = "IMDB_LIGHTNING_SCRATCH"
_TORCHRUN = "torchrun"  # Name of the file with torchrun's process number.
KILLED = "killed"  # Name of the file that says which rank was killed.
# For the other ranks to find the same mistake; on a busy machine they start seconds after one another.
_REFUSAL_SECONDS = 5
# What another launcher around us, or an earlier run, may have left.
_FOREIGN = (
    "RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "ROLE_", "MASTER_", "NODE_RANK", "TORCHELASTIC_", "PL_GLOBAL_SEED",
)  # fmt: skip


class RanksFailedError(RuntimeError):
    """A process of the run crashed or was killed."""


def run_ranks(config: Config, folder: Path, devices: int) -> RunResult:
    """Runs one rank for each device of this machine to the end; the folder is on a disk that all machines share.

    Raises:
        UserError: what the ranks cannot go on with.
        Interrupted: a signal asked the run to stop.
        RanksFailedError: a process crashed or was killed, more often than `trainer.max_restarts` allows.
    """
    if is_first(config):
        prepare_ranks(config, folder)
    with private_folder() as scratch:
        command = [*_torchrun(config.trainer, devices, scratch), "-m", "imdb_lightning.worker", str(folder)]
        environment, prepare = _environment(config, scratch), partial(_prepare_torchrun, os.getpid())
        # In a session of its own: Ctrl-C is for this process, which passes it on.
        process = subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=prepare)
        (scratch / _TORCHRUN).write_text(str(process.pid))
        with _SignalsToRanks(process, scratch) as signals:
            code = process.wait()
        if signals.received:
            interrupted, status = Interrupted(signals.received), read_status(folder)
            # Else rank 0 has written how it ended, or had not begun.
            if is_first(config) and status is not None and status.state == RUNNING:
                record_failure(folder, interrupted)
            raise interrupted
        return _outcome(folder, scratch, code)


def _prepare_torchrun(parent: int) -> None:
    """Runs in the child before torchrun does: Slurm signals every process of a job, and torchrun is to outlive that."""
    end_with_parent(parent)
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


def end_with_parent(parent: int) -> None:
    """Has the kernel kill this process when its parent dies, however it dies. Linux only; elsewhere nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG of <sys/prctl.h>.
        if os.getppid() != parent:  # It died before it could be watched.
            os._exit(1)


def _torchrun(config: TrainerConfig, devices: int, scratch: Path) -> list[str]:
    command = [sys.executable, "-m", "imdb_lightning.launch.torchrun", f"--nproc-per-node={devices}"]
    command += [f"--max-restarts={config.max_restarts}", f"--log-dir={scratch / 'logs'}"]
    command += [f"--nnodes={config.num_nodes}", "--rdzv-backend=c10d", "--rdzv-id=imdb_lightning"]
    if config.num_nodes == 1:
        # torchrun's own store, also that of --standalone, listens on all addresses and unpickles what comes: whoever
        # reached the machine could run code as this user.
        command += [f"--rdzv-endpoint={scratch / 'rendezvous'}", "--local-addr=127.0.0.1"]
        # torchrun tells other machines that it is alive. Here there are none, and its file would grow by 7 MB a day.
        return [*command, "--rdzv-conf=store_type=file,keep_alive_interval=3600"]
    if config.rendezvous is not None:
        return [*command, f"--rdzv-endpoint={config.rendezvous}"]
    step = current_step()
    assert step is not None, "a run on several machines knows where to meet"
    # torchrun tells machines apart by address and process number. Its own idea of the address may be localhost on all
    # of them, and containers number their processes alike: then each takes the other for itself and waits for ever.
    return [*command, f"--rdzv-endpoint={step.rendezvous()}", f"--local-addr={step.node}"]


def _environment(config: Config, scratch: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    if config.trainer.num_nodes == 1:
        # Else gloo and nccl listen on whatever address the machine's name stands for, often that of its network.
        loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
        inherited |= {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
    inherited |= secrets_of(config)
    return inherited | {
        "OMP_NUM_THREADS": str(config.trainer.threads),
        "TORCHELASTIC_ERROR_FILE": str(scratch / "error.json"),
        # Shared with torchrun's own (the default of torch 2.13), the ranks' store would survive a restart, and in 5 of
        # 7 trials the new ranks tried for ever to reach the addresses that the killed ones had left in it.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        # Slurm signals torchrun, too; see `_prepare_torchrun`. Known from torch 2.10 on.
        "PET_SIGNALS_TO_HANDLE": "SIGQUIT",
        SCRATCH: str(scratch),
    }


class _SignalsToRanks(SignalWatch):
    """Passes the first signal on to the ranks, which save and leave; a second Ctrl-C ends them at once."""

    def __init__(self, torchrun: subprocess.Popen[bytes], scratch: Path) -> None:
        super().__init__()
        self.torchrun, self.scratch = torchrun, scratch

    def react(self, signum: int, first: bool) -> None:
        ranks = [int(path.read_text()) for path in self.scratch.glob("*.pid")]
        if not ranks or (signum == signal.SIGINT and not first):
            self.torchrun.kill()  # The ranks end with it.
        # Not to torchrun, too: it would take the signal for its own end and report the ranks' good-bye as a failure.
        for pid in ranks if first else ():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def _outcome(folder: Path, scratch: Path, code: int) -> RunResult:
    """The result of ranks that have ended, or the reason why there is none."""
    refusals = sorted(scratch.glob("refusal-*"))
    if refusals:  # Pickled, which is safe in a folder that this user alone can write to.
        error: UserError = pickle.loads(refusals[0].read_bytes())
        # Rank 0 writes its own into the status, and knows when the folder is another run's. When another rank alone
        # has one, rank 0 has only seen a connection break.
        if refusals[0].name != "refusal-0":
            record_failure(folder, error)
        raise error
    status = read_status(folder)
    state = "" if status is None else status.state
    if code == 0 and state == COMPLETED:
        return read_result(folder)
    if code == 0 and state == INTERRUPTED:
        raise Interrupted(signal.SIGTERM)  # The ranks were told to stop, and this process was not.
    killed, reason = scratch / KILLED, "A process of the run was killed."
    if killed.exists():
        reason = killed.read_text()
    reason += " The same command goes on."
    with suppress(FileNotFoundError):  # What torchrun wrote of the first rank that failed, unless that was killed.
        message = json.loads((scratch / "error.json").read_text())["message"]
        reason = str(message if isinstance(message, str) else message["extraInfo"]["py_callstack"])
    if state not in (COMPLETED, FAILED):
        record_failure(folder, reason)  # Else rank 0 has written how it ended.
    raise RanksFailedError(reason)


def join_ranks() -> None:
    """Makes this process, a rank, end with its torchrun, and tells `run_ranks` where to send signals.

    To be called first: a torchrun that dies while a rank still imports torch would leave it behind.
    """
    if SCRATCH in os.environ:
        scratch = Path(os.environ[SCRATCH])
        end_with_parent(int((scratch / _TORCHRUN).read_text()))
        (scratch / f"{os.environ['LOCAL_RANK']}.pid").write_text(str(os.getpid()))


def relay_refusal(error: UserError) -> None:
    """Hands a rank's `UserError` to `run_ranks`: torchrun would show it with a traceback, and start the rank again.

    A refusal that the other ranks do not share ends them, too: they would wait for this one until their connections
    time out, after half an hour.
    """
    if SCRATCH not in os.environ:
        if os.environ["RANK"] == "0":  # One of the ranks of a torchrun that somebody else has started.
            print(error, file=sys.stderr)
        return
    scratch = Path(os.environ[SCRATCH])
    (scratch / f"refusal-{os.environ['RANK']}").write_bytes(pickle.dumps(error))
    deadline = time.monotonic() + _REFUSAL_SECONDS
    while len(list(scratch.glob("refusal-*"))) < int(os.environ["LOCAL_WORLD_SIZE"]):
        if time.monotonic() > deadline:
            os.kill(int((scratch / _TORCHRUN).read_text()), signal.SIGKILL)  # All ranks end with it, this one too.
        time.sleep(0.05)


def join_group(config: TrainerConfig) -> None:
    """Joins the ranks of one machine through a file in their private folder.

    Lightning, which leaves a group alone that is there, would join them through a server on rank 0 that listens on all
    addresses.
    """
    if SCRATCH not in os.environ or config.num_nodes > 1:
        return  # Several machines need that server, and a torchrun of somebody else's has no private folder.
    import torch
    import torch.distributed as dist

    on_gpus = config.accelerator == "gpu"
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpus else None
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    # Each restart has a file of its own: in the last one's, killed ranks have left their addresses.
    file = Path(os.environ[SCRATCH]) / f"group-{os.environ['TORCHELASTIC_RESTART_COUNT']}"
    backend, store = "nccl" if on_gpus else "gloo", file.as_uri()
    dist.init_process_group(backend, init_method=store, rank=rank, world_size=ranks, device_id=device)
    atexit.register(dist.destroy_process_group)  # nccl warns of one that is left to the interpreter's end.
