"""What no test may do: reach beyond loopback, or write into the checkout. Watched through Python's audit events.

Processes that a test starts are watched as well, for the network: every Python reads ``offline/sitecustomize.py``.
"""

import ipaddress
import os
from collections.abc import MutableMapping
from pathlib import Path

_CACHES = frozenset({"__pycache__", ".pytest_cache", ".hypothesis", ".ruff_cache"})
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Where an event's path stands among its arguments, and the descriptor of the folder it is relative to (-1: the cwd).
_WRITERS = {"os.mkdir": ((0, 2),), "os.remove": ((0, 1),), "os.rmdir": ((0, 1),), "os.rename": ((0, 2), (1, 3))}
OFFLINE = Path(__file__).with_name("offline")
_LOOKUPS = frozenset({"socket.getaddrinfo", "socket.gethostbyname"})


class ForbiddenError(RuntimeError):
    """A test did what no test may do; the message says what."""


class Guard:
    """Refuses forbidden audit events, and remembers them for the case that the refusal is caught and swallowed."""

    def __init__(self, checkout: Path) -> None:
        """Guards ``checkout``, but for the caches that tools keep in it."""
        self._checkout = checkout.resolve()
        self.is_on = True
        self.refused: list[str] = []

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        """Refuses one audit event, or does nothing; the signature of ``sys.addaudithook``."""
        complaint = None
        if not self.is_on:
            return
        if event == "subprocess.Popen":
            _equip(arguments[3])
        elif event == "open":
            complaint = self._opened(arguments[0], arguments[2])
        elif event in _WRITERS:
            paths = [arguments[path] for path, folder in _WRITERS[event] if arguments[folder] == -1]
            complaint = next(filter(None, map(self._written, paths)), None)
        else:
            complaint = refusal_of_network(event, arguments)
        if complaint is not None:
            self.refused.append(f"{event}: {complaint}")
            raise ForbiddenError(f"{event}: {complaint}")

    def _opened(self, path: object, flags: object) -> str | None:
        return self._written(path) if isinstance(flags, int) and flags & _WRITE_FLAGS else None

    def _written(self, path: object) -> str | None:
        if not isinstance(path, str | bytes | os.PathLike):
            return None
        whole = Path(os.fsdecode(path)).resolve()
        if not whole.is_relative_to(self._checkout) or _CACHES.intersection(whole.parts):
            return None
        return f"{whole} is in the checkout; tests write into tmp_path"


def refusal_of_network(event: str, arguments: tuple[object, ...]) -> str | None:
    """Returns what is wrong with an audit event that reaches beyond loopback, None for any other."""
    if event in ("socket.connect", "socket.sendto"):
        return _beyond_loopback(arguments[1])
    return _beyond_loopback((arguments[0],)) if event in _LOOKUPS else None


def _equip(environment: object) -> None:
    """Makes a process that is about to be started read ours, also where a test gives it a PYTHONPATH of its own."""
    around = os.environ if environment is None else environment
    if isinstance(around, MutableMapping) and str(OFFLINE) not in around.get("PYTHONPATH", ""):
        around["PYTHONPATH"] = os.pathsep.join(filter(None, [around.get("PYTHONPATH"), str(OFFLINE)]))


def _beyond_loopback(address: object) -> str | None:
    if not isinstance(address, tuple) or address[0] in (None, "", b"", "localhost", b"localhost"):
        return None
    host = os.fsdecode(address[0])
    try:
        is_local = ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        is_local = False
    return None if is_local else f"{host} is not loopback; tests are offline"
