"""Large files come whole or not at all, and what has come is not asked for again."""

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from minimagen.sources.api_wire import ApiLimits
from minimagen.sources.http import ApiClient, ApiError
from minimagen.sources.services import Endpoint
from tests.simulators.clocks import JumpingLoop
from tests.simulators.server import Request, Response, Site, running_site

TABLE = b"".join(b"caption %06d\thttp://host.example/%d.jpg\n" % (row, row) for row in range(4000))
LIMITS = ApiLimits(piece_bytes=1000)


class Files:
    """Serves one file with ranges, and stops after so many bytes where it is told to."""

    prefixes: Sequence[str] = ("/",)

    def __init__(self, content: bytes = TABLE, headers: Mapping[str, str] | None = None) -> None:
        self.content = content
        self.headers = {"ETag": '"1"'} if headers is None else dict(headers)
        self.stops_after: list[int] = []
        self.odd_parts: list[Response] = []
        """Sent instead of the next parts that are asked for."""

    def answer(self, request: Request) -> Response:
        """Answers one request."""
        validators = {self.headers.get("ETag"), self.headers.get("Last-Modified")}
        start = 0
        if "range" in request.headers and request.headers.get("if-range") in validators:
            if self.odd_parts:
                return self.odd_parts.pop(0)
            start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(self.content):
            return Response(416, headers={"Content-Range": f"bytes */{len(self.content)}"})
        part = self.content[start:]
        length = {"Content-Length": str(len(part))}
        if start:
            length["Content-Range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        if self.stops_after:
            part, length["Connection"] = part[: self.stops_after.pop(0)], "close"
        return Response(206 if start else 200, part, self.headers | length)


def _download(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch, *, attempts: int = 5, max_bytes: int = 10**7
) -> bytes:
    monkeypatch.setenv("MINIMAGEN_ALLOWED_ADDRESSES", f"127.0.0.1:{site.address[1]}")
    endpoint, clock = Endpoint(url=site.url, requests_per_s=1000.0, in_flight=1), JumpingLoop()
    clock.close()
    limits = ApiLimits(piece_bytes=1000, attempts=attempts)
    with ApiClient(endpoint, state=folder / "state/source", clock=clock, limits=limits) as client:
        client.download("lists/table.tsv", folder / "table.tsv", max_bytes=max_bytes)
    return (folder / "table.tsv").read_bytes()


def _ranges(site: Site) -> list[str | None]:
    return [request.headers.get("range") for request in site.requests]


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("table"))


def test_a_file_is_written_whole_and_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_site(Files()) as site:
        assert _download(site, tmp_path, monkeypatch) == TABLE
    assert _left(tmp_path) == ["table.tsv"]
    assert site.requests[0].headers["accept-encoding"] == "identity"


def test_a_file_that_is_cut_off_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files()
    files.stops_after = [50_000, 0, 40_000]
    with running_site(files) as site:
        assert _download(site, tmp_path, monkeypatch) == TABLE
    assert _ranges(site) == [None, "bytes=50000-", "bytes=50000-", "bytes=90000-"]
    assert [request.headers.get("if-range") for request in site.requests] == [None, *['"1"'] * 3]
    assert _left(tmp_path) == ["table.tsv"]


def test_a_later_call_goes_on_with_what_an_earlier_one_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files()
    files.stops_after = [70_000, 10]
    with running_site(files) as site:
        with pytest.raises(ApiError, match=r"lists/table.tsv: ProtocolError after 70010 bytes, 1 times"):
            _download(site, tmp_path, monkeypatch, attempts=1)
        assert _left(tmp_path) == ["table.tsv.part", "table.tsv.part.json"]
        assert _download(site, tmp_path, monkeypatch) == TABLE
    assert _ranges(site) == [None, "bytes=70000-", "bytes=70010-"]


def test_many_cuts_are_no_fault_as_long_as_something_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files()
    files.stops_after = [9_000] * 15
    with running_site(files) as site:
        assert _download(site, tmp_path, monkeypatch, attempts=2) == TABLE
    assert len(site.requests) == 16


@pytest.mark.parametrize("headers", [{"ETag": '"2"'}, {"Last-Modified": "Fri, 20 Nov 2026 10:00:00 GMT"}])
def test_another_file_of_the_name_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headers: Mapping[str, str]
) -> None:
    files, newer = Files(), Files(TABLE[::-1], headers)
    files.stops_after = [70_000, 0]
    with running_site(files) as site:
        with pytest.raises(ApiError):
            _download(site, tmp_path, monkeypatch, attempts=1)
        files.content, files.headers = newer.content, newer.headers
        assert _download(site, tmp_path, monkeypatch) == TABLE[::-1]
    assert _left(tmp_path) == ["table.tsv"]


