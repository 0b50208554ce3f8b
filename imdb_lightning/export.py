"""The command `python -m imdb_lightning.export RUN --format onnx`: a trained network for other runtimes."""

import argparse
import sys
from pathlib import Path

from imdb_lightning.config.command import command


@command()
def main() -> None:
    """Runs the command line; exit status 2: it cannot be used."""
    about = "A trained network for other runtimes."
    parser = argparse.ArgumentParser(prog="python -m imdb_lightning.export", description=about)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("--format", choices=("onnx",), default="onnx", help="of the file (default: onnx)")
    parser.add_argument("--output", type=Path, help="file to write (default: RUN/model.onnx)")
    arguments = parser.parse_args()
    from imdb_lightning.config.file import load_config
    from imdb_lightning.inference.onnx import TOLERANCE, compare, to_onnx
    from imdb_lightning.inference.saved_run import load_network
    from imdb_lightning.runs.files import write_file
    from imdb_lightning.runs.records import CONFIG

    network = load_network(arguments.run, load_config(arguments.run / CONFIG))
    content = to_onnx(network)
    difference = compare(network, content)
    # Before anything is written: a file that is there has passed.
    if not difference <= TOLERANCE:  # NaN, too.
        sys.exit(f"onnxruntime gives other probabilities, by up to {difference:.1g}; nothing was written")
    output = arguments.output or arguments.run / "model.onnx"
    write_file(output, content)
    print(f"{output}: ids int64 [N], offsets int64 [B + 1] -> probabilities float32 [B]")
    print(f"checked with onnxruntime: largest difference {difference:.1g}")


if __name__ == "__main__":
    main()
