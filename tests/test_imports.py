"""The house: seven rooms, and imports in one direction."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import imdb_lightning

PACKAGE = Path(imdb_lightning.__file__).parent
ROOMS = ["root", "launch", "training", "inference", "data model runs", "config"]
"""From left to right: a room imports from itself and from those to its right; those in one place not from another."""
PLAIN = ["launch", "runs", "config", "__main__", "check", "compare", "worker"]
"""Rooms and commands that come without torch, so that help, refusals and comparisons answer at once."""
NEED_EXTRAS = ["launch.submitit_launcher", "launch.optuna_sweeper", "launch.search_space", "launch.study"]
"""What in them needs the plug-in of an extra, which may bring torch or not be there."""


def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = ["imdb_lightning", *path.relative_to(PACKAGE).with_suffix("").parts]
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def room_of(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 2 or (PACKAGE / parts[-1]).is_dir() else "root"


def place_of(room: str) -> int:
    return next(place for place, rooms in enumerate(ROOMS) if room in rooms.split())


def imports_of(path: Path) -> set[str]:
    """All modules of ours that a file imports, in functions, too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names & modules().keys() - {"imdb_lightning"}


def test_there_are_seven_rooms_below_the_root() -> None:
    folders = {path.parent.name for path in modules().values()} - {PACKAGE.name}
    assert folders == {room for rooms in ROOMS[1:] for room in rooms.split()}


def test_no_room_imports_to_its_left() -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules().items()
        if name != "imdb_lightning"  # Which looks its public names up when they are asked for.
        for imported in imports_of(path)
        if room_of(imported) != room_of(name) and place_of(room_of(imported)) <= place_of(room_of(name))
    ]
    assert not wrong


def test_no_module_imports_itself_by_way_of_others() -> None:
    imports = {name: imports_of(path) for name, path in modules().items()}

    def reached(name: str, seen: frozenset[str]) -> frozenset[str]:
        for imported in imports[name] - seen:
            seen = reached(imported, seen | {imported})
        return seen

    assert not [name for name in imports if name in reached(name, frozenset())]


def test_files_can_be_read_in_one_go() -> None:
    lines = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert not {name: count for name, count in lines.items() if count > 250}
    assert not {name: count for name, count in lines.items() if room_of(name) == "root" and count >= 70}


def test_plain_modules_import_no_torch() -> None:
    names = [name for name in modules() if {room_of(name), name.rpartition(".")[2]} & set(PLAIN)]
    names = [name for name in names if name.removeprefix("imdb_lightning.") not in NEED_EXTRAS]
    program = f"import importlib, sys; [importlib.import_module(n) for n in {names}]; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_public_names_are_found_when_asked_for() -> None:
    from imdb_lightning.data.datamodule import IMDBDataModule
    from imdb_lightning.model.module import SentimentClassifier

    assert imdb_lightning.IMDBDataModule is IMDBDataModule
    assert imdb_lightning.SentimentClassifier is SentimentClassifier
