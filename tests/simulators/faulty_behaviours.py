"""The ways in which servers fail, by name: 78 behaviours for the server in faulty.py."""

import asyncio
import functools
import gzip
import zlib
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from functools import partial

from tests.simulators.faulty import ETAG, TYPES, Behaviour, Talk, answer_well, head

PAUSE_S = 5
"""Seconds that a server asks to be left alone for, where it names a number."""
DATE_S = 200
"""The same, where it names a date."""
STORM_S = 60.0
DRIP_S = 0.2
HUGE_BYTES = 5 * 10**9
_PAGE = b"<!DOCTYPE html><html><body>Sorry, something went wrong.</body></html>"


async def _refuse(talk: Talk, status: int, retry_after: Callable[[Talk], str] | None = None) -> None:
    body = b'{"status_message": "no"}'
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    if retry_after is not None:
        headers.append(("Retry-After", retry_after(talk)))
    await talk.answer(status, body, headers)


def _in_s(talk: Talk, wait_s: float) -> str:
    return formatdate(talk.site.clock.wall() + wait_s, usegmt=True)


_RETRY_AFTER: dict[str, Callable[[Talk], str] | None] = {
    "seconds": lambda talk: str(PAUSE_S),
    "date": lambda talk: _in_s(talk, DATE_S),
    "past": lambda talk: _in_s(talk, -3600.0),
    "garbage": lambda talk: "soon",
    "negative": lambda talk: "-5",
    "huge": lambda talk: "1000000000",
    "missing": None,
}


async def _storm(talk: Talk) -> None:
    is_over = talk.site.clock.now() >= talk.site.since[talk.path] + STORM_S and "/always/" not in talk.path
    if is_over:
        await answer_well(talk)
    else:
        await _refuse(talk, 429, _RETRY_AFTER["seconds"])


async def _redirect(talk: Talk, status: int, length: int) -> None:
    hop = talk.hop or 0
    if hop >= length:
        await answer_well(talk)
    else:
        await talk.answer(status, b"", [("Location", f"{talk.path}?hop={hop + 1}"), ("Content-Length", "0")])


async def _send_away(talk: Talk, status: int, location: Callable[[Talk], str] | None) -> None:
    headers = [("Content-Length", "0")] + ([] if location is None else [("Location", location(talk))])
    await talk.answer(status, b"", headers)


def _other_origin(talk: Talk) -> str:
    return f"http://127.0.0.1:{talk.site.other_port}{talk.path}"


async def _cut(talk: Talk, sent: Callable[[Talk], bytes], end: Callable[[Talk], None]) -> None:
    await talk.send(sent(talk))
    await asyncio.sleep(0.02)  # so that what was sent arrives before a reset
    end(talk)


def _whole_head(talk: Talk, *more: tuple[str, str]) -> bytes:
    return head(200, ("Content-Type", TYPES[talk.kind]), ("Content-Length", str(len(talk.body))), *more)


