"""Signals that ask a run to stop: Ctrl-C, a scheduler's warning, a preemption.

Outside training they end the run at once. In training a handler only takes a note, since neither saving nor talking to
other processes is safe inside one; the checkpoint callback looks at the note after each step.
"""

import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
# A scheduler announces with these that the job will be requeued; Slurm sends a SIGTERM besides, before or after.
PREEMPTION_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)


class Interrupted(BaseException):
    """A signal, of number `signum`, asked a run to stop, and it has stopped."""

    self_explanatory = True  # As in `UserError`.

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum

    def __str__(self) -> str:
        return signal.Signals(self.signum).name


class SignalWatch:
    """Takes note of signals while its body runs.

    Only a second Ctrl-C ends a run at once: schedulers repeat themselves, and reach each process of a job both
    directly and through its parent.
    """

    def __init__(self) -> None:
        self.received = 0  # The signal that came, one of `PREEMPTION_SIGNALS` before others; 0: none.
        self.deferring = False  # Whether signals are only noted.
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "SignalWatch":
        # Python lets only the main thread set handlers; in another one, the caller's handlers stay.
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.getsignal(signum) for signum in SIGNALS}
            self.install()
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def install(self) -> None:
        """Sets the handlers; again where a library has set its own since."""
        for signum in self._before:
            signal.signal(signum, self._note)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        first = not self.received
        if first or signum in PREEMPTION_SIGNALS:
            self.received = signum
        self.react(signum, first)

    def react(self, signum: int, first: bool) -> None:
        """Ends the run where there is nothing to save, or at a second Ctrl-C; `first`: no signal came before."""
        if not self.deferring or (signum == signal.SIGINT and not first):
            raise Interrupted(signum)


def leave(interrupted: Interrupted) -> NoReturn:
    """Ends the process as the signal asks: by the handler from before the run, or with status 128 + signal."""
    handler = signal.getsignal(interrupted.signum)
    # A launcher such as submitit has a handler of its own, which asks the scheduler to run the job again.
    if callable(handler) and handler is not signal.default_int_handler:
        signal.raise_signal(interrupted.signum)
    sys.exit(128 + interrupted.signum)
