import sqlite3
from pathlib import Path

import pytest

from minimagen.rows import Rejection
from minimagen.sources.images import NormalisedImage
from minimagen.sources.spool import open_spool, remove_spool

PICTURE = NormalisedImage(b"\x00png\xff", "png", 3, 4, 30, 40, "ab" * 32, -(2**63))
REFUSAL = Rejection("http_404", "status 404")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "2026-11-01-00000.sqlite"


def begin(path: Path, fingerprint: str = "one") -> None:
    with open_spool(path, fingerprint) as spool:
        spool.keep("http://a/", PICTURE)
        spool.keep("http://b/", REFUSAL)


def test_a_new_spool_knows_nothing(path: Path) -> None:
    with open_spool(path, "one") as spool:
        assert spool.verdicts() == {}


def test_what_was_kept_is_there_again(path: Path) -> None:
    begin(path)

    with open_spool(path, "one") as spool:
        assert spool.verdicts() == {"http://a/": PICTURE.sha256, "http://b/": REFUSAL}
        assert spool.picture("http://a/") == PICTURE


def test_what_was_kept_is_there_although_the_spool_was_never_closed(path: Path, tmp_path: Path) -> None:
    with open_spool(path, "one") as spool:
        spool.keep("http://a/", PICTURE)
        copies = tmp_path / "copies"
        copies.mkdir()
        for file in path.parent.iterdir():
            (copies / file.name).write_bytes(file.read_bytes())

    with open_spool(copies / path.name, "one") as spool:
        assert spool.picture("http://a/") == PICTURE


def test_a_spool_of_other_work_is_begun_anew(path: Path) -> None:
    begin(path)

    with open_spool(path, "other") as spool:
        assert spool.verdicts() == {}


@pytest.mark.parametrize("damage", [b"", b"not a database" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_spool_is_begun_anew(path: Path, damage: bytes) -> None:
    begin(path)
    path.write_bytes(damage)

    with open_spool(path, "one") as spool:
        spool.keep("http://c/", REFUSAL)
        assert spool.verdicts() == {"http://c/": REFUSAL}


def test_a_spool_with_a_torn_page_is_begun_anew(path: Path) -> None:
    with open_spool(path, "one") as spool:
        for number in range(500):
            spool.keep(f"http://a/{number}", Rejection("http_404", "x" * 100))
    content = bytearray(path.read_bytes())
    content[8192:12288] = bytes(4096)
    path.write_bytes(content)

    with open_spool(path, "one") as spool:
        assert spool.verdicts() == {}


def test_an_address_has_one_outcome(path: Path) -> None:
    begin(path)

    with open_spool(path, "one") as spool, pytest.raises(sqlite3.IntegrityError):
        spool.keep("http://a/", PICTURE)


def test_a_removed_spool_leaves_nothing(path: Path) -> None:
    with open_spool(path, "one") as spool:
        spool.keep("http://a/", PICTURE)
        assert len(list(path.parent.iterdir())) == 3

        remove_spool(path)

    assert not list(path.parent.iterdir())
    remove_spool(path)
