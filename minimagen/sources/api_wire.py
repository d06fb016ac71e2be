"""One request to an API over ``requests``: checked addresses, limits, redirects, and no key for another host.

Repeats nothing: what may be mended by that is a ``TroubleError``.
"""

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy

import requests
import urllib3
from pydantic import SecretStr
from requests.auth import AuthBase
from yarl import URL

from minimagen.rows import Rejection
from minimagen.sources.addresses import BlockedAddressError, allowed_from_environment
from minimagen.sources.api_answers import ApiError, TroubleError
from minimagen.sources.cut_off import CutOff
from minimagen.sources.safe_adapter import SafeAdapter
from minimagen.sources.secrets import redacted
from minimagen.sources.urls import check_url, redirected
from minimagen.sources.user_agent import user_agent

MAX_REDIRECTS = 5


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """What a request to an API may take."""

    total_s: float = 60.0
    """For a document, whole; for a file, until it begins."""
    idle_s: float = 20.0
    """Without a byte."""
    connect_s: float = 10.0
    piece_s: float = 10.0
    """For each ``piece_bytes`` of a file."""
    piece_bytes: int = 10_000
    document_bytes: int = 64 * 2**20
    """Of a document, unpacked."""
    attempts: int = 5
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    max_pause_s: float = 300.0
    """Pauses in a row that a service may ask for."""


@dataclass(frozen=True, slots=True)
class KeyHeader(AuthBase):
    """A key in a header; as plain text it is in the request alone."""

    name: str
    prefix: str
    key: SecretStr

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Puts the key into a request."""
        request.headers[self.name] = f"{self.prefix}{self.key.get_secret_value()}"
        return request


class Wire:
    """Makes requests, from any number of threads; keeps connections open between them."""

    def __init__(self, key: KeyHeader | None, limits: ApiLimits) -> None:
        """Args: key: sent to the origin that is asked, and to no other."""
        self._key, self._limits = key, limits
        self._threads, self._lock = threading.local(), threading.Lock()
        self._sessions: list[requests.Session] = []

    def close(self) -> None:
        """Closes all connections."""
        with self._lock:
            for session in self._sessions:
                session.close()

    @contextmanager
    def open(
        self, address: str, params: Mapping[str, str | int], headers: Mapping[str, str]
    ) -> Iterator[tuple[requests.Response, CutOff]]:
        """Asks, follows redirects, and gives the answer, its body not yet read, until the block ends.

        Raises:
            TroubleError: no whole answer.
            ApiError: an address that may not be asked, or no end of redirects.
        """
        where = shown(address)
        with CutOff(self._limits.total_s) as cut_off:
            try:
                response = self._follow(address, params, headers)
                try:
                    if cut_off.is_over:  # what came of the head so far may pass for all of it
                        raise TroubleError(f"{where}: took too long")
                    yield response, cut_off
                finally:
                    response.close()
            except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
                if isinstance(error, ApiError):
                    raise
                raise _translated(error, where, cut_off) from None
            if cut_off.is_over:
                raise TroubleError(f"{where}: took too long")

    def _follow(self, address: str, params: Mapping[str, str | int], headers: Mapping[str, str]) -> requests.Response:
        allowed, session = allowed_from_environment(), self._session()
        url = check_url(address, allowed)
        origin = None if isinstance(url, Rejection) else url.origin()
        for _ in range(MAX_REDIRECTS + 1):
            if isinstance(url, Rejection):
                raise ApiError(f"{shown(address)}: {url.reason}: {url.detail}")
            response = session.get(
                str(url),
                params=dict(params),
                headers=dict(headers),
                auth=self._key if url.origin() == origin else None,
                stream=True,
                allow_redirects=False,
                timeout=(self._limits.connect_s, self._limits.idle_s),
            )
            location = session.get_redirect_target(response)
            if location is None:
                return response
            response.close()
            before, params = url, dict[str, str | int]()
            url = redirected(before, location, allowed)
            if before.scheme == "https" and isinstance(url, URL) and url.scheme != "https":
                raise ApiError(f"{shown(address)}: redirects to an address without encryption")
        raise ApiError(f"{shown(address)}: more than {MAX_REDIRECTS} redirects")

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._threads, "session", None)
        if session is None:
            session = requests.Session()
            session.trust_env = False
            session.headers.update({"User-Agent": user_agent(), "Accept-Encoding": "gzip"})
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
            for scheme in ("http://", "https://"):
                session.mount(scheme, SafeAdapter())
            self._threads.session = session
            with self._lock:
                self._sessions.append(session)
        return session


def shown(address: str) -> str:
    """Returns an address as messages may show it: without query, fragment and credentials."""
    return re.sub(r"//[^/@]*@", "//", re.split(r"[?#]", address, maxsplit=1)[0])[:300]


def _translated(error: Exception, where: str, cut_off: CutOff) -> TroubleError | ApiError:
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    blocked = next((one for one in chain if isinstance(one, BlockedAddressError)), None)
    if blocked is not None:
        return ApiError(f"{where}: blocked_address: {blocked.strerror}")
    if cut_off.is_over:
        return TroubleError(f"{where}: took too long")
    said = re.sub(r"\?\S*", "", redacted(str(chain[-1])))[:200]
    return TroubleError(f"{where}: {type(error).__name__}: {said}")
