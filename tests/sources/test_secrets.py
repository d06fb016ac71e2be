"""A key stands in the header of a request, and nowhere else, whatever fails."""

import base64
import json
import logging
import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import pytest

from minimagen.sources.api_wire import ApiLimits
from minimagen.sources.http import ApiClient, ApiError
from minimagen.sources.secrets import RedactingFilter, redacted, secret_from_environment
from minimagen.sources.services import Endpoint
from tests.canary import CANARY, encodings
from tests.simulators.server import Request, Response, Site, running_site

LIMITS = ApiLimits(total_s=1.0, idle_s=0.3, connect_s=0.3, document_bytes=1000, attempts=2, first_wait_s=0.001)
PATHS = (
    "refused",
    "forbidden",
    "echoed",
    "echoed_as_document",
    "missing",
    "parked",
    "broken",
    "slow",
    "elsewhere",
    "short",
    "page",
    "large",
    "tls",
    "nobody",
    "blocked",
    "disk",
)


class Failing:
    """A service that fails in the way that the path says, and likes to say what it was sent."""

    prefixes: Sequence[str] = ("/",)

    def __init__(self, other: str) -> None:
        self.other = other
        self.is_over = threading.Event()

    def answer(self, request: Request) -> Response:
        """Answers one request."""
        said = {key: value for key, value in request.headers.items() if key in ("authorization", "x-api-key")}
        echo = json.dumps({"status_message": f"no: {' '.join(said.values())}", "headers": said}).encode()
        name = request.path.rpartition("/")[2]
        if name == "slow":
            self.is_over.wait(3.0)
        statuses = {"refused": 401, "forbidden": 403, "echoed": 400, "missing": 404, "broken": 500}
        plain = {
            "parked": Response(429, echo, {"Retry-After": "86400"}),
            "elsewhere": Response(302, headers={"Location": f"{self.other}/missing"}),
            "short": Response(200, b"{", {"Content-Length": "900"}),
            "page": Response(200, b"<html>" + echo),
            "file": Response(200, b"a file"),
            "large": Response(200, b" " * 2000 + echo),
        }
        return plain.get(name) or Response(statuses.get(name, 200), echo)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """A log of everything that any library says, with the filter that the commands install."""
    path = tmp_path / "log.txt"
    handler = logging.FileHandler(path)
    handler.addFilter(RedactingFilter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield path
    root.setLevel(level)
    root.removeHandler(handler)
    handler.close()


def _endpoint(name: str, site: Site) -> Endpoint:
    url = {"tls": site.url.replace("http:", "https:"), "nobody": "http://127.0.0.1:9", "blocked": "http://10.0.0.1"}
    return Endpoint(url=url.get(name, site.url), requests_per_s=1000.0, in_flight=1)


def _fail(name: str, folder: Path, site: Site, auth: Literal["bearer", "x-api-key"]) -> str:
    """Fails in one way, and returns all that is said of it."""
    state = folder / f"{name}-{auth}" / "state"
    key = secret_from_environment("TMDB_TOKEN")
    with ApiClient(
        _endpoint(name, site), state=state, token=key, auth=auth, key_name="TMDB_TOKEN", limits=LIMITS
    ) as client:
        try:
            if name == "disk":
                client.download("file", state.parent / "hosts")
            else:
                client.get_json(name, {"page": 1})
        except (ApiError, OSError) as error:
            logging.getLogger("minimagen").exception("it failed: %s", error)
            document = repr(getattr(error, "document", None))
            return "".join(traceback.format_exception(error)) + repr(error) + str(error) + document + repr(client)
    return repr(client)


@pytest.mark.parametrize("auth", ["bearer", "x-api-key"])
def test_no_failure_tells_a_key(
    tmp_path: Path,
    log: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    auth: Literal["bearer"],
) -> None:
    monkeypatch.setenv("TMDB_TOKEN", CANARY)
    failing = Failing("")
    with running_site(failing) as site, running_site(Failing("")) as other:
        failing.other = other.url
        addresses = [f"127.0.0.1:{port}" for port in (site.address[1], other.address[1], 9)]
        monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", ",".join(addresses))
        said = {name: _fail(name, tmp_path, site, auth) for name in PATHS}
        failing.is_over.set()

    assert [name for name, text in said.items() if "Error" not in text] == ["echoed_as_document"]
    written = {str(path): path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()}
    assert "status 401" in written[str(log)]
    everything = said | written | dict(zip(("stdout", "stderr"), capfd.readouterr(), strict=True))
    hits = [
        (where, name) for where, text in everything.items() for name, form in encodings(CANARY).items() if form in text
    ]
    assert hits == []
    sent = {value for request in site.requests for value in request.headers.values() if CANARY in value}
    assert sent == {f"Bearer {CANARY}" if auth == "bearer" else CANARY}
    assert other.requests
    assert not any(CANARY in repr(request) for request in other.requests)


def test_the_eight_encodings_are_found_where_they_are() -> None:
    text = f"xy{CANARY}z"
    encoded = [text, quote(text), text.encode().hex(), json.dumps(text), text[::-1]]
    encoded += [base64.b64encode(b"\0" * n + text.encode()).decode() for n in range(3)]
    assert len(encodings(CANARY)) == 8
    assert all(any(form in one for one in encoded) for name, form in encodings(CANARY).items() if name != "quoted")


@pytest.mark.parametrize("auth", ["bearer", "x-api-key"])
def test_a_refused_key_is_named_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, auth: Literal["bearer", "x-api-key"]
) -> None:
    monkeypatch.setenv("TMDB_TOKEN", CANARY)
    with running_site(Failing("")) as site:
        monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", f"127.0.0.1:{site.address[1]}")
        assert "status 401: no: " in _fail("refused", tmp_path, site, auth)
        assert "TMDB_TOKEN was refused" in _fail("refused", tmp_path, site, auth)
        assert len(site.requests) == 2
        monkeypatch.delenv("TMDB_TOKEN")
        assert "TMDB_TOKEN is not set in the environment" in _fail("forbidden", tmp_path, site, auth)


