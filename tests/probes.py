"""Probes of a server: one request each, written byte by byte, and what has to be answered. Imports no pytest.

Nothing between the probe and the wire corrects a header, a path or a length that is wrong on purpose.
"""

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http import HTTPStatus

PATIENCE_S = 30.0
NUM_HALF_OPEN = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    """0 where the connection ended without an answer."""
    text: str
    """Headers and body."""
    after_s: float
    """When it began."""


@dataclass(frozen=True, slots=True)
class Door:
    """A server that is probed, and what opens it."""

    port: int
    key: Mapping[str, str]
    """Headers of one who may come in."""

    @property
    def host(self) -> str:
        """Its right name."""
        return f"127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class Probe:
    """One request, and the statuses of which one has to be the answer."""

    kind: str
    name: str
    ask: Callable[[Door], Answer]
    statuses: Sequence[int]
    within_s: float = 15.0
    never: Sequence[str] = ("root:x:0:0", "Traceback (most recent call last)")
    """What no answer may hold."""

    def complaint(self, answer: Answer) -> str | None:
        """Returns what is wrong with an answer."""
        if answer.status not in self.statuses:
            return f"{answer.status}, expected {' or '.join(map(str, self.statuses))}"
        if answer.after_s > self.within_s:
            return f"after {answer.after_s:.1f} s, expected within {self.within_s:g} s"
        return next((f"its answer holds {word!r}" for word in self.never if word in answer.text), None)


def request(
    method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"", *, with_key: bool = True
) -> Callable[[Door], Answer]:
    """Returns what sends one whole request. A header that is given replaces the right one; None in its place: none."""

    def ask(door: Door) -> Answer:
        right = {"Host": door.host, "Connection": "close"} | (dict(door.key) if with_key else {})
        length = {"Content-Length": str(len(body)), "Content-Type": "application/json"} if body else {}
        told = right | length | {name: text.format(port=door.port) for name, text in (headers or {}).items()}
        return exchange(door, head(method, path, told) + body)

    return ask


def head(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    """Returns the bytes of a request before its body; a header without a value is left out."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def exchange(door: Door, content: bytes, *, then: Sequence[tuple[float, bytes]] = ()) -> Answer:
    """Sends bytes, then more of them after pauses, until an answer comes."""
    started, after_s = time.monotonic(), 0.0
    with socket.create_connection(("127.0.0.1", door.port), PATIENCE_S) as stream:
        received = b""
        with suppress(OSError):  # the server hung up before it had heard all: its answer may lie here unread
            stream.sendall(content)
            for pause_s, piece in then:
                if received := _what_comes_within(stream, pause_s):
                    break
                stream.sendall(piece)
        with suppress(OSError):  # what came before the end counts
            stream.settimeout(PATIENCE_S)
            received = received or stream.recv(65536)
            after_s = time.monotonic() - started
            while piece := stream.recv(65536):
                received += piece
    words = received.split(b" ", 2)
    status = int(words[1]) if received.startswith(b"HTTP/1.") and len(words) > 1 else 0
    return Answer(status, received.decode("latin-1"), after_s)


def slow_body(path: str, *, with_key: bool) -> Callable[[Door], Answer]:
    """Returns what announces a body and sends a byte of it every half second."""

    def ask(door: Door) -> Answer:
        told = {"Host": door.host, "Content-Length": "1000", **(door.key if with_key else {})}
        return exchange(door, head("POST", path, told), then=[(0.5, b"x")] * 60)

    return ask


def while_half_open(ask: Callable[[Door], Answer]) -> Callable[[Door], Answer]:
    """Returns what asks while a hundred others have sent half of a request and no more."""

    def both(door: Door) -> Answer:
        with ExitStack() as held:
            for _ in range(NUM_HALF_OPEN):
                stream = held.enter_context(socket.create_connection(("127.0.0.1", door.port), PATIENCE_S))
                stream.sendall(b"POST /api/x HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
            return ask(door)

    return both


def websocket(path: str, *, with_key: bool, protocol: str = "", says: str | None = None) -> Callable[[Door], Answer]:
    """Returns what asks for a websocket and, once it is open, says something.

    The status of the answer is that of the handshake, or the code with which an open socket was closed.
    """
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": protocol,
    }

    def ask(door: Door) -> Answer:
        started = time.monotonic()
        asked = head("GET", path, {"Host": door.host, **(door.key if with_key else {}), **upgrade})
        with socket.create_connection(("127.0.0.1", door.port), PATIENCE_S) as stream:
            stream.sendall(asked)
            answer = stream.recv(65536)
            status = int(answer.split(b" ", 2)[1])
            if status == HTTPStatus.SWITCHING_PROTOCOLS and says is not None:
                stream.sendall(_masked(says))
                while piece := stream.recv(65536):
                    answer += piece
                status = _close_code(answer.partition(b"\r\n\r\n")[2])
        return Answer(status, answer.decode("latin-1"), time.monotonic() - started)

    return ask


def run_probes(probes: Sequence[Probe], door: Door) -> list[tuple[Probe, Answer]]:
    """Probes a server, some probes at a time."""
    with ThreadPoolExecutor(8) as pool:
        return list(zip(probes, pool.map(lambda probe: probe.ask(door), probes), strict=True))


def table(results: Sequence[tuple[Probe, Answer]]) -> str:
    """Returns a line for each probe."""
    return "\n".join(
        f"{probe.kind:<15} {probe.name:<58} {answer.status:>3} {answer.after_s:6.2f} s  "
        f"{probe.complaint(answer) or 'ok'}"
        for probe, answer in results
    )


def _what_comes_within(stream: socket.socket, pause_s: float) -> bytes:
    stream.settimeout(pause_s)
    try:
        return stream.recv(65536)
    except TimeoutError:
        return b""


def _masked(text: str) -> bytes:
    """A text frame of a client, its mask all zero; for short texts."""
    content = text.encode()
    assert len(content) < 126
    return bytes([0x81, 0x80 | len(content), 0, 0, 0, 0]) + content


def _close_code(frames: bytes) -> int:
    """The code of a server's closing frame, 101 where there is none, 200 where anything else was said before."""
    if frames[:1] != b"\x88":
        return HTTPStatus.OK if frames else HTTPStatus.SWITCHING_PROTOCOLS
    return int.from_bytes(frames[2:4], "big")