@pytest.mark.parametrize(
    ("part", "range_"),
    [
        (TABLE[70_000:], f"bytes 70000-{len(TABLE) - 1}/{len(TABLE) + 1}"),  # not the last byte
        (TABLE[70_000:] + b"more", f"bytes 70000-{len(TABLE) + 3}/{len(TABLE) + 4}"),  # longer than it was
        (TABLE[70_000:80_000], f"bytes 70000-{len(TABLE) - 1}/{len(TABLE)}"),  # less than is said
        (TABLE[60_000:], f"bytes 60000-{len(TABLE) - 1}/{len(TABLE)}"),
        (TABLE[70_000:], "bytes 70000-"),
        (TABLE[70_000:], ""),
    ],
)
def test_a_part_that_does_not_fit_is_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: bytes, range_: str
) -> None:
    files = Files()
    files.stops_after = [70_000]
    odd = Response(206, part, {"ETag": '"1"', "Content-Range": range_})
    files.odd_parts = [odd]
    with running_site(files) as site:
        assert _download(site, tmp_path, monkeypatch) == TABLE
    assert _ranges(site) == [None, "bytes=70000-", None]


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"1"'}])
def test_without_a_strong_name_of_its_version_a_file_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headers: Mapping[str, str]
) -> None:
    files = Files(headers=headers)
    files.stops_after = [70_000]
    with running_site(files) as site:
        assert _download(site, tmp_path, monkeypatch) == TABLE
    assert _ranges(site) == [None, None]


def test_a_file_that_was_stopped_between_its_last_byte_and_its_name_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files()
    files.stops_after = [70_000, 0]
    with running_site(files) as site:
        with pytest.raises(ApiError):
            _download(site, tmp_path, monkeypatch, attempts=1)
        (tmp_path / "table.tsv.part").write_bytes(TABLE)
        assert _download(site, tmp_path, monkeypatch) == TABLE
    assert _ranges(site) == [None, "bytes=70000-", f"bytes={len(TABLE)}-"]


@pytest.mark.parametrize("record", [b"", b"{}", b'{"address": "another", "validator": "1", "size": 1}', b"[1]"])
def test_pieces_of_unknown_origin_are_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: bytes
) -> None:
    (tmp_path / "table.tsv.part").write_bytes(b"something else")
    (tmp_path / "table.tsv.part.json").write_bytes(record)
    with running_site(Files()) as site:
        assert _download(site, tmp_path, monkeypatch) == TABLE
    assert _left(tmp_path) == ["table.tsv"]


def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "table.tsv").write_bytes(b"old")
    files = Files()
    files.stops_after = [50_000, 0]
    with running_site(files) as site:
        with pytest.raises(ApiError):
            _download(site, tmp_path, monkeypatch, attempts=1)
        assert (tmp_path / "table.tsv").read_bytes() == b"old"
        assert _download(site, tmp_path, monkeypatch) == TABLE


def test_what_is_packed_stays_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(TABLE, mtime=0)
    with running_site(Files(packed, {"ETag": '"1"', "Content-Encoding": "gzip"})) as site:
        assert _download(site, tmp_path, monkeypatch) == packed


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "999999999"}])
def test_too_large_files_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headers: Mapping[str, str]
) -> None:
    with running_site(Files(headers=headers)) as site, pytest.raises(ApiError, match=r"lists/table.tsv: .*1000"):
        _download(site, tmp_path, monkeypatch, max_bytes=1000)
    assert _left(tmp_path) == []
    assert len(site.requests) == 1


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><p>no", b"\n <HTML>no", b"<head>"])
def test_a_page_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: bytes) -> None:
    with running_site(Files(page)) as site, pytest.raises(ApiError, match="sent a page instead of a file, 2 times"):
        _download(site, tmp_path, monkeypatch, attempts=2)
    assert not (tmp_path / "table.tsv").exists()


def test_a_fault_of_the_disk_is_told_as_such_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "table.tsv").mkdir()
    (tmp_path / "table.tsv/in the way").touch()
    with running_site(Files()) as site, pytest.raises(OSError, match="Is a directory"):
        _download(site, tmp_path, monkeypatch)
    assert len(site.requests) == 1