def _half(talk: Talk) -> bytes:
    return _whole_head(talk) + talk.body[: len(talk.body) // 2]


async def _length(talk: Talk, *values: str | int) -> None:
    lengths = [("Content-Length", str(len(talk.body) + value if isinstance(value, int) else value)) for value in values]
    await talk.answer(headers=[("Content-Type", TYPES[talk.kind]), *lengths])
    talk.hang_up()


async def _chunked(talk: Talk, size: Callable[[int], bytes], end: bytes) -> None:
    body = talk.body
    await talk.send(head(200, ("Content-Type", TYPES[talk.kind]), ("Transfer-Encoding", "chunked")))
    await talk.send(size(len(body)) + b"\r\n" + body + b"\r\n" + end)
    talk.hang_up()


async def _drip(talk: Talk, before: Callable[[Talk], bytes], slowly: Callable[[Talk], bytes]) -> None:
    await talk.send(before(talk))
    for byte in slowly(talk):
        await talk.send(bytes([byte]))
        await asyncio.sleep(DRIP_S)


async def _stall(talk: Talk, before: Callable[[Talk], bytes]) -> None:
    await talk.send(before(talk))
    await asyncio.sleep(60.0)


async def _packed(talk: Talk, name: str, body: Callable[[Talk], bytes]) -> None:
    packed = body(talk)
    await talk.answer(
        body=packed,
        headers=[
            ("Content-Type", TYPES[talk.kind]),
            ("Content-Encoding", name),
            ("Content-Length", str(len(packed))),
        ],
    )


def prepare_bombs() -> None:
    """Packs them beforehand: it takes a second, in which the server would answer nobody."""
    for name in ("gzip", "deflate"):
        _bomb(name)


@functools.cache
def _bomb(name: str) -> bytes:
    """Returns 100 kB that unpack to 100 MB; nothing here unpacks Brotli, so that one is noise."""
    if name == "br":
        return b"\x5b\xff\xff\xff" * 9
    blanks = b" " * 100_000_000
    return gzip.compress(blanks, 9, mtime=0) if name == "gzip" else zlib.compress(blanks, 9)


async def _typed(talk: Talk, *types: tuple[str, str]) -> None:
    await talk.answer(headers=[*types, ("Content-Length", str(len(talk.body)))])


async def _part(talk: Talk, status: int, *headers: tuple[str, str]) -> None:
    half = talk.body[len(talk.body) // 2 :]
    await talk.answer(status, half, [*headers, ("Content-Length", str(len(half)))])


async def _ignore_range(talk: Talk) -> None:
    await talk.answer(headers=[("ETag", ETAG), ("Content-Length", str(len(talk.body)))])


async def _many_headers(talk: Talk) -> None:
    await talk.answer(headers=[("Content-Length", str(len(talk.body))), *((f"X-{n}", "x") for n in range(10_000))])


async def _continue_first(talk: Talk) -> None:
    await talk.send(b"HTTP/1.1 100 Continue\r\nX-Junk: \xff\r\n\r\n" * 3)
    await answer_well(talk)


async def _answer_twice(talk: Talk) -> None:
    poison = b"\x89PNG\r\n\x1a\npoison" if talk.kind == "image" else b'{"poison": true}'
    await answer_well(talk)
    await talk.answer(body=poison)


async def _close_on_reuse(talk: Talk) -> None:
    if talk.num_before:
        talk.hang_up()
    else:
        await answer_well(talk)


async def _huge(talk: Talk) -> None:
    await talk.send(head(200, ("Content-Type", TYPES[talk.kind]), ("Transfer-Encoding", "chunked")))
    await talk.send(b"40\r\n" + talk.body[:64] + b"\r\n")
    piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
    for _ in range(HUGE_BYTES // len(piece)):
        await talk.send(piece)
    talk.hang_up()


def _sends(*pieces: bytes) -> Behaviour:
    async def behave(talk: Talk) -> None:
        await talk.send(*pieces)
        talk.hang_up()

    return behave


def _plain_size(size: int) -> bytes:
    return b"%x" % size


_MIDDLE = "bytes 7-100/101"
_CUT_HEAD = b"HTTP/1.1 200 OK\r\nContent-Ty"
BEHAVIOURS: dict[str, Callable[[Talk], Awaitable[None]]] = {
    **{
        f"{status}_{name}": partial(_refuse, status=status, retry_after=value)
        for status in (429, 503)
        for name, value in _RETRY_AFTER.items()
    },
    "429_storm": _storm,
    **{str(status): partial(_refuse, status=status) for status in (500, 502, 504, 408, 403, 404, 410, 451, 401)},
    "redirect_1": partial(_redirect, status=301, length=1),
    "redirect_5": partial(_redirect, status=302, length=5),
    "redirect_20": partial(_redirect, status=303, length=20),
    "redirect_loop": partial(_redirect, status=307, length=10**9),
    "redirect_file": partial(_send_away, status=308, location=lambda talk: "file:///etc/passwd"),
    "redirect_ftp": partial(_send_away, status=301, location=lambda talk: "ftp://127.0.0.1/x"),
    "redirect_data": partial(_send_away, status=302, location=lambda talk: "data:image/png;base64,iVBORw0KGgo="),
    "redirect_private": partial(_send_away, status=303, location=lambda talk: "http://169.254.169.254/latest"),
    "redirect_other_origin": partial(_send_away, status=307, location=_other_origin),
    "redirect_nowhere": partial(_send_away, status=308, location=None),
    "close_before_head": partial(_cut, sent=lambda talk: b"", end=Talk.hang_up),
    "close_in_head": partial(_cut, sent=lambda talk: _CUT_HEAD, end=Talk.hang_up),
    "reset_in_body": partial(_cut, sent=_half, end=Talk.reset),
    "close_in_body": partial(_cut, sent=_half, end=Talk.hang_up),
    "length_too_small": lambda talk: _length(talk, -len(talk.body) // 2),
    "length_too_large": lambda talk: _length(talk, 1000),
    "length_negative": lambda talk: _length(talk, "-1"),
    "length_twice": lambda talk: _length(talk, 0, 1000),
    "length_no_number": lambda talk: _length(talk, "many"),
    "chunk_bad_size": partial(_chunked, size=lambda size: b"zz", end=b"0\r\n\r\n"),
    "chunk_no_end": partial(_chunked, size=_plain_size, end=b""),
    "chunk_junk_after": partial(_chunked, size=_plain_size, end=b"0\r\nX-Junk: 1\r\njunk\r\n\r\n"),
    "chunk_huge_size": partial(_chunked, size=lambda size: b"8000000000000000", end=b"0\r\n\r\n"),
    "drip_head": partial(_drip, before=lambda talk: b"", slowly=_whole_head),
    "drip_body": partial(
        _drip, before=lambda talk: _whole_head(talk) + talk.body[:20], slowly=lambda talk: talk.body[20:]
    ),
    "stall_after_head": partial(_stall, before=_whole_head),
    "stall_in_body": partial(_stall, before=_half),
    "never_accept": answer_well,
    "tls_on_plain": answer_well,
    "plain_on_tls": _sends(b"\x15\x03\x01\x00\x02\x02\x46"),
    "gzip_bomb": partial(_packed, name="gzip", body=lambda talk: _bomb("gzip")),
    "deflate_bomb": partial(_packed, name="deflate", body=lambda talk: _bomb("deflate")),
    "br_bomb": partial(_packed, name="br", body=lambda talk: _bomb("br")),
    "gzip_cut": partial(_packed, name="gzip", body=lambda talk: gzip.compress(talk.body, mtime=0)[:-20]),
    "gzip_untrue": partial(_packed, name="gzip", body=lambda talk: talk.body),
    "type_wrong": lambda talk: _typed(talk, ("Content-Type", "text/html")),
    "type_missing": _typed,
    "html_page": partial(Talk.answer, body=_PAGE),
    "empty": partial(Talk.answer, body=b""),
    "204": lambda talk: talk.answer(204, b"", []),
    "206_other_range": lambda talk: _part(talk, 206, ("ETag", ETAG), ("Content-Range", _MIDDLE)),
    "206_other_version": lambda talk: _part(
        talk,
        206,
        ("ETag", '"version-2"'),
        ("Content-Range", f"bytes {len(talk.body) // 2}-{len(talk.body) - 1}/{len(talk.body)}"),
    ),
    "200_for_range": _ignore_range,
    "416": partial(_refuse, status=416),
    "head_1_mb": lambda talk: _typed(talk, ("X-Long", "x" * 1_000_000)),
    "head_10000_lines": _many_headers,
    "head_bad_bytes": _sends(b"HTTP/1.1 200 OK\r\nBad Header\x00\xff: 1\r\n: 2\r\n\r\nbody"),
    "http_0_9": _sends(b"just the body, as in 1991"),
    "100_junk": _continue_first,
    "answer_twice": _answer_twice,
    "close_on_reuse": _close_on_reuse,
    "dns_failure": answer_well,
    "dns_rebinding": answer_well,
    "5_gb": _huge,
}
