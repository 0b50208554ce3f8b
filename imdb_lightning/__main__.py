"""The command `python -m imdb_lightning`; see `launch.cli`."""

from imdb_lightning.launch.cli import main

if __name__ == "__main__":
    main()
