"""The progress bar: on a terminal only, below whole lines of the log, and a user's own instead of ours."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import CACHE, Command

SMALL = [
    "data=synthetic", "data.reviews=2000", "data.validation_size=500", "data.test_size=200", "data.batch_size=8",
    "trainer.max_epochs=2",
]  # fmt: skip


@pytest.mark.slow
def test_bar_on_a_terminal_leaves_the_lines_of_the_log_whole(cache: Path, tmp_path: Path) -> None:
    leader, follower = os.openpty()
    rows, columns = 40, 80
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    command = [sys.executable, "-m", "imdb_lightning", *SMALL]
    environment = os.environ | {CACHE: str(cache), "TERM": "xterm"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=follower)
    os.close(follower)
    shown = b""
    with suppress(OSError):  # How a terminal ends whose last process has gone.
        while content := os.read(leader, 1 << 16):
            shown += content
    os.close(leader)
    assert process.wait() == 0
    text = shown.decode()
    assert "━" in text
    # At the beginning of a line or after the control sequences that clear it, and to its end.
    assert re.findall(r"(?:\n|\x1b\[\w+)epoch  (\d)/2  loss .*  val .*  accuracy .*  val .* s\r\n", text) == ["1", "2"]


@pytest.mark.slow
def test_own_bar_takes_the_place_of_ours(command: Command, tmp_path: Path) -> None:
    bar = "callbacks.extra.bar._target_=pytorch_lightning.callbacks.TQDMProgressBar"
    answer = command(tmp_path, *SMALL, bar)
    assert answer.returncode == 0, answer.stderr
    assert "Epoch 1: 100%" in answer.stdout + answer.stderr
