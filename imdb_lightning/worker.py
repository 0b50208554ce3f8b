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


def main() -> None:
    """Runs this rank's part."""
    started = time.perf_counter()
    folder = Path(sys.argv[1])
    with suppress(Interrupted, UserError), SignalWatch():
        join_ranks()
        # Takes seconds, in which signals may come.
        from torch.distributed.elastic.multiprocessing.errors import record

        from imdb_lightning import experiment

        record(experiment.run)(settings.load(folder / CONFIG), folder, started)


if __name__ == "__main__":
    main()
