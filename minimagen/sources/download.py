"""A large file that comes in pieces: beside its name until it is whole, and gone on with where it was stopped.

Knows no service. An interrupted file is gone on with only if the server says that it is still the same one (If-Range,
RFC 9110, 13.1.5): else it is begun anew.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import requests
from urllib3.exceptions import HTTPError

from minimagen.files import sync_folder, write_json
from minimagen.sources.api_answers import ApiError, TroubleError
from minimagen.sources.api_wire import ApiLimits
from minimagen.sources.cut_off import CutOff

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<body")


@dataclass(frozen=True, slots=True)
class _Version:
    """Which file on the server the pieces are of."""

    address: str
    validator: str
    """Strong ETag or Last-Modified; empty if the server names none."""
    size: int | None


class PartialFile:
    """The pieces of ``target`` that have come."""

    def __init__(self, target: Path, address: str, max_bytes: int, limits: ApiLimits) -> None:
        self._target, self._address, self._max_bytes, self._limits = target, address, max_bytes, limits
        self._part = target.with_name(f"{target.name}.part")
        self._record = target.with_name(f"{target.name}.part.json")
        self._furthest = 0
        target.parent.mkdir(parents=True, exist_ok=True)

    def request_headers(self) -> dict[str, str]:
        """Returns the headers that ask for what is missing."""
        headers = {"Accept-Encoding": "identity", "Accept": "*/*"}
        version, have = self._known()
        if have and version is not None and version.validator:
            headers |= {"Range": f"bytes={have}-", "If-Range": version.validator}
        return headers

    def receive(self, response: requests.Response, cut_off: CutOff) -> None:
        """Takes an answer of status 200, 206 or 416; returns if the file is whole and stands under its name.

        Raises:
            TroubleError: it is not, and the next request may bring the rest.
            ApiError: it never will be: too large, or a page instead of a file.
        """
        version, have = self._known()
        if response.status_code == 416:
            if version is not None and have and version.size == have:
                self._finish(have)  # it was whole, and stopped before it got its name
                return
            self.discard()
            raise TroubleError(f"{self._address}: the server has less than was received before", status=416)
        if response.status_code == 206:
            size = self._check_range(response.headers, version, have)
        else:
            self.discard()
            have, size = 0, _length(response.headers)
            if size is None and response.headers.get("Transfer-Encoding", "").lower() != "chunked":
                raise TroubleError(f"{self._address}: does not say where the file ends", status=200)
            version = _Version(self._address, _validator(response.headers), size)
            write_json(self._record, asdict(version))
        if size is not None and size > self._max_bytes:
            self.discard()
            raise ApiError(f"{self._address}: {size} bytes, at most {self._max_bytes} expected", response.status_code)
        self._append(response, cut_off, have)
        self._finish(size)

    def discard(self) -> None:
        """Forgets what has come."""
        self._part.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)

    def _known(self) -> tuple[_Version | None, int]:
        try:
            version = _Version(**json.loads(self._record.read_bytes()))
            have = self._part.stat().st_size
        except (FileNotFoundError, ValueError, TypeError):
            return None, 0
        return (version, have) if version.address == self._address else (None, 0)

    def _check_range(self, headers: Mapping[str, str], version: _Version | None, have: int) -> int:
        match = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
        named = _validator(headers)
        if version is None or not have or match is None or int(match[1]) != have or int(match[2]) + 1 != int(match[3]):
            self.discard()
            raise TroubleError(f"{self._address}: sent another part than the one that was asked for", status=206)
        size = int(match[3])
        if (named and named != version.validator) or version.size not in (None, size):
            self.discard()
            raise TroubleError(f"{self._address}: the file has changed meanwhile", status=206)
        return size

    def _append(self, response: requests.Response, cut_off: CutOff, have: int) -> None:
        try:
            with self._part.open("ab") as stream:
                for piece in response.raw.stream(self._limits.piece_bytes, decode_content=False):
                    cut_off.extend(self._limits.piece_s)
                    if not have and piece.lstrip()[:20].lower().startswith(_PAGES):
                        raise TroubleError(f"{self._address}: sent a page instead of a file")
                    have += len(piece)
                    if have > self._max_bytes:
                        self.discard()
                        raise ApiError(f"{self._address}: more than {self._max_bytes} bytes", response.status_code)
                    stream.write(piece)
                stream.flush()
                os.fsync(stream.fileno())
        except HTTPError as error:
            raise self._stopped(type(error).__name__, have) from None
        if cut_off.is_over:
            raise self._stopped("too slow", have)

    def _stopped(self, why: str, have: int) -> TroubleError:
        has_progressed = have >= self._furthest + self._limits.piece_bytes
        self._furthest = max(self._furthest, have)
        return TroubleError(f"{self._address}: {why} after {have} bytes", has_progressed=has_progressed)

    def _finish(self, size: int | None) -> None:
        have = self._part.stat().st_size
        if not have:
            raise TroubleError(f"{self._address}: an empty file")
        if size is not None and have != size:
            self.discard()
            raise TroubleError(f"{self._address}: {have} bytes, {size} expected")
        self._part.replace(self._target)
        self._record.unlink(missing_ok=True)
        sync_folder(self._target.parent)


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "").strip()
    return int(text) if text.isascii() and text.isdecimal() else None


def _validator(headers: Mapping[str, str]) -> str:
    etag = headers.get("ETag", "").strip()
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "").strip()
