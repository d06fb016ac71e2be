"""A door before a web application of this machine: who may come in, through what, and how much they may bring.

A layer of ASGI; knows no framework and not what is behind it. In this order a request is refused

    403   another name than ours in Host, an Origin that is not one of our pages, a way that is shut, any websocket
    401   without the token, as `Authorization: Bearer`, password of `Basic` or cookie; ?token= gives the cookie
    413   a body larger than allowed, as soon as that is known
    408   a body that does not arrive in time

so that a stranger is heard to no end and brings nothing in. `/health` alone needs no token.
"""

import asyncio
import base64
import binascii
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from minimagen.files import write_private

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN_FILE = Path("runs/mlflow/token")
"""What opens the pages; readable by its owner alone."""
HEALTH = "/health"
_NUM_TOKEN_BYTES = 24
_WELCOME = f"Open the address that `minimagen ui` printed: it carries the token, which is in {TOKEN_FILE} as well."


@dataclass(frozen=True, slots=True)
class HouseRules:
    """What the door asks for."""

    hosts: frozenset[str]
    """Values of the header Host, with port."""
    origins: frozenset[str]
    """Values of the header Origin."""
    token: str
    cookie: str
    """Name of the cookie; a browser keeps one jar for all ports of a host."""
    shut: frozenset[str]
    """Parts of a path, between slashes, behind which nothing is served."""
    body_bytes: int = 2_000_000
    """Largest body."""
    body_s: float = 5.0
    """Longest time in which a body has to arrive."""


class Refused(Exception):
    """An answer instead of what was asked for."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Doorkeeper:
    """An ASGI application that lets some requests through to another."""

    def __init__(self, inside: Application, rules: HouseRules) -> None:
        self._inside = inside
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one connection."""
        if scope["type"] == "lifespan":
            await self._inside(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _headers_of(scope)
        try:
            self._check_place(scope, headers)
            if self._is_entering(scope):
                await _reply(send, HTTPStatus.SEE_OTHER, b"", self._stamp())
                return
            if scope["path"] != HEALTH:
                self._check_token(headers)
            body = await _whole_body(headers, receive, self._rules)
        except Refused as refusal:
            await _reply(send, refusal.status, f"{refusal}\n".encode(), _challenge(refusal.status))
            return
        await self._inside(scope, _one_message(body, receive), send)

    def _check_place(self, scope: Scope, headers: Mapping[str, list[str]]) -> None:
        """Pages of others reach a server on loopback by a name of theirs, or tell whose they are."""
        hosts = headers.get("host", [])
        if len(hosts) != 1 or hosts[0] not in self._rules.hosts:
            raise Refused(HTTPStatus.FORBIDDEN, "another Host than this server's")
        if any(origin not in self._rules.origins for origin in headers.get("origin", [])):
            raise Refused(HTTPStatus.FORBIDDEN, "a page of another origin")
        if not self._rules.shut.isdisjoint(scope["path"].split("/")):
            raise Refused(HTTPStatus.FORBIDDEN, "not served here")

    def _is_entering(self, scope: Scope) -> bool:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        return scope["method"] == "GET" and scope["path"] == "/" and self._is_token(*query.get("token", [""])[:1])

    def _stamp(self) -> dict[str, str]:
        cookie = f"{self._rules.cookie}={self._rules.token}; Path=/; HttpOnly; SameSite=Lax"
        return {"location": "/", "set-cookie": cookie, "referrer-policy": "no-referrer", "cache-control": "no-store"}

    def _check_token(self, headers: Mapping[str, list[str]]) -> None:
        told = [*map(_token_in, headers.get("authorization", [])), *self._tokens_in(headers.get("cookie", []))]
        if not any(self._is_token(token) for token in told):
            raise Refused(HTTPStatus.UNAUTHORIZED, _WELCOME)

    def _tokens_in(self, cookies: list[str]) -> list[str]:
        try:
            jar = SimpleCookie("; ".join(cookies))
        except CookieError:
            return []
        return [jar[self._rules.cookie].value] if self._rules.cookie in jar else []

    def _is_token(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._rules.token.encode())


def open_token(root: Path) -> str:
    """Returns the token of a project's pages; it is made at the first call and readable by its owner alone."""
    path = root / TOKEN_FILE
    if not path.exists():
        write_private(path, f"{secrets.token_urlsafe(_NUM_TOKEN_BYTES)}\n")
    return path.read_text().strip()


def _headers_of(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _token_in(authorization: str) -> str:
    kind, _, value = authorization.partition(" ")
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode("latin-1").partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return value if kind.lower() == "bearer" else ""


async def _whole_body(headers: Mapping[str, list[str]], receive: Receive, rules: HouseRules) -> bytes:
    lengths = headers.get("content-length", ["0"])
    if not lengths[0].isdigit() or int(lengths[0]) > rules.body_bytes:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {rules.body_bytes} bytes")
    body = bytearray()
    try:
        async with asyncio.timeout(rules.body_s):
            while True:
                message = await receive()
                body += message.get("body", b"")
                if len(body) > rules.body_bytes:
                    raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {rules.body_bytes} bytes")
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError as error:
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, f"the body took more than {rules.body_s:g} s") from error


def _one_message(body: bytes, receive: Receive) -> Receive:
    """Gives the body that has arrived, and after it whatever comes: the end of the connection."""
    is_given = False

    async def receive_whole() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_whole


def _challenge(status: HTTPStatus) -> dict[str, str]:
    """What a refused client needs to know; the connection ends, or an unread body would be read as a request."""
    return {"connection": "close"} | ({"www-authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else {})


async def _reply(send: Send, status: HTTPStatus, body: bytes, headers: Mapping[str, str]) -> None:
    told = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body)), **headers}
    told |= {"x-content-type-options": "nosniff"}
    lines = [(name.encode(), value.encode()) for name, value in told.items()]
    await send({"type": "http.response.start", "status": int(status), "headers": lines})
    await send({"type": "http.response.body", "body": body})
