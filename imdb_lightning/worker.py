"""One rank of a run: `python -m imdb_lightning.worker RUN_DIR`, started by torchrun.

The settings are in the run's folder. A rank that was interrupted, or that cannot go on for a reason that the user can
mend, ends with status 0, since torchrun would start any other again; `status.json` says what happened.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path

from imdb_lightning import config as settings
from imdb_lightning.errors import UserError
from imdb_lightning.interruption import Interrupted, SignalWatch
from imdb_lightning.ranks import join_ranks
from imdb_lightning.results import CONFIG

TORCHRUN_SECONDS = 2
"""For torchrun, which looks ten times a second, to see that a rank was killed before the others report an error."""


def main() -> None:
    """Runs this rank's part."""
    started = time.perf_counter()
    folder = Path(sys.argv[1])
    with suppress(Interrupted, UserError), SignalWatch():
        join_ranks()
        # Takes seconds, in which signals may come.
        from torch.distributed.elastic.multiprocessing.errors import record

        from imdb_lightning import experiment

        def run() -> None:
            try:
                experiment.run(settings.load(folder / CONFIG), folder, started)
            except RuntimeError:
                # Very likely another rank's end, which broke a connection: that one is to be the error that is shown.
                time.sleep(TORCHRUN_SECONDS)
                raise

        record(run)()


if __name__ == "__main__":
    main()
