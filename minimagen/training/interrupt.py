"""Being told to stop: the first SIGTERM or SIGINT is remembered, later ones are ignored, so that a save is never torn.

A group signal, a dying parent and a forwarding parent deliver two or three signals for one wish. Knows no training.
"""

import ctypes
import logging
import os
import signal
from types import FrameType

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1


class Interrupt:
    """Within its ``with`` block, SIGTERM and SIGINT set ``exit_code`` instead of ending the process.

    Only the main thread can enter it. Handlers are put back on leaving, unless a signal came: then both signals stay
    ignored until the process ends, because it is on its way out.
    """

    def __init__(self) -> None:
        self.exit_code: int | None = None
        """128 + signal number once one came (143 for SIGTERM, 130 for SIGINT), else None."""
        self._previous: dict[signal.Signals, object] = {}

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
