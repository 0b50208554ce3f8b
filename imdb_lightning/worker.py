"""One rank of a run: `python -m imdb_lightning.worker RUN_DIR`, started by torchrun.

The settings are in the run's folder. A rank that was interrupted, or that cannot go on for a reason that the user can
mend, ends with status 0, since torchrun would start any other again; `status.json` says what happened.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.file import load_config
from imdb_lightning.config.schema import TrainerConfig
from imdb_lightning.launch.ranks import SCRATCH, join_ranks, relay_refusal
from imdb_lightning.runs.records import CONFIG
from imdb_lightning.runs.signals import Interrupted, SignalWatch

TORCHRUN_SECONDS = 2
"""For torchrun, which looks ten times a second, to see that a rank was killed before the others report an error."""


def main() -> None:
    """Runs this rank's part."""
    started = time.perf_counter()
    folder = Path(sys.argv[1])
    with suppress(Interrupted), SignalWatch():
        join_ranks()
        # Takes seconds, in which signals may come.
        from torch.distributed.elastic.multiprocessing.errors import record

        from imdb_lightning.training import experiment

        def run() -> None:
            try:
                config = load_config(folder / CONFIG)
                _join_group(config.trainer)
                experiment.run(config, folder, started)
            except UserError as error:
                relay_refusal(error)
            except RuntimeError:
                # Very likely another rank's end, which broke a connection: that one is to be the error that is shown.
                time.sleep(TORCHRUN_SECONDS)
                raise

        record(run)()


def _join_group(config: TrainerConfig) -> None:
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


if __name__ == "__main__":
    main()
