"""One request for one file over HTTP, and what came of it, within limits of time, rate and size.

Neither repeats nor follows anything: that is for the caller to decide. Connects only to addresses that
``check_address`` lets through, at the moment of connecting, so a name that changes its address gains nothing.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from minimagen.sources.addresses import Allowed, BlockedAddressError, check_address
from minimagen.sources.body import Body
from minimagen.sources.opt_out import opt_out
from minimagen.sources.outcomes import Refused
from minimagen.sources.resolver import ThreadResolver
from minimagen.sources.time_limits import TimeLimits, Watched
from minimagen.sources.user_agent import user_agent

_AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]]
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME), socket.EAI_FAIL})
_HEADERS = ("location", "retry-after", "x-robots-tag", "tdm-reservation")
_OUR_OWN = frozenset(
    {errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT}
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may take."""

    total_s: float
    idle_s: float
    """Without a byte."""
    connect_s: float = 5.0
    min_bytes_per_s: float = 1000.0
    """Of a body, in every window."""
    window_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Mapping[str, Sequence[str]]
    """All values of those that anyone asks for; names in lower case."""
    body: Body | None
    """As it was sent; None unless the status is 200."""

    def header(self, name: str) -> str | None:
        """Returns the first value of a header."""
        return next(iter(self.headers.get(name, ())), None)


@dataclass(frozen=True, slots=True)
class Trouble:
    """There was no whole answer, and the next try may have one."""

    reason: str
    detail: str
    is_ours: bool = False
    """This machine, its network or its disk, is the likely cause."""


class Asks(Protocol):
    """Makes requests."""

    async def get(self, url: URL, max_bytes: int, *, is_picture: bool) -> Answer | Refused | Trouble:
        """Asks once."""
        ...


class Exchange:
    """Makes requests; keeps connections open between them."""

    def __init__(
        self, limits: Limits, *, folder: Path, allowed: Allowed, resolver: AbstractResolver | None = None
    ) -> None:
        """Prepares; asks nothing.

        Args:
            folder: where long answers are while they are needed, in files without a name.
            resolver: of names; None is the system's.
        """
        self._limits, self._folder, self._allowed, self._resolver = limits, folder, allowed, resolver
        self._session: aiohttp.ClientSession | None = None
        self._time_limits = TimeLimits(limits.total_s, limits.idle_s)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        limits = self._limits
        self._folder.mkdir(parents=True, exist_ok=True)
        connector = aiohttp.TCPConnector(
            limit=0, ttl_dns_cache=300, resolver=self._resolver or ThreadResolver(), socket_factory=self._checked_socket
        )
        session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_s),
            headers={"User-Agent": user_agent(), "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        self._session = await self._stack.enter_async_context(session)
        await self._stack.enter_async_context(self._time_limits)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def get(self, url: URL, max_bytes: int, *, is_picture: bool) -> Answer | Refused | Trouble:
        """Asks once.

        Args:
            is_picture: stop if it is reserved, and at the first bytes if they are not those of a picture.
        """
        assert self._session is not None, "used as a context manager"
        try:
            with self._time_limits.request(silent_s=self._limits.connect_s) as watched:
                async with self._session.get(url, allow_redirects=False) as response:
                    return await self._answer(response, max_bytes, is_picture, watched)
        except TimeoutError as error:
            return Trouble("timeout", f"{type(error).__name__} {error}".strip())
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _trouble_of(error)

    async def _answer(
        self, response: aiohttp.ClientResponse, max_bytes: int, is_picture: bool, watched: Watched
    ) -> Answer | Refused:
        headers = {name: response.headers.getall(name, ()) for name in _HEADERS}
        body: Body | Refused | None = None
        reserved = opt_out(headers["x-robots-tag"], headers["tdm-reservation"])
        if response.status == 200 and is_picture and reserved is not None:
            body = Refused("opted_out", reserved)
        elif response.status == 200:
            body = await self._read(response, max_bytes, is_picture, watched)
        else:
            response.close()
        if isinstance(body, Refused):
            response.close()
            return body
        return Answer(response.status, headers, body)

    async def _read(
        self, response: aiohttp.ClientResponse, max_bytes: int, is_picture: bool, watched: Watched
    ) -> Body | Refused:
        if (response.content_length or 0) > max_bytes:
            return Refused("too_large", f"Content-Length {response.content_length}, at most {max_bytes} bytes expected")
        loop, body, is_sniffed = asyncio.get_running_loop(), Body(self._folder), not is_picture
        window_start, window_bytes = loop.time(), 0
        watched.heard_at = window_start
        async for chunk in response.content.iter_any():
            watched.heard_at = now = loop.time()
            body.add(chunk)
            window_bytes += len(chunk)
            if len(body) > max_bytes:
                return Refused("too_large", f"more than {max_bytes} bytes")
            if not is_sniffed and len(body) >= 12:
                is_sniffed = True
                if not begins_as_picture(body.start):
                    return Refused("not_an_image", f"begins with {body.start!r}")
            if (passed_s := now - window_start) >= self._limits.window_s:
                if window_bytes < passed_s * self._limits.min_bytes_per_s:
                    raise TimeoutError(f"{window_bytes} bytes in {passed_s:.0f} s")
                window_start, window_bytes = now, 0
        if not is_sniffed:
            return Refused("not_an_image", f"{len(body)} bytes")
        return body

    def _checked_socket(self, address: _AddressInfo) -> socket.socket:
        family, kind, protocol, _, sockaddr = address
        check_address(str(sockaddr[0]), int(str(sockaddr[1])), self._allowed)
        return socket.socket(family, kind, protocol)


def begins_as_picture(content: bytes) -> bool:
    """Returns whether a file begins as JPEG, PNG, GIF or WEBP do."""
    return content.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")) or (
        content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    )


def _trouble_of(error: aiohttp.ClientError | OSError | ValueError) -> Refused | Trouble:
    detail = f"{type(error).__name__}: {error}"[:300]
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, BlockedAddressError) or getattr(cause, "errno", None) == errno.EACCES:
        return Refused("blocked_address", str(cause))
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        if getattr(cause, "errno", None) in _NO_SUCH_NAME:
            return Refused("dns", detail)
        return Trouble("dns", detail, is_ours=True)
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError | ssl.CertificateError):
        return Refused("tls", detail)
    if isinstance(error, aiohttp.InvalidURL):
        return Refused("bad_url", detail)
    if isinstance(error, aiohttp.ClientPayloadError):
        return Trouble("incomplete", detail)
    if isinstance(error, aiohttp.ClientResponseError | ValueError):
        return Trouble("bad_response", detail)
    return Trouble("connect", detail, is_ours=getattr(cause, "errno", None) in _OUR_OWN)
