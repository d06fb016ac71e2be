"""The doors of a server that is for this machine alone: names it answers to, how much and how slowly it may be told.

A wrapper around any ASGI application. Knows no route.
"""

import asyncio
import logging

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
MAX_HEAD_BYTES = 16 * 1024
"""What comes at once; uvicorn, which has a limit for what comes in pieces, is given the same."""
MAX_BODY_BYTES = 64 * 1024
BODY_TIMEOUT_S = 10.0
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class BodyError(RuntimeError):
    """A body that is not read to its end; the connection is closed after the answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def refusal(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Returns the answer to what is not done: a reason, and nothing of the program."""
    return JSONResponse({"error": reason}, status, headers)


async def read_body(request: Request) -> bytes:
    """Reads a JSON body within the limits of size and time.

    Raises:
        BodyError: it is no JSON, too large, too slow, or was cut off.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise BodyError(415, "expected content-type: application/json")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise BodyError(413, f"a body has at most {MAX_BODY_BYTES} bytes")
    except TimeoutError:
        raise BodyError(408, f"the body did not arrive within {BODY_TIMEOUT_S:g} s") from None
    except ClientDisconnect:
        raise BodyError(400, "the body was cut off") from None
    return bytes(body)


class Doors:
    """Answers to its own names only, refuses pages of others, and keeps what fails in the log."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        """``port``: what it listens on, which is a part of its names."""
        self._app = app
        self._hosts = {f"{name}:{port}" for name in (HOST, "localhost")}
        self._origins = {f"http://{host}" for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request in, or answers that it may not."""
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        problem = self._problem(scope)
        if problem is not None:
            await problem(scope, receive, send_with_headers)
            return
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            logger.exception("a request failed")
            raise

    def _problem(self, scope: Scope) -> JSONResponse | None:
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEAD_BYTES:
            return refusal(400, f"headers have at most {MAX_HEAD_BYTES} bytes", {"connection": "close"})
        sent: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            sent.setdefault(name, []).append(value.decode("latin-1"))
        hosts, origins = sent.get(b"host", []), sent.get(b"origin", [])
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return refusal(403, f"not a name of this server: expected Host {' or '.join(sorted(self._hosts))}")
        if any(origin not in self._origins for origin in origins):
            return refusal(403, "pages of other origins may not ask this server")
        lengths = sent.get(b"content-length", [])
        if any(not length.isdigit() or int(length) > MAX_BODY_BYTES for length in lengths):
            return refusal(413, f"a body has at most {MAX_BODY_BYTES} bytes", {"connection": "close"})
        return None
