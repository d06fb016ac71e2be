"""The door by itself, without a server: what is refused does not reach what is behind it."""

import asyncio
import base64
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from minimagen.tracking.doorkeeper import TOKEN_FILE, Doorkeeper, HouseRules, Message, Receive, Scope, Send, open_token

RULES = HouseRules(
    hosts=frozenset({"127.0.0.1:5000", "localhost:5000"}),
    origins=frozenset({"http://127.0.0.1:5000"}),
    token="a-token",
    cookie="minimagen-5000",
    shut=frozenset({"jobs"}),
    body_bytes=10,
    body_s=0.05,
)
HOST, KEY = ("Host", "127.0.0.1:5000"), ("Authorization", "Bearer a-token")


class Inside:
    """An application that remembers what reached it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 200 once the whole body is there."""
        message = await receive()
        assert not message["more_body"]
        self.bodies.append(message["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


class Visit:
    """One request at the door, and what was answered."""

    def __init__(
        self,
        *headers: tuple[str, str],
        method: str = "GET",
        path: str = "/",
        query: str = "",
        pieces: Sequence[bytes] = (b"",),
        kind: str = "http",
    ) -> None:
        self.inside = Inside()
        self.sent: list[Message] = []
        self.pieces = list(pieces)
        scope: dict[str, Any] = {"type": kind, "method": method, "path": path, "query_string": query.encode()}
        scope["headers"] = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
        asyncio.run(Doorkeeper(self.inside, RULES)(scope, self.receive, self.send))

    async def receive(self) -> Message:
        """Gives a piece of the body; once there is none it never comes back."""
        if not self.pieces:
            await asyncio.Event().wait()
        piece = self.pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": piece.endswith(b"+")}

    async def send(self, message: Message) -> None:
        """Remembers an answer."""
        self.sent.append(message)

    @property
    def status(self) -> int:
        """Of the answer."""
        return self.sent[0]["status"]

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Of the answer."""
        return dict(self.sent[0]["headers"])


def basic(text: str) -> tuple[str, str]:
    return ("Authorization", f"Basic {base64.b64encode(text.encode()).decode()}")


@pytest.mark.parametrize(
    "key",
    [KEY, ("authorization", "bearer a-token"), basic("anybody:a-token"), ("Cookie", "a=b; minimagen-5000=a-token")],
)
def test_who_has_the_token_gets_in(key: tuple[str, str]) -> None:
    assert Visit(HOST, key).status == 200


@pytest.mark.parametrize(
    "key",
    [
        ("X-None", ""),
        ("Authorization", "a-token"),
        ("Authorization", "Bearer a-tokem"),
        ("Authorization", "Bearer \xff"),
        ("Authorization", "Basic \xff"),
        basic("a-token:"),
        ("Cookie", "minimagen-5001=a-token"),
        ("Cookie", "minimagen-5000"),
        ("Cookie", "\x00;;=;minimagen-5000=a-tokem"),
    ],
)
def test_who_has_not_is_told_how_and_reaches_nothing(key: tuple[str, str]) -> None:
    visit = Visit(HOST, key)
    assert visit.status == 401
    assert b"minimagen ui" in visit.sent[1]["body"]
    assert visit.headers[b"connection"] == b"close"
    assert visit.inside.bodies == []


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ([], "/"),
        ([("Host", "evil.example")], "/"),
        ([HOST, HOST], "/"),
        ([HOST, ("Origin", "http://localhost:9")], "/"),
        ([HOST, ("Origin", "http://127.0.0.1:5000"), ("Origin", "http://evil.example")], "/"),
        ([HOST], "/ajax-api/3.0/jobs/"),
        ([("Host", "evil.example")], "/health"),
    ],
)
def test_other_names_pages_and_ways_are_refused_even_with_the_token(headers: list[tuple[str, str]], path: str) -> None:
    visit = Visit(KEY, *headers, path=path)
    assert (visit.status, visit.inside.bodies) == (403, [])


def test_its_own_page_and_the_question_for_its_health_are_answered() -> None:
    assert Visit(HOST, KEY, ("Origin", "http://127.0.0.1:5000"), method="POST").status == 200
    assert Visit(HOST, path="/health").status == 200


@pytest.mark.parametrize(
    ("headers", "pieces", "status"),
    [
        ([("Content-Length", "10")], [b"0123456789"], 200),
        ([("Content-Length", "11")], [b"0123456789!"], 413),
        ([("Content-Length", "1000000000")], [], 413),
        ([("Content-Length", "-1")], [], 413),
        ([], [b"01234+", b"01234567"], 413),
        ([], [b"0123+", b"4567"], 200),
        ([], [b"0123+"], 408),
    ],
)
def test_a_body_is_bounded_in_size_and_time(headers: list[tuple[str, str]], pieces: list[bytes], status: int) -> None:
    visit = Visit(HOST, KEY, *headers, method="POST", pieces=pieces)
    assert visit.status == status
    assert visit.inside.bodies == ([b"".join(pieces)] if status == 200 else [])


def test_the_token_in_an_address_becomes_a_cookie_and_goes_from_the_address() -> None:
    visit = Visit(HOST, query="token=a-token")
    assert (visit.status, visit.headers[b"location"], visit.inside.bodies) == (303, b"/", [])
    assert visit.headers[b"set-cookie"] == b"minimagen-5000=a-token; Path=/; HttpOnly; SameSite=Lax"
    assert Visit(HOST, query="token=a-tokem").status == 401
    assert Visit(HOST, query="token=a-token", method="POST").status == 401
    assert Visit(HOST, query="token=a-token", path="/get-artifact").status == 401


def test_a_websocket_is_closed() -> None:
    visit = Visit(HOST, KEY, kind="websocket")
    assert visit.sent == [{"type": "websocket.close", "code": 1008}]


def test_a_token_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    token = open_token(tmp_path)
    assert open_token(tmp_path) == token
    assert len(token) >= 32
    assert stat.S_IMODE((tmp_path / TOKEN_FILE).stat().st_mode) == 0o600
    assert open_token(tmp_path / "another") != token
