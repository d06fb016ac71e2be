"""A record of what this process connects to and which files it writes, from Python's audit events."""

import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

Arguments = tuple[object, ...]
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_listeners: list[Callable[[str, Arguments], None]] = []


def _listen(event: str, arguments: Arguments) -> None:
    for listener in _listeners:
        listener(event, arguments)


sys.addaudithook(_listen)  # it cannot be taken away again; without listeners it does nothing


@contextmanager
def recorded_connections() -> Iterator[list[Arguments]]:
    """Gives the addresses that were connected to while the block runs, or were tried to."""
    record: list[Arguments] = []

    def listen(event: str, arguments: Arguments) -> None:
        if event == "socket.connect":
            record.append(arguments[1] if isinstance(arguments[1], tuple) else (arguments[1],))

    with _listening(listen):
        yield record


@contextmanager
def recorded_events(names: Collection[str]) -> Iterator[list[str]]:
    """Gives the events of these names, each with its arguments, that happen while the block runs."""
    record: list[str] = []

    def listen(event: str, arguments: Arguments) -> None:
        if event in names:
            record.append(f"{event} {arguments!r:.200}")

    with _listening(listen):
        yield record


@contextmanager
def recorded_writes() -> Iterator[set[Path]]:
    """Gives the files that were opened for writing, created, renamed to or removed while the block runs."""
    record: set[Path] = set()

    def listen(event: str, arguments: Arguments) -> None:
        if event not in ("open", "os.rename", "os.remove", "os.mkdir"):
            return
        is_read = event == "open" and not (isinstance(arguments[2], int) and arguments[2] & _WRITING)
        path = arguments[1] if event == "os.rename" else arguments[0]
        if isinstance(path, str | bytes | os.PathLike) and not is_read:
            record.add(Path(os.fsdecode(path)))

    with _listening(listen):
        yield record


@contextmanager
def _listening(listener: Callable[[str, Arguments], None]) -> Iterator[None]:
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
