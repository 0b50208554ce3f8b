"""One rank of a run: `python -m imdb_lightning.worker RUN_DIR`, started by torchrun.

The settings are in the run's folder. A rank that was interrupted, or that cannot go on for a reason that the user can
mend, ends with status 0, since torchrun would start any other again; `status.json` says what happened.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import record

from imdb_lightning import config as settings
from imdb_lightning.errors import UserError
from imdb_lightning.interruption import Interrupted, SignalWatch
from imdb_lightning.ranks import PIDS, end_with_parent
from imdb_lightning.results import CONFIG

STARTED = time.perf_counter()


@record
def main() -> None:
    """Runs this rank's part."""
    end_with_parent()
    folder = Path(sys.argv[1])
    with suppress(Interrupted, UserError), SignalWatch():
        if PIDS in os.environ:
            Path(os.environ[PIDS], f"{os.environ['LOCAL_RANK']}.pid").write_text(str(os.getpid()))
        from imdb_lightning import experiment  # Takes seconds, in which a signal may come.

        experiment.run(settings.load(folder / CONFIG), folder, STARTED)


if __name__ == "__main__":
    main()
