"""Which addresses are asked, which are the same, and that no address names a file."""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from minimagen.rows import Rejection
from minimagen.sources.api_wire import ApiLimits
from minimagen.sources.http import ApiClient, ApiError, ImageFetcher
from minimagen.sources.services import Endpoint, ImageHosts
from minimagen.sources.urls import MAX_CHARACTERS, canonical_url, check_url, host_of, is_canonical, redirected
from tests.simulators.server import Request, Response, running_site
from tests.sources.audited import recorded_writes

CANONICAL = "https://b\u00fccher.example/dir/%7Ename%2Fx/a%20b.jpg?size=1&q=a%20b"
STEP_UP = (
    "..",
    "%2e%2e",
    ".%2e",
    "%2E.",
    "..;",
    "....",
    "..%00",
    "%c0%ae%c0%ae",
    "%252e%252e",
    ".. ",
    "..%20",
    "\u2025",
)
SLASH = ("/", "%2f", "\\", "%5c", "//")


def _duplicates() -> list[tuple[str, str]]:
    """Returns pairs of spellings of one address."""
    plain = "http://host.example/a/b.jpg?x=1"
    same = ["HTTP://host.example/a/b.jpg?x=1", "http://HOST.Example/a/b.jpg?x=1", "http://host.example:80/a/b.jpg?x=1"]
    same += ["http://host.example./a/b.jpg?x=1", "http://host.example.:80/a/b.jpg?x=1", f"{plain}#part", f"{plain}#"]
    same += [
        "http://host.example/%61/b.jpg?x=1",
        "http://host.example/a/%62%2ejpg?x=1",
        "http://host.example/a/b.jpg?%78=1",
    ]
    same += [
        "http://host.example/a/./b.jpg?x=1",
        "http://host.example/a/c/../b.jpg?x=1",
        "http://host.example/../a/b.jpg?x=1",
    ]
    same += ["http://host.example/./a/b.jpg?x=1", "hTTp://HoSt.eXaMpLe:80/%61/./%62.jpg?x=%31#x"]
    same += ["http://host.example:080/a/b.jpg?x=1", "http://host.example:/a/b.jpg?x=1"]
    same += [
        "http://host.example/x/y/../../a/b.jpg?x=1",
        "http://host.example/%2E/a/b.jpg?x=1",
        "http://host.example/%2e%2e/a/b.jpg?x=1",
    ]
    pairs = [(plain, other) for other in same]
    pairs += [
        ("http://host.example/", other)
        for other in ("http://host.example", "http://host.example?", "http://host.example#a")
    ]
    secure = (
        "https://host.example:443/",
        "https://HOST.example",
        "https://host.example./",
        "https://host.example:0443/",
    )
    pairs += [("https://host.example/", other) for other in secure]
    pairs += [
        ("http://host.example/a%2Fb", "http://host.example/a%2fb"),
        ("http://host.example/%C3%A4", "http://host.example/\u00e4"),
    ]
    pairs += [
        ("http://host.example/%C3%A4", "http://host.example/%c3%a4"),
        ("http://host.example/~a", "http://host.example/%7Ea"),
    ]
    pairs += [("http://host.example/a-b_c.d", "http://host.example/%61%2D%62%5F%63%2e%64")]
    idn = "http://xn--bcher-kva.example/"
    pairs += [
        (idn, other)
        for other in ("http://b\u00fccher.example/", "http://B\u00dcCHER.example", "http://b\u00fccher\u3002example/")
    ]
    pairs += [(idn, "http://XN--BCHER-KVA.example/")]
    pairs += [
        ("http://[2606:4700::1111]/", "http://[2606:4700:0:0:0:0:0:1111]:80"),
        ("http://8.8.8.8/", "http://8.8.8.8.:80/"),
    ]
    pairs += [
        ("http://8.8.8.8/", "http://\uff18.\uff18.\uff18.\uff18"),
        ("http://[2606:4700::1111]/", "http://[2606:4700::1111]"),
    ]
    pairs += [("http://[2606:4700::abcd]/", "http://[2606:4700::ABCD]/")]
    return pairs


