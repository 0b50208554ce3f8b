"""How right, how fast and how large: our networks beside linear models of other programs, on the same reviews.

    python benchmarks/accuracy.py --npz imdb.npz --peers-python peers-env/bin/python

All are fitted on 15,000 reviews, with what there is to choose (epochs, a penalty) chosen on the 10,000 of validation,
and again on all 25,000 with that choice. `s`: of the first fit, from the reviews (ours: prepared before) to the
weights; `MiB`: at most, of the whole command; `MB`: what the network takes on disk, with its words. One core. Ours are
means over `--seeds`; the others draw nothing that matters.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import mean

from against_keras import timed

HERE = Path(__file__).resolve().parent
OURS = {
    "shallow_relu_bce": ["+experiment=notebook/shallow_relu_bce"],
    "deep_tanh_mse": ["+experiment=notebook/deep_tanh_mse"],
    "regularized_relu_bce": ["+experiment=notebook/regularized_relu_bce"],
    "nb_linear_ngrams": ["+experiment=best", "model=nb_linear_ngrams"],
    "nb_ngrams": ["+experiment=best"],
}
OTHERS = {
    "logistic": "scikit-learn, logistic regression, 10,000 words",
    "tfidf": "scikit-learn, linear SVM, tf-idf of words and pairs",
    "nbsvm": "scikit-learn, linear SVM, naive-Bayes weights of words and pairs",
    "fasttext": "fastText, words and pairs",
}
MODEL = ("model.safetensors", "vocabulary.json", "ngrams.safetensors")


def ours(settings: list[str], seeds: int) -> tuple[float, ...]:
    """Accuracy fitted on 15,000 and on 25,000, seconds, MiB and MB; means over seeds."""
    found = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            command = [sys.executable, "-m", "imdb_lightning", *settings, f"seed={seed}", "hydra.run.dir=run"]
            _, _, peak = timed([*command, "refit=true"], folder)
            result = json.loads((folder / "run" / "results.json").read_text())
            size = sum((folder / "run" / file).stat().st_size for file in MODEL if (folder / "run" / file).exists())
        accuracies = result["test"]["accuracy"], result["refit"]["test"]["accuracy"]
        found.append((*accuracies, result["seconds"]["fit"], peak, size / 1e6))
    return tuple(map(mean, zip(*found, strict=True)))


def other(python: str, method: str, npz: Path) -> tuple[float, ...]:
    """The same of another program."""
    with tempfile.TemporaryDirectory() as name:
        command = [python, str(HERE / "linear_models.py"), method, str(npz)]
        chosen, _, peak = timed(command, Path(name))
        found = json.loads(chosen)
        refitted, _, _ = timed([*command, json.dumps(found["setting"])], Path(name))
    return found["test"], json.loads(refitted)["test"], found["seconds"], peak, found["bytes"] / 1e6


def main() -> None:
    """Prints a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npz", type=Path, required=True)
    parser.add_argument("--peers-python", help="python of an environment as `linear_models.py` says")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    npz = arguments.npz.absolute()
    os.environ |= {"IMDB_NPZ": str(npz), "OMP_NUM_THREADS": "1"}
    print("| | fitted on 15,000 | on 25,000 | s | MiB | MB |\n|---|---:|---:|---:|---:|---:|")
    rows = {name: lambda settings=settings: ours(settings, arguments.seeds) for name, settings in OURS.items()}
    if arguments.peers_python:
        rows |= {
            name: lambda method=method: other(arguments.peers_python, method, npz) for method, name in OTHERS.items()
        }
    for name, measure in rows.items():
        chosen, refitted, seconds, peak, size = measure()
        print(f"| {name} | {chosen:.4f} | {refitted:.4f} | {seconds:.1f} | {peak:,.0f} | {size:.1f} |", flush=True)


if __name__ == "__main__":
    main()
