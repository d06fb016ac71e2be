"""A disk that counts, tears, refuses or ends the process: the functions of ``os`` that change it, intercepted.

What is written through ``minimagen.files`` makes every change by one of these calls. Knows nothing of what is written.
"""

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, NoReturn
from unittest.mock import patch

NAMES = ("open", "write", "fsync", "mkdir", "rename", "replace", "unlink", "remove", "rmdir", "ftruncate")
REFUSALS = (errno.EIO, errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Call:
    """One call that changes a disk."""

    number: int
    """From 0, since the interception began."""
    name: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    real: Callable[..., Any]

    def run(self) -> Any:
        """Does it."""
        return self.real(*self.arguments, **self.keywords)

    def tear(self) -> None:
        """Does half of it, where it is a write."""
        if self.name == "write":
            descriptor, content = self.arguments
            self.real(descriptor, bytes(content)[: len(content) // 2])


Handler = Callable[[Call], Any]


@contextmanager
def intercepted(handler: Handler) -> Iterator[None]:
    """Hands every call within the block to ``handler``, which runs it or not."""
    numbers = count()

    def replaced(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **keywords: handler(Call(next(numbers), name, arguments, keywords, real))

    with ExitStack() as patches:
        for name in NAMES:
            patches.enter_context(patch.object(os, name, replaced(name, getattr(os, name))))
        yield


def listed(calls: list[str]) -> Handler:
    """Returns a handler that runs every call and lists its name."""

    def handle(call: Call) -> Any:
        calls.append(call.name)
        return call.run()

    return handle


def dying(at: int, *, is_torn: bool) -> Handler:
    """Returns a handler that kills this process before call ``at``, or in the middle of it if it is a write."""

    def handle(call: Call) -> Any:
        if call.number == at:
            if is_torn:
                call.tear()
            os.kill(os.getpid(), signal.SIGKILL)
        return call.run()

    return handle


def refusing(code: int, start: int, end: int | None = None) -> Handler:
    """Returns a handler that refuses the calls from ``start`` to before ``end``; a refused write is half done."""

    def handle(call: Call) -> Any:
        if call.number < start or (end is not None and call.number >= end):
            return call.run()
        call.tear()
        refuse(code)

    return handle


def refuse(code: int) -> NoReturn:
    """Raises what the system raises for an error number."""
    raise OSError(code, os.strerror(code))
