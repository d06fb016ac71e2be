"""A loopback server that answers as broken, slow and hostile servers do, one behaviour for each first part of a path.

Paths are /<behaviour>/<kind>/<phase>/<item>. The phase says which requests are answered badly: "first" the first one,
"middle" one in the course of things, "always" all. All others are answered as they should be.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from minimagen.sources.clock import Clock

KINDS = ("json", "tsv", "image")
PHASES = ("first", "middle", "always")
ITEMS = ("0", "1", "2")
"""What is asked for in the phase "middle": the fault is in the second."""
ETAG = '"version-1"'
GOOD: Mapping[str, bytes] = {
    "json": b'{"results": [' + b", ".join(b'{"id": %d}' % number for number in range(400)) + b"]}",
    "tsv": b"".join(b"caption number %05d\thttp://host.example/%05d.jpg\n" % (row, row) for row in range(500)),
    "image": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20,
}
TYPES = {"json": "application/json", "tsv": "text/tab-separated-values", "image": "image/png"}


_TLS = b"\x16"
"""The first byte of one who wants to speak TLS."""
_GONE = (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError)
"""What ends a connection: the client, nonsense of it, or the end of the server."""


@dataclass(slots=True)
class Talk:
    """One request, and the connection to answer it on."""

    site: "FaultySite"
    writer: asyncio.StreamWriter
    kind: str
    path: str
    hop: int | None
    """How many redirects led here; None for a request of the client's own."""
    headers: Mapping[str, str]
    """Names in lower case."""
    num_before: int
    """Requests on the same connection before this one."""

    @property
    def body(self) -> bytes:
        """What a good answer holds."""
        return GOOD[self.kind]

    async def send(self, *pieces: bytes) -> None:
        """Sends bytes as they are."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(
        self, status: int = 200, body: bytes | None = None, headers: Sequence[tuple[str, str]] | None = None
    ) -> None:
        """Sends a well-formed answer; ``headers`` replaces type and length."""
        body = self.body if body is None else body
        headers = (
            [("Content-Type", TYPES[self.kind]), ("Content-Length", str(len(body)))] if headers is None else headers
        )
        await self.send(head(status, *headers) + body)

    def hang_up(self) -> None:
        """Ends the connection in an orderly way once all is sent."""
        self.writer.close()

    def reset(self) -> None:
        """Ends the connection as a crashed server does."""
        connection: socket.socket = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Behaviour = Callable[[Talk], Awaitable[None]]


def head(status: int, *headers: tuple[str, str]) -> bytes:
    """Returns a status line with headers and the empty line after them."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers)]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


def is_bad(kind: str, phase: str, item: str, num_before: int) -> bool:
    """Returns whether a request is answered badly, after ``num_before`` for the same item."""
    if phase != "middle":
        return phase == "always" or num_before == 0
    return num_before == 1 if kind == "tsv" else item == "1" and num_before == 0


async def answer_well(talk: Talk) -> None:
    """Answers as a good server: with ranges of the table, which has an ETag."""
    if talk.kind != "tsv":
        await talk.answer()
        return
    start, match = 0, talk.headers.get("range", "").removeprefix("bytes=")
    if match and talk.headers.get("if-range") == ETAG:
        start = int(match.partition("-")[0])
    size, part = len(talk.body), talk.body[start:]
    headers = [("Content-Type", TYPES["tsv"]), ("Content-Length", str(len(part))), ("ETag", ETAG)]
    if start:
        headers.append(("Content-Range", f"bytes {start}-{size - 1}/{size}"))
    await talk.answer(206 if start else 200, part, headers)


