"""A loopback HTTP server that several simulated services share, each below its own paths, with a log of requests."""

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked."""

    method: str
    path: str
    """Still percent-encoded, without the query."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    base: str
    """"http://127.0.0.1:PORT" of the server that was asked, for answers that hold addresses."""


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered; Content-Length is added."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Service(Protocol):
    """One simulated service."""

    prefixes: Sequence[str]
    """Beginnings of the paths that it answers."""

    def answer(self, request: Request) -> Response:
        """Answers one request; is called from several threads."""
        ...


@dataclass(slots=True)
class Site:
    """A running server."""

    url: str
    requests: list[Request] = field(default_factory=list)
    """All requests, in the order of their arrival."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, as an allow-list names them."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None and parts.port is not None
        return (parts.hostname, parts.port)


@contextmanager
def running_site(*services: Service, port: int = 0) -> Iterator[Site]:
    """Serves the services on a loopback port, a free one by default, until the block ends."""
    handler = type("Handler", (_Handler,), {"services": services})
    server = _Server(("127.0.0.1", port), handler)
    site = Site(f"http://127.0.0.1:{server.server_port}")
    handler.site = site  # pyright: ignore[reportAttributeAccessIssue]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no matter of ours; anything else is told as usual."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # pyright: ignore[reportArgumentType]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes, and the second would wait for 40 ms
    services: Sequence[Service]
    site: Site

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        request = Request(
            method=self.command,
            path=parts.path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(length),
            base=self.site.url,
        )
        self.site.requests.append(request)
        service = next((one for one in self.services if parts.path.startswith(tuple(one.prefixes))), None)
        response = Response(404, b"no such service") if service is None else service.answer(request)
        self.send_response(response.status)
        for name, value in ({"Content-Length": str(len(response.body))} | dict(response.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    do_GET = do_HEAD = do_POST = _answer
