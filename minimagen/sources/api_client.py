"""Asks an API: JSON documents and large files, at the service's pace, and again where that may help.

Knows no service. The key is sent in a header, to the service's own origin only, and stands in no message.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar
from urllib.parse import unquote

import requests
from pydantic import SecretStr
from yarl import URL

from minimagen.sources.api_answers import (
    ApiAnswer,
    ApiError,
    TroubleError,
    UnavailableApiError,
    message_of,
    parse_document,
)
from minimagen.sources.api_wire import ApiLimits, KeyHeader, Wire, shown
from minimagen.sources.clock import SYSTEM_CLOCK, Clock
from minimagen.sources.cut_off import CutOff
from minimagen.sources.download import PartialFile
from minimagen.sources.host_table import hosts_folder
from minimagen.sources.politeness import BlockingTurns, HostParkedError
from minimagen.sources.retries import full_jitter_s, retry_after_s
from minimagen.sources.secrets import HIDDEN
from minimagen.sources.services import Endpoint
from minimagen.sources.urls import host_of

API_LIMITS = ApiLimits()
MAX_PAUSES = 50
"""Pauses that one request waits for."""
MAX_FILE_BYTES = 16 * 2**30
_JSON = "application/json, application/vnd.api+json"
ResultT = TypeVar("ResultT")
Read = Callable[[requests.Response, CutOff], ResultT]


class _PauseError(Exception):
    """The service wanted a pause; the next turn is after it."""


class ApiClient:
    """Asks one API, from any number of threads; a context manager, whose connections last as long as it does."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        state: Path,
        token: SecretStr | None = None,
        auth: Literal["bearer", "x-api-key"] = "bearer",
        key_name: str = "",
        clock: Clock = SYSTEM_CLOCK,
        limits: ApiLimits = API_LIMITS,
    ) -> None:
        """Prepares; asks nothing.

        Args:
            state: runs/ingest/<source>; beside it stands what all sources know of hosts.
            token: the key; None asks without one.
            key_name: environment variable of the key, for the message if it is missing or refused.

        Raises:
            ApiError: the key holds what no header can.
        """
        self._endpoint, self._key_name, self._clock, self._limits = endpoint, key_name, clock, limits
        self._token = token
        if token is not None and not (token.get_secret_value().isascii() and token.get_secret_value().isprintable()):
            raise ApiError(f"environment: {key_name or 'the key'} holds characters that no header can hold")
        name, prefix = ("Authorization", "Bearer ") if auth == "bearer" else ("x-api-key", "")
        self._wire = Wire(None if token is None else KeyHeader(name, prefix, token), limits)
        self._turns = BlockingTurns(
            hosts_folder(state),
            host_of(URL(endpoint.url)),
            requests_per_s=endpoint.requests_per_s,
            in_flight=endpoint.in_flight,
            max_wait_s=limits.max_pause_s,
            clock=clock,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections."""
        self._wire.close()

    def get_json(
        self, path: str, params: Mapping[str, str | int] | None = None, *, accept: Collection[int] = ()
    ) -> ApiAnswer:
        """Returns the JSON document at ``path``, below the endpoint's address.

        Args:
            accept: statuses that are answers too, besides 200.

        Raises:
            ApiError: the service refuses, or does not answer in a few tries.
        """
        address = self._address(path)
        allowed = frozenset(accept) | {200}

        def read(response: requests.Response, cut_off: CutOff) -> ApiAnswer:
            content = self._content(response)
            try:
                document = parse_document(content)
            except TroubleError as error:
                if response.status_code == 200:
                    raise TroubleError(f"{shown(address)}: {error}") from None
                document = None
            if response.status_code not in allowed:
                raise self._refusal(address, response, document)
            return ApiAnswer(response.status_code, document, response.headers)

        return self._persist(address, params or {}, lambda: {"Accept": _JSON}, read, allowed)

    def download(self, path: str, target: Path, *, max_bytes: int = MAX_FILE_BYTES) -> None:
        """Writes the file at ``path`` to ``target``, whole or not at all; goes on where an earlier call was stopped.

        Its bytes are those that were sent: what is packed stays packed.

        Raises:
            ApiError: the service refuses, sends another file than one of bytes, or does not answer in a few tries.
        """
        address = self._address(path)
        part = PartialFile(target, shown(address), max_bytes, self._limits)

        def read(response: requests.Response, cut_off: CutOff) -> None:
            if response.status_code not in (200, 206, 416):
                raise self._refusal(address, response, self._document(response))
            part.receive(response, cut_off)

        self._persist(address, {}, part.request_headers, read, frozenset({200, 206, 416}))

    def _persist(
        self,
        address: str,
        params: Mapping[str, str | int],
        headers: Callable[[], Mapping[str, str]],
        read: Read[ResultT],
        allowed: Collection[int],
    ) -> ResultT:
        num_tries = num_pauses = 0
        while True:
            try:
                return self._once(address, params, headers(), read, allowed)
            except _PauseError as error:
                num_pauses += 1
                if num_pauses > MAX_PAUSES:
                    message = f"{shown(address)}: asked for {num_pauses} pauses; try later"
                    raise UnavailableApiError(message, 429) from error
            except HostParkedError as error:
                raise UnavailableApiError(f"{shown(address)}: {error}; run again after that", 429) from None
            except TroubleError as error:
                num_tries = 0 if error.has_progressed else num_tries + 1
                if num_tries >= self._limits.attempts:
                    raise UnavailableApiError(f"{error}, {num_tries} times", error.status) from None
                wait_s = full_jitter_s(max(0, num_tries - 1), self._limits.first_wait_s, self._limits.longest_wait_s)
                self._clock.sleep(wait_s)

    def _once(
        self,
        address: str,
        params: Mapping[str, str | int],
        headers: Mapping[str, str],
        read: Read[ResultT],
        allowed: Collection[int],
    ) -> ResultT:
        with self._turns.turn() as visit, self._wire.open(address, params, headers) as (response, cut_off):
            status = response.status_code
            pause_s = retry_after_s(response.headers.get("Retry-After"), self._clock)
            if status == 429 or (status == 503 and pause_s is not None):
                visit.wants_pause(pause_s)
                if status not in allowed:
                    raise _PauseError
            else:
                visit.answered()
                if status not in allowed and (status in (408, 425) or status >= 500):
                    raise TroubleError(f"{shown(address)}: status {status}", status=status)
            return read(response, cut_off)

    def _refusal(self, address: str, response: requests.Response, document: object) -> ApiError:
        status, said = response.status_code, message_of(document)
        text = f"{shown(address)}: status {status}" + (f": {said}" if said else "")
        if status in (401, 403):
            name = self._key_name or "the key"
            text += f"; {name} is not set in the environment" if self._token is None else f"; {name} was refused"
        return ApiError(text, status, document)

    def _document(self, response: requests.Response) -> object:
        try:
            return parse_document(self._content(response))
        except TroubleError:
            return None

    def _content(self, response: requests.Response) -> bytes:
        content = bytearray()
        for piece in response.iter_content(65536):
            content += piece
            if len(content) > self._limits.document_bytes:
                more = f"more than {self._limits.document_bytes} bytes of JSON"
                raise ApiError(f"{shown(response.url)}: {more}", response.status_code)
        if self._token is not None:  # a service may send back what it was sent
            key = self._token.get_secret_value()
            for form in (key, json.dumps(key)[1:-1]):
                content = content.replace(form.encode(), HIDDEN.encode())
        return bytes(content)

    def _address(self, path: str) -> str:
        relative = path.removeprefix("/")
        plain = unquote(relative)
        if re.search(r"[\x00-\x20\x7f\\?#]", relative) or not {"", ".", ".."}.isdisjoint(plain.split("/")):
            raise ApiError(f"{self._endpoint.url}: {path!r} is not a path below it")
        return f"{self._endpoint.url}/{relative}"