@pytest.mark.parametrize("value", ["one\ntwo", "caf\u00e9", "tab\tbed", "\x7f"])
def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("TMDB_TOKEN", value)
    endpoint = Endpoint(url="http://127.0.0.1:9", requests_per_s=1.0, in_flight=1)
    with pytest.raises(ApiError, match="TMDB_TOKEN holds characters that no header can hold") as caught:
        ApiClient(endpoint, state=tmp_path, token=secret_from_environment("TMDB_TOKEN"), key_name="TMDB_TOKEN")
    assert value not in repr(caught.value)


def test_a_key_comes_from_the_environment_without_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMDB_TOKEN", f" {CANARY}\n")
    secret = secret_from_environment("TMDB_TOKEN")
    assert secret is not None
    assert secret.get_secret_value() == CANARY
    assert CANARY not in f"{secret!r} {secret}"
    for absent in ("", "  "):
        monkeypatch.setenv("TMDB_TOKEN", absent)
        assert secret_from_environment("TMDB_TOKEN") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET /3/movie?api_key=abc123&page=2", "GET /3/movie?api_key=[hidden]&page=2"),
        ("http://h/x?token=abc&key=def", "http://h/x?token=[hidden]&key=[hidden]"),
        ("x?access_token=abc#y", "x?access_token=[hidden]"),
        ("{'Authorization': 'Bearer abc.def-ghi'}", "{'Authorization': 'Bearer [hidden]'}"),
        ("authorization: bearer abc.def", "authorization: bearer [hidden]"),
        ("{'x-api-key': 'abc'}", "{'x-api-key': '[hidden]'}"),
        ("X-Api-Key: abc", "X-Api-Key: [hidden]"),
        ("(b'x-api-key', b'abc')", "(b'x-api-key', b'[hidden]')"),
        ("a monkey=banana is no secret, nor is a tokenizer", "a monkey=banana is no secret, nor is a tokenizer"),
    ],
)
def test_texts_are_redacted(text: str, expected: str) -> None:
    assert redacted(text) == expected


def test_log_records_are_redacted_with_arguments_and_tracebacks(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMECHAN_KEY", CANARY)
    logger = logging.getLogger("some.library")
    logger.debug("sent %s and %r", {"x-api-key": "abc123"}, CANARY)
    try:
        raise ValueError(f"http://host.example/?api_key=abc123 with {CANARY}")
    except ValueError:
        logger.exception("failed with %d%%", 7, stack_info=True)
    text = log.read_text()
    assert "sent {'x-api-key': '[hidden]'} and" in text
    assert "failed with 7%" in text
    assert "ValueError: http://host.example/?api_key=[hidden] with [hidden]" in text
    assert "abc123" not in text.replace(
        'api_key=abc123 with {CANARY}"', ""
    )  # the source line, which has no value in it
    assert CANARY not in text
