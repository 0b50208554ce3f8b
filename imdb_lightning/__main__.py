"""The command `python -m imdb_lightning`; see `launch.cli`."""

import sys

from imdb_lightning import __version__
from imdb_lightning.config.command import command


@command()
def main() -> None:
    """Runs the command line."""
    if "--version" in sys.argv[1:]:
        print(f"imdb_lightning {__version__}")
        return
    from imdb_lightning.launch import cli

    cli.main()


if __name__ == "__main__":
    main()
