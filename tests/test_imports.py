"""Imports go down only: a module may import from its own level or lower ones, never from above."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import imdb_lightning

PACKAGE = Path(imdb_lightning.__file__).parent
LEVELS = [
    {"errors", "interruption"},
    {"data_config"},
    {"config", "results", "gpus"},
    {"config_file"},
    {"run_folder", "plots", "slurm"},
    {"data.bags", "data.vocabulary", "data.cache", "data.download", "data.readers"},
    {"data.splits", "data.sampling", "data.tokens", "data.npz"},
    {"data.imdb", "data.packaged", "data.synthetic", "data.text"},
    {"model.multi_hot", "model.objective", "model.optimizer", "model.metrics"},
    {"model.network"},
    {"model.attribution"},
    {"inference"},
    {"data.datamodule", "model.module"},
    {"callbacks", "report", "evaluation"},
    {"tensorboard", "checkpoint"},
    {"trainer"},
    {"experiment"},
    {"ranks", "clusters"},
    {"overrides"},
    {"launch", "composition", "compare", "worker", "slurm_launcher"},
    {"__main__", "check", "predict", "evaluate", "export"},
]
LEVEL_OF = {f"imdb_lightning.{name}": level for level, names in enumerate(LEVELS) for name in names}
PLAIN = {
    "errors",
    "interruption",
    "ranks",
    "config",
    "config_file",
    "data_config",
    "results",
    "run_folder",
    "plots",
    "compare",
    "composition",
    "overrides",
    "launch",
    "slurm",
    "gpus",
    "clusters",
    "check",
}
"""Modules that must come without torch, so that help, refusals and comparisons answer at once."""


def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        if path.name != "__init__.py":
            found[".".join(["imdb_lightning", *path.relative_to(PACKAGE).with_suffix("").parts])] = path
    return found


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("imdb_lightning"):
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names & set(modules())


def test_every_module_has_a_level() -> None:
    assert set(modules()) == set(LEVEL_OF)


def test_imports_go_down_only() -> None:
    upward = [
        f"{name} imports {imported}"
        for name, path in modules().items()
        for imported in imports_of(path)
        if LEVEL_OF[imported] > LEVEL_OF[name]
    ]
    assert not upward


def test_package_and_plain_modules_import_no_torch() -> None:
    names = ["imdb_lightning", *(f"imdb_lightning.{name}" for name in sorted(PLAIN)), "imdb_lightning.__main__"]
    program = f"import importlib, sys; [importlib.import_module(n) for n in {names}]; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_public_names_are_found_when_asked_for() -> None:
    from imdb_lightning.data.datamodule import IMDBDataModule
    from imdb_lightning.model.module import SentimentClassifier

    assert imdb_lightning.IMDBDataModule is IMDBDataModule
    assert imdb_lightning.SentimentClassifier is SentimentClassifier
