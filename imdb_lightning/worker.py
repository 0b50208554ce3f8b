"""One rank of a run: `python -m imdb_lightning.worker RUN_DIR`, started by torchrun.

A rank that was interrupted, or that cannot go on for a reason that the user can mend, ends with status 0, as torchrun
would start any other again; `status.json` says what happened.
"""

import sys
import time
from contextlib import suppress
from pathlib import Path

from imdb_lightning.config.errors import UserError
from imdb_lightning.config.file import load_config
from imdb_lightning.config.imports import large_imports
from imdb_lightning.config.streams import outlive_readers
from imdb_lightning.launch.private import with_secrets
from imdb_lightning.launch.ranks import join_group, join_ranks, relay_refusal
from imdb_lightning.runs.lifecycle import rank
from imdb_lightning.runs.records import CONFIG
from imdb_lightning.runs.signals import Interrupted, SignalWatch


def main() -> None:
    """Runs this rank's part."""
    started = time.perf_counter()
    outlive_readers()
    folder = Path(sys.argv[1])
    with suppress(Interrupted), SignalWatch():
        join_ranks()
        # Takes seconds, in which signals may come.
        with large_imports():
            from torch.distributed import DistError
            from torch.distributed.elastic.multiprocessing.errors import record

            from imdb_lightning.training import experiment

        def run() -> None:
            try:
                config = with_secrets(load_config(folder / CONFIG))
                join_group(config.trainer)
                experiment.run(config, folder, started=started)
            except UserError as error:
                relay_refusal(error)
            except RuntimeError as error:
                # Very likely another rank's end broke a connection: torchrun looks every 0.1 s, and is to see it first.
                time.sleep(2)
                if isinstance(error, DistError) or "gloo/transport" in str(error):
                    sys.exit(f"rank {rank()} has lost another one: {str(error).splitlines()[0]}")
                raise

        record(run)()


if __name__ == "__main__":
    main()
