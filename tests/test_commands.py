"""What all commands share: Ctrl-C and a full disk are one line, and any text can be printed in any locale."""

from __future__ import annotations

import csv
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import CACHE, Command

SMALL = [
    "data=synthetic", "data.reviews=1500", "data.validation_size=500", "data.test_size=400", "data.num_words=500",
    "data.batch_size=100", "trainer.max_epochs=1",
]  # fmt: skip
# Sends this process a SIGINT, as a terminal does, when it begins to import a module.
INTERRUPTED = """
import os, signal, sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == os.environ["INTERRUPTED_IMPORT"]:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Finder)
"""
# As where Python cannot tell what the terminal shows, and so takes it to show ASCII alone.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}


@pytest.mark.parametrize(
    ("module", "arguments", "imported"),
    [
        ("imdb_lightning", [], "hydra"),
        ("imdb_lightning", [], "hydra._internal.logging_config"),  # As Hydra makes a job ready.
        ("imdb_lightning", [*SMALL, "hydra.run.dir=run"], "torch"),
        ("imdb_lightning", [*SMALL, "hydra.run.dir=run"], "pytorch_lightning"),
        ("imdb_lightning.check", [], "omegaconf"),
        ("imdb_lightning.compare", ["logs"], "rich"),
        ("imdb_lightning.evaluate", ["logs/run"], "torch"),
        ("imdb_lightning.export", ["logs/run"], "torch"),
        ("imdb_lightning.predict", ["logs/run"], "torch"),
    ],
)
def test_ctrl_c_while_modules_are_imported(
    module: str, arguments: list[str], imported: str, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED)
    variables = {"PYTHONPATH": str(tmp_path), "INTERRUPTED_IMPORT": imported}
    answer = command(tmp_path, *arguments, module=module, **variables)
    assert (answer.returncode, answer.stdout) == (130, "")
    first, *goes_on = answer.stderr.splitlines()
    assert first == "Interrupted by SIGINT."
    # A run that has a folder says how to go on in it.
    expected = shlex.join(["-m", "imdb_lightning", *arguments]) if arguments[1:] else ""
    assert (goes_on[0], goes_on[1].endswith(expected)) == ("This goes on:", True) if expected else not goes_on


@pytest.mark.slow
def test_sweep_where_only_ascii_can_be_shown(command: Command, tmp_path: Path) -> None:
    answer = command(tmp_path, "-m", *SMALL, "seed=0,1", "hydra.sweep.dir=sweep", **ASCII)
    assert answer.returncode == 0, answer.stderr
    assert r"mean \xb1 standard deviation" in answer.stdout
    assert " ± " in (tmp_path / "sweep" / "comparison.md").read_text(encoding="utf-8")
    (log,) = tmp_path.glob("sweep/0_*/train.log")
    assert "│ test" in log.read_text(encoding="utf-8")


@pytest.mark.slow
def test_answers_where_only_ascii_can_be_shown(
    trained: Path, labelled_csv: Path, command: Command, tmp_path: Path
) -> None:
    asked = [str(trained), "--text", "schön"]
    answer = command(tmp_path, *asked, module="imdb_lightning.predict", **ASCII)
    assert answer.returncode == 0, answer.stderr
    assert r"sch\xf6n,positive" in answer.stdout.replace("negative", "positive")
    command(tmp_path, *asked, "--output", "answers.csv", module="imdb_lightning.predict", **ASCII)
    assert next(csv.reader((tmp_path / "answers.csv").read_text(encoding="utf-8").splitlines()[1:]))[0] == "schön"
    arguments = [str(trained), "--data", str(labelled_csv), "--output", "test", "--wrong", "100"]
    answer = command(tmp_path, *arguments, module="imdb_lightning.evaluate", **ASCII)
    assert answer.returncode == 0, answer.stderr
    assert r"na\xefve" in answer.stdout
    assert "naïve" in (tmp_path / "test" / "evaluation.json").read_text(encoding="utf-8")


@pytest.mark.slow
def test_reviews_cannot_steer_a_terminal_and_stay_raw_in_files(trained: Path, cache: Path, tmp_path: Path) -> None:
    text = "good \x1b]0;title\x07\x9b2J \u202e film"
    asked = [sys.executable, "-m", "imdb_lightning.predict", str(trained), "--text", text]
    for form in ("csv", "jsonl"):
        for options in ([], ["--explain"]):
            terminal, end = pty.openpty()
            answer = subprocess.run(
                [*asked, f"--format={form}", *options], stdout=end, stderr=subprocess.PIPE, cwd=tmp_path, check=False
            )
            os.close(end)
            shown = os.read(terminal, 100_000).decode()
            os.close(terminal)
            assert answer.returncode == 0, answer.stderr
            shown = re.sub(r"\x1b\[[0-9;]*m", "", shown)  # Colors are ours.
            assert shown.replace("\r\n", "").isprintable()
            if not options:
                assert r"\x1b]0;title" in shown or r"\u001b]0;title" in shown
    answer = subprocess.run(asked, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert text in answer.stdout


@pytest.mark.parametrize(
    ("module", "arguments", "subject"),
    [
        ("imdb_lightning", [*SMALL, "hydra.run.dir=file/run"], "file/run"),  # Where Hydra cannot make the folder.
        ("imdb_lightning.compare", ["run", "--output", "file/table"], "file/table"),
        ("imdb_lightning.predict", ["run", "--text", "good", "--output", "file/answers"], "file/answers"),
    ],
)
def test_what_the_system_refuses_is_one_message(
    module: str, arguments: list[str], subject: str, trained: Path, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    if module != "imdb_lightning":
        (tmp_path / "run").symlink_to(trained)
    answer = command(tmp_path, *arguments, module=module)
    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 1
    assert f"{subject}: expected" in answer.stderr


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.distributed)])
def test_too_little_memory_is_one_message(processes: int, cache: Path, tmp_path: Path) -> None:
    network = ["model.hidden_units=[20000000]", f"trainer.devices={processes}", "hydra.run.dir=run"]
    line = shlex.join([sys.executable, "-m", "imdb_lightning", *SMALL, *network])
    limited = ["bash", "-c", f"ulimit -v {16 << 20}; exec {line}"]  # Of 16 GiB the weights would take 37.
    environment = os.environ | {CACHE: str(cache)}
    answer = subprocess.run(limited, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    (message,) = [text for text in answer.stderr.splitlines() if "expected" in text]
    assert message.startswith("memory: expected as much memory as this takes, but got too little (")
    assert "Traceback" not in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_full_standard_output_is_one_message(trained: Path) -> None:
    program = [sys.executable, "-m", "imdb_lightning.predict", str(trained), "--text", "good"]
    with Path("/dev/full").open("w") as full:
        answer = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert answer.returncode == 2
    assert answer.stderr.startswith("standard output: expected room on the disk, but got disk full: No space left")
    assert len(answer.stderr.splitlines()) == 1
