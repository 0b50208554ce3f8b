"""A rank's own side of a run of several processes; `ranks` is the side that starts it.

A rank ends with its torchrun, joins the others, and hands its mistakes to the parent.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.schema import TrainerConfig

SCRATCH = "IMDB_LIGHTNING_SCRATCH"
"""Variable that names the run's private folder (mode 0700): process numbers, and on one machine the stores' files."""
TORCHRUN = "torchrun"
"""Name of the file with torchrun's process number."""
_REFUSAL_SECONDS = 5
"""For the other ranks to find the same mistake; on a busy machine they start seconds after one another."""
_PR_SET_PDEATHSIG = 1  # From Linux's <sys/prctl.h>.


def end_with_parent(parent: int) -> None:
    """Asks the kernel to kill this process when its parent dies, however it dies. Linux only; elsewhere nothing.

    Args:
        parent: the parent's process number, as it may have died already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def join_ranks() -> None:
    """Makes this process, a rank, end with its torchrun, and tells `run_ranks` where to send signals.

    To be called first: a torchrun that dies while a rank still imports torch would leave it behind. A rank of a
    torchrun that somebody else has started is left alone.
    """
    if SCRATCH in os.environ:
        scratch = Path(os.environ[SCRATCH])
        end_with_parent(int((scratch / TORCHRUN).read_text()))
        (scratch / f"{os.environ['LOCAL_RANK']}.pid").write_text(str(os.getpid()))


def relay_refusal(error: UserError) -> None:
    """Hands a rank's `UserError` to `run_ranks`: torchrun would show it with a traceback, and start the rank again.

    A refusal that the other ranks do not share ends them, too: they would wait for this one until their connections
    time out, after half an hour. Under a torchrun that somebody else has started, rank 0 prints the error.
    """
    if SCRATCH not in os.environ:
        if os.environ["RANK"] == "0":
            print(error, file=sys.stderr)
        return
    scratch = Path(os.environ[SCRATCH])
    (scratch / f"refusal-{os.environ['RANK']}").write_text(str(error), encoding="utf-8")
    deadline = time.monotonic() + _REFUSAL_SECONDS
    while len(list(scratch.glob("refusal-*"))) < int(os.environ["LOCAL_WORLD_SIZE"]):
        if time.monotonic() > deadline:
            os.kill(int((scratch / TORCHRUN).read_text()), signal.SIGKILL)  # All ranks end with it, this one too.
        time.sleep(0.05)


def join_group(config: TrainerConfig) -> None:
    """Joins the ranks of one machine through a file in their private folder.

    Lightning, which leaves a group alone that is there, would join them through a server on rank 0 that listens on all
    addresses. Ranks of several machines need that one, and of a torchrun that somebody else has started we know no
    private folder: both are left to Lightning.
    """
    if SCRATCH not in os.environ or config.num_nodes > 1:
        return
    import torch
    import torch.distributed as dist

    on_gpus, local_rank = config.accelerator == "gpu", int(os.environ["LOCAL_RANK"])
    # Each restart has a file of its own: in the last one's, killed ranks have left their addresses.
    file = Path(os.environ[SCRATCH]) / f"group-{os.environ['TORCHELASTIC_RESTART_COUNT']}"
    dist.init_process_group(
        "nccl" if on_gpus else "gloo",
        init_method=file.as_uri(),
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        device_id=torch.device("cuda", local_rank) if on_gpus else None,
    )
    atexit.register(dist.destroy_process_group)  # nccl warns of one that is left to the interpreter's end.
