"""torchrun, as `run_ranks` starts it: `python -m imdb_lightning.launch.torchrun ARGUMENTS`.

It would end with a traceback of its own where a rank has ended badly; the run's one message comes from `run_ranks`.
"""

import os
import sys
from pathlib import Path

from imdb_lightning.launch.ranks import KILLED, SCRATCH


def main() -> None:
    """Runs torchrun, and leaves the name of a rank that was killed in the run's private folder."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    try:
        torchrun()
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            killed = f"Rank {rank}, process {failure.pid}, was killed by {failure.signal_name()}."
            (Path(os.environ[SCRATCH]) / KILLED).write_text(killed)
        sys.exit(1)


if __name__ == "__main__":
    main()
