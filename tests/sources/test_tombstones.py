from pathlib import Path

import pytest

from minimagen.errors import UserError
from minimagen.files import sha256_bytes
from minimagen.sources.candidates import Candidate
from minimagen.sources.tombstones import (
    Graves,
    honour_tombstones,
    read_graves,
    read_tombstones,
    tombstones_path,
    with_keys,
    write_graves,
)


def test_a_source_that_nothing_was_purged_from_has_none(tmp_path: Path) -> None:
    tombstones = read_tombstones(tmp_path)

    assert len(tombstones) == 0 and "tmdb:1" not in tombstones


def test_purged_keys_are_known_and_no_others(tmp_path: Path) -> None:
    keys = [f"tmdb:{number}" for number in range(1000)]
    write_graves(tmp_path, with_keys(Graves({}, None), "2026-01-01", "too_old", keys))

    tombstones = read_tombstones(tmp_path)

    assert len(tombstones) == 1000
    assert all(key in tombstones for key in keys)
    assert not any(f"tmdb:{number}" in tombstones for number in range(1000, 3000))


def test_the_file_has_hashes_and_no_key(tmp_path: Path) -> None:
    write_graves(tmp_path, with_keys(Graves({}, None), "2026-01-01", "too_old", ["tmdb:550"]))

    text = tombstones_path(tmp_path).read_text()

    assert "tmdb:550" not in text
    assert f'{{"2026-01-01":{{"too_old":["{sha256_bytes(b"tmdb:550")}"]}}}}' in text


def test_what_is_added_twice_changes_no_byte(tmp_path: Path) -> None:
    graves = with_keys(Graves({}, None), "2026-01-01", "too_old", ["tmdb:2", "tmdb:1"])
    write_graves(tmp_path, graves)
    before = tombstones_path(tmp_path).read_bytes()

    write_graves(tmp_path, with_keys(read_graves(tmp_path), "2026-01-01", "too_old", ["tmdb:1"]))

    assert tombstones_path(tmp_path).read_bytes() == before


def test_a_purged_candidate_keeps_its_key_alone(tmp_path: Path) -> None:
    write_graves(tmp_path, with_keys(Graves({}, None), "2026-01-01", "too_old", ["a:1"]))
    candidates = [
        Candidate(
            f"a:{number}", "http://a.example/1.jpg", ("A caption",), "http://a.example", "CC0", False, "en", "{1:2}"
        )
        for number in (1, 2)
    ]

    purged, kept = honour_tombstones(candidates, read_tombstones(tmp_path))

    assert (purged.key, purged.reason) == ("a:1", "purged")
    assert (purged.url, purged.captions, purged.page_url, purged.extra) == ("", (), "", "{}")
    assert kept == candidates[1]


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b'{"version":1}', b"\xff"])
def test_a_damaged_file_is_told_and_not_taken_for_an_empty_one(tmp_path: Path, damage: bytes) -> None:
    tombstones_path(tmp_path).write_bytes(damage)

    with pytest.raises(UserError, match=r"tombstones\.json: damaged .* or what was purged returns"):
        read_tombstones(tmp_path)


def test_a_changed_hash_is_told(tmp_path: Path) -> None:
    write_graves(tmp_path, with_keys(Graves({}, None), "2026-01-01", "too_old", ["tmdb:550"]))
    path = tombstones_path(tmp_path)
    path.write_text(path.read_text().replace(sha256_bytes(b"tmdb:550"), sha256_bytes(b"tmdb:551")))

    with pytest.raises(UserError, match="damaged"):
        read_tombstones(tmp_path)


def test_an_unfinished_purge_is_named_with_the_command_that_finishes_it(tmp_path: Path) -> None:
    write_graves(tmp_path, Graves({}, unfinished="2026-05-01"))

    with pytest.raises(UserError, match=f"minimagen purge --source {tmp_path.name} --older-than 2026-05-01"):
        read_tombstones(tmp_path)
    assert read_graves(tmp_path).unfinished == "2026-05-01"