def test_spellings_of_one_address_are_one_address() -> None:
    pairs = _duplicates()
    assert len({other for _, other in pairs}) >= 40
    assert [(one, other) for one, other in pairs if canonical_url(one) != canonical_url(other)] == []


@pytest.mark.parametrize("different", ["http://host.example/A", "https://host.example/a", "http://host.example:8080/a"])
def test_different_addresses_stay_different(different: str) -> None:
    others = [
        "http://host.example/a/",
        "http://host.example/a?",
        "http://host.example/a%2F",
        "http://www.host.example/a",
    ]
    assert canonical_url(different) not in {canonical_url(other) for other in ("http://host.example/a", *others)}


def test_a_canonical_spelling_is_its_own() -> None:
    once = canonical_url(CANONICAL)
    assert canonical_url(once) == once
    assert once.isascii()
    for spelling in [pair[1] for pair in _duplicates()]:
        assert canonical_url(canonical_url(spelling)) == canonical_url(spelling)


hosts = st.from_regex(r"\A(?:[a-z0-9.-]{1,12}\.[a-z]{2,4}|[0-9]{1,3}(?:\.[0-9]{1,3}){3})(?::[0-9]{1,5})?\Z")
paths = st.from_regex(r"\A/[A-Za-z0-9._~%!$&'()*,;=:@/?+#-]{0,20}\Z")


@given(st.sampled_from(("http://", "https://")), hosts, paths)
@example("http://", "a.example", "/a?")
@example("http://", "a.example", "/a/../b")
@example("http://", "a.example", "/./b")
@example("http://", "a.example:80", "/")
@example("https://", "a.example:443", "/")
@example("http://", "a.example:65536", "/")
@example("http://", "127.0.0.1:49999", "/17.jpg")
@example("http://", "1.2.3.256", "/")
@example("http://", "1.2.3.04", "/")
@example("http://", "xn--caf-dma.example", "/")
@example("http://", "a--b.example", "/x?y=z&u=/./v")
@example("http://", "a" * 64 + ".example", "/")
@example("http://", "a." * 127 + "example", "/")
def test_what_is_canonical_at_sight_is_what_a_whole_look_makes_of_it(scheme: str, host: str, path: str) -> None:
    text = scheme + host + path
    if is_canonical(text):
        allowed = frozenset({("1.1.1.1", URL(text).port or 0)})
        at_sight, whole = check_url(text, allowed), check_url(f"{text}#", allowed)
        assert isinstance(at_sight, URL) and isinstance(whole, URL)
        assert at_sight == whole and str(at_sight) == str(whole) == text == canonical_url(text)
        assert (at_sight.raw_host, at_sight.port, at_sight.raw_path_qs) == (
            whole.raw_host,
            whole.port,
            whole.raw_path_qs,
        )


@pytest.mark.parametrize(
    "text", ["https://img-7.photos.example.com/a/b/c_d-1(2).jpg?w=640&h=480", "http://127.0.0.1:49999/17.jpg"]
)
def test_most_addresses_of_the_web_are_seen_to_be_canonical_at_once(text: str) -> None:
    assert is_canonical(text)


def test_what_is_no_address_is_its_own_spelling() -> None:
    for text in ("", "x", "ftp://HOST.example/", "http://", "http://a b/", "\ud800", "http://0x7f.1/"):
        assert canonical_url(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("http://host.example/" + "a" * MAX_CHARACTERS, "bad_url"),
        ("http://host.example/a b", "bad_url"),
        ("http://host.example/a\nb", "bad_url"),
        ("http://user:pw@host.example/", "bad_url"),
        ("http://user@host.example/", "bad_url"),
        ("http://", "bad_url"),
        ("http://[::1]@", "bad_url"),
        ("http://-host.example/", "bad_url"),
        ("http://" + "a." * 127 + "example/", "bad_url"),
        ("http://" + "a" * 64 + ".example/", "bad_url"),
        ("http://host..example/", "bad_url"),
        ("http://host.example:0/", "bad_url"),
        ("ftp://host.example/", "blocked_scheme"),
        ("//host.example/", "blocked_scheme"),
        ("host.example/a.jpg", "blocked_scheme"),
        ("http://host.example:8080/", "blocked_address"),
        ("http://2130706433/", "blocked_address"),
        ("http://1.2.3/", "blocked_address"),
        ("http://01.2.3.4/", "blocked_address"),
        ("http://1.2.3.256/", "blocked_address"),
        ("http://host.0x7f/", "blocked_address"),
    ],
)
def test_what_is_not_asked_for_has_a_reason(text: str, reason: str) -> None:
    checked = check_url(text)
    assert isinstance(checked, Rejection)
    assert checked.reason == reason


