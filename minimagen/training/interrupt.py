"""Being told to stop: the first SIGTERM or SIGINT is remembered, later ones are ignored, so that a save is never torn.

What can be given up without loss is given up at once, so that a signal is never kept waiting by a long measurement.

A group signal, a dying parent and a forwarding parent deliver two or three signals for one wish. Knows no training.
"""

import ctypes
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1


class Stopped(SystemExit):
    """A signal came while something was done that can be given up; the code is that of ``Interrupt``."""


class Interrupt:
    """Within its ``with`` block, SIGTERM and SIGINT set ``exit_code`` instead of ending the process.

    Only the main thread can enter it. Handlers are put back on leaving, unless a signal came: then both signals stay
    ignored until the process ends, because it is on its way out.
    """

    def __init__(self) -> None:
        self.exit_code: int | None = None
        """128 + signal number once one came (143 for SIGTERM, 130 for SIGINT), else None."""
        self._previous: dict[signal.Signals, object] = {}
        self._is_raising = False

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within the block a signal, or one that came before it, ends the block, between any two instructions of it:
        nothing may be written in it, and nothing changed that is saved later.

        Raises:
            Stopped: a signal came.
        """
        self._is_raising = True
        try:
            if self.exit_code is not None:
                raise Stopped(self.exit_code)
            yield
        finally:
            self._is_raising = False

    def __enter__(self) -> "Interrupt":
        self._previous = {number: signal.signal(number, self._remember) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        if self.exit_code is None:
            for number, handler in self._previous.items():
                signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _remember(self, number: int, _: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        self.exit_code = 128 + number
        logger.warning("%s: finishing the step, then saving", signal.Signals(number).name)
        if self._is_raising:
            raise Stopped(self.exit_code)


def die_with_parent() -> None:
    """Asks the kernel to send this process SIGTERM when its parent dies: a killed ``dvc`` leaves its stage running.

    Linux only; elsewhere nothing happens.

    Raises:
        OSError: the kernel refused.
    """
    if os.uname().sysname != "Linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