async def _send_half(talk: Talk) -> None:
    headers = [("Content-Type", TYPES[talk.kind]), ("Content-Length", str(len(talk.body))), ("ETag", ETAG)]
    await talk.send(head(200, *headers) + talk.body[: len(talk.body) // 2])
    talk.hang_up()


@dataclass(slots=True)
class FaultySite:
    """A running server."""

    behaviours: Mapping[str, Behaviour]
    clock: Clock
    """The clients' clock: what is said of times is said in it."""
    port: int = 0
    other_port: int = 0
    """Of a second server, another origin; it answers well."""
    late_ports: dict[str, int] = field(default_factory=dict)
    """Ports of their own for paths whose connections are not always accepted."""
    leaked: list[str] = field(default_factory=list)
    """Headers with a key that the other origin got."""
    counts: Counter[str] = field(default_factory=Counter)
    """Requests by path."""
    since: dict[str, float] = field(default_factory=dict)
    """When each path was first asked for, on the clock."""

    def address(self, path: str) -> str:
        """Returns the address of a path, with a name or over TLS where the behaviour is about that."""
        behaviour, kind, phase, item = path.strip("/").split("/")
        port = self.late_ports.get(path.rpartition("/")[0], self.port)
        if behaviour.startswith("dns_"):
            return f"http://{behaviour}-{kind}-{phase}-{item}.invalid:{port}{path}"
        is_good = phase == "middle" and kind != "tsv" and item != "1"
        return f"{'https' if behaviour == 'tls_on_plain' and not is_good else 'http'}://127.0.0.1:{port}{path}"

    @property
    def allowed(self) -> str:
        """What MINIMAGEN_ALLOWED_ADDRESSES has to be for a client to reach it."""
        return ",".join(f"127.0.0.1:{port}" for port in (self.port, self.other_port, *self.late_ports.values()))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers the requests of one connection."""
        number = 0
        with contextlib.suppress(*_GONE):
            while not writer.is_closing():
                if (start := await reader.readexactly(1)) == _TLS:
                    writer.write(head(400, ("Connection", "close")))
                    break
                request = (start + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                await self._answer(request, writer, number)
                number += 1
        writer.close()

    async def serve_other(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers well as another origin, and notes the keys that it should not have got."""
        with contextlib.suppress(*_GONE):
            request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.leaked += [
                line for line in request.split("\r\n") if line.lower().startswith(("authorization", "x-api"))
            ]
            await answer_well(self._talk(request, writer, 0))
        writer.close()

    async def _answer(self, request: str, writer: asyncio.StreamWriter, number: int) -> None:
        talk = self._talk(request, writer, number)
        name, kind, phase, item = talk.path.strip("/").split("/")
        count = self.counts[talk.path]
        self.since.setdefault(talk.path, self.clock.now())
        if talk.hop is None:
            self.counts[talk.path] += 1
        if phase == "middle" and kind == "tsv" and count == 0 and talk.hop is None:
            await _send_half(talk)
        elif talk.hop is not None or is_bad(kind, phase, item, count):
            await self.behaviours[name](talk)
        else:
            await answer_well(talk)

    def _talk(self, request: str, writer: asyncio.StreamWriter, number: int) -> Talk:
        first, *lines = request.removesuffix("\r\n\r\n").split("\r\n")
        target = urlsplit(first.split(" ")[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        hop = dict(parse_qsl(target.query)).get("hop")
        kind = target.path.split("/")[2]
        return Talk(self, writer, kind, target.path, None if hop is None else int(hop), headers, number)


@contextmanager
def running_faulty_site(behaviours: Mapping[str, Behaviour], clock: Clock, late: Sequence[str]) -> Iterator[FaultySite]:
    """Serves until the block ends.

    Args:
        late: beginnings of paths (without the item) that get a port of their own, accepted at only when it is time.
    """
    site, loop = FaultySite(behaviours, clock), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    servers = asyncio.run_coroutine_threadsafe(_start(site, late), loop).result()
    try:
        yield site
    finally:
        asyncio.run_coroutine_threadsafe(_stop(servers), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _start(site: FaultySite, late: Sequence[str]) -> list[asyncio.Server]:
    servers: list[asyncio.Server] = []
    for name, serve in (("port", site.serve), ("other_port", site.serve_other)):
        server = await asyncio.start_server(serve, "127.0.0.1", backlog=1024, limit=2**20)
        setattr(site, name, server.sockets[0].getsockname()[1])
        servers.append(server)
    for path in late:
        listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        listener.setblocking(False)
        site.late_ports[path] = listener.getsockname()[1]
        task = asyncio.ensure_future(_accept_late(site, path, listener))
        _LATE.add(task)
        task.add_done_callback(_LATE.discard)
    return servers


_LATE: set[asyncio.Future[None]] = set()
LATE_S = 1.5
"""How long connections are left waiting where the phase is not "always"."""


async def _accept_late(site: FaultySite, path: str, listener: socket.socket) -> None:
    """Accepts one connection at a time, all but those that the phase leaves waiting."""
    kind, phase = path.split("/")[2:]
    num_accepted, loop = 0, asyncio.get_running_loop()
    with contextlib.closing(listener):
        while phase != "always":
            if num_accepted == (0 if phase == "first" else 1):
                await asyncio.sleep(LATE_S)
            connection, _ = await loop.sock_accept(listener)
            num_accepted += 1
            await _serve_one(site, connection, kind, is_cut=phase == "middle" and kind == "tsv" and num_accepted == 1)
        await asyncio.Event().wait()


async def _serve_one(site: FaultySite, connection: socket.socket, kind: str, *, is_cut: bool) -> None:
    reader, writer = await asyncio.open_connection(sock=connection)
    with contextlib.suppress(*_GONE):
        request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        talk = site._talk(request, writer, 0)
        if is_cut:
            await _send_half(talk)
        else:
            await answer_well(talk)
    writer.close()


async def _stop(servers: Sequence[asyncio.Server]) -> None:
    for server in servers:
        server.close()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