def test_what_is_asked_for_is_canonical() -> None:
    assert check_url("HTTP://Host.Example.:80/a/../b#c") == URL("http://host.example/b")
    assert check_url("http://my_host.example/") == URL("http://my_host.example/")
    assert check_url("http://host.example:5000/", frozenset({("127.0.0.1", 5000)})) == URL("http://host.example:5000/")
    assert host_of(URL("https://host.example/a")) == "host.example:443"


def test_redirects_are_relative_to_where_they_come_from() -> None:
    url = URL("http://host.example/a/b.jpg")
    assert redirected(url, "c.jpg") == URL("http://host.example/a/c.jpg")
    assert redirected(url, "//other.example/c.jpg") == URL("http://other.example/c.jpg")
    bad = ["", "http://[", "http://[::1]@/", "//[a]@"]
    for location, reason in [*((one, "bad_redirect") for one in bad), ("file:///x", "blocked_scheme")]:
        rejection = redirected(url, location)
        assert isinstance(rejection, Rejection)
        assert rejection.reason == reason


class _Names:
    """Serves everything, under names of its own."""

    prefixes: Sequence[str] = ("",)

    def answer(self, request: Request) -> Response:
        """Answers with a file that wants to be called otherwise."""
        name = {"Content-Disposition": 'attachment; filename="../../evil"', "Content-Location": "/../../evil"}
        return Response(200, b"\x89PNG\r\n\x1a\n and so on", name)


def hostile_paths() -> list[str]:
    """Returns paths that lead out of a folder, or name what no file may be called."""
    paths = [slash.join([up] * 3 + ["etc", "passwd"]) for up in STEP_UP for slash in SLASH]
    paths += [
        "/etc/passwd",
        "//etc/passwd",
        "C:\\x",
        "\\\\host\\share",
        "~/.ssh/id",
        "$HOME/x",
        "`id`",
        "a;id",
        "a|id",
        "-rf",
    ]
    return [
        *paths,
        "a" * 3000,
        "a/" * 1000,
        "CON",
        "nul.jpg",
        "%00",
        "a%00.jpg",
        "\x00",
        "a\nb",
        "",
        ".",
        "file:x",
        "a?b#c",
    ]


def test_no_path_leads_out_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = hostile_paths()
    assert len(paths) >= 60
    state, table = tmp_path / "state/source", tmp_path / "state/table"
    with running_site(_Names()) as site, recorded_writes() as writes:
        monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", f"127.0.0.1:{site.address[1]}")
        asyncio.run(_fetch_all([f"{site.url}/{path}" for path in paths], state))
        endpoint = Endpoint(url=f"{site.url}/below", requests_per_s=10_000.0, in_flight=1)
        with ApiClient(endpoint, state=state, limits=ApiLimits(attempts=1)) as client:
            for path in paths:
                with contextlib.suppress(ApiError):
                    client.download(path, table)
                with contextlib.suppress(ApiError):
                    client.download(quote(path, safe=""), table)

    assert writes
    assert [path for path in writes if not path.is_relative_to(tmp_path / "state")] == []
    assert not any("evil" in str(path) or "passwd" in str(path) for path in writes)
    below = [request.path for request in site.requests if request.headers.get("accept") == "*/*"]
    assert len(below) > 10
    assert all(path.startswith("/below/") and "/../" not in path for path in below)


async def _fetch_all(urls: list[str], state: Path) -> None:
    hosts = ImageHosts(requests_per_s=10_000.0, attempts=1, robots=True)
    async with ImageFetcher(hosts, max_bytes=1000, state=state) as fetcher:
        await asyncio.gather(*map(fetcher.fetch, urls))
