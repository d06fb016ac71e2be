"""Sealed folders are whole or absent, and no change of a single bit goes unnoticed."""

import errno
import os
import random
from pathlib import Path

import pytest

from minimagen import sealed
from minimagen.sealed import MANIFEST, SealError, read_sealed, remove_leftovers, write_sealed

FILES = [("a.bin", bytes(range(256))), ("b.json", b'{"step":1}'), ("empty", b"")]


def test_what_is_written_verifies_and_says_its_facts(tmp_path: Path) -> None:
    write_sealed(tmp_path / "deep" / "state", FILES, {"format_version": 1, "data": "abc"})

    manifest = read_sealed(tmp_path / "deep" / "state")

    assert (manifest["format_version"], manifest["data"]) == (1, "abc")
    assert (tmp_path / "deep" / "state" / "a.bin").read_bytes() == FILES[0][1]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["state"]


def test_equal_contents_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_sealed(tmp_path / name, FILES, {"format_version": 1})

    assert (tmp_path / "one" / MANIFEST).read_bytes() == (tmp_path / "two" / MANIFEST).read_bytes()


def test_writing_again_replaces_the_folder(tmp_path: Path) -> None:
    write_sealed(tmp_path / "state", FILES, {})
    write_sealed(tmp_path / "state", [("other", b"new")], {})

    read_sealed(tmp_path / "state")

    assert {path.name for path in (tmp_path / "state").iterdir()} == {"other", MANIFEST}
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_every_flipped_bit_is_noticed_in_whatever_file(tmp_path: Path) -> None:
    write_sealed(tmp_path / "state", FILES, {"format_version": 1})
    chance = random.Random(0)

    for path in sorted((tmp_path / "state").iterdir()):
        content = path.read_bytes()
        for _ in range(min(300, 8 * len(content))):
            flipped = bytearray(content)
            flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            path.write_bytes(flipped)
            with pytest.raises(SealError, match=path.name):
                read_sealed(tmp_path / "state")
        path.write_bytes(content)
    read_sealed(tmp_path / "state")


@pytest.mark.parametrize("name", ["a.bin", "b.json", MANIFEST])
def test_truncated_and_missing_files_are_named(tmp_path: Path, name: str) -> None:
    write_sealed(tmp_path / "state", FILES, {})
    path = tmp_path / "state" / name
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(SealError, match=name):
        read_sealed(tmp_path / "state")
    path.unlink()
    with pytest.raises(SealError, match=f"{name}.*missing"):
        read_sealed(tmp_path / "state")


def test_a_file_that_nobody_listed_is_named(tmp_path: Path) -> None:
    write_sealed(tmp_path / "state", FILES, {})
    (tmp_path / "state" / "stranger").write_bytes(b"")

    with pytest.raises(SealError, match="stranger: not listed"):
        read_sealed(tmp_path / "state")


@pytest.mark.parametrize("failing_write", range(4))
def test_a_full_disk_leaves_the_old_folder_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_write: int
) -> None:
    write_sealed(tmp_path / "state", FILES, {"age": "old"})
    count, real = iter(range(100)), sealed.write_durable

    def full(path: Path, content: bytes) -> None:
        if next(count) == failing_write:
            path.write_bytes(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real(path, content)

    monkeypatch.setattr(sealed, "write_durable", full)
    with pytest.raises(OSError, match="No space left"):
        write_sealed(tmp_path / "state", FILES, {"age": "new"})

    assert read_sealed(tmp_path / "state")["age"] == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_refused_replacement_leaves_the_old_folder_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sealed(tmp_path / "state", FILES, {"age": "old"})
    real = Path.rename

    def rename(source: Path, target: Path) -> Path:
        if read_sealed(source).get("age") == "new":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(source))
        return real(source, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="Input/output error"):
        write_sealed(tmp_path / "state", FILES, {"age": "new"})

    assert read_sealed(tmp_path / "state")["age"] == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_leftovers_of_one_name_are_removed_and_others_stay(tmp_path: Path) -> None:
    for name in ("base.tmp-123", "base.tmp-123-old", "super.tmp-9", "base"):
        (tmp_path / name).mkdir()

    remove_leftovers(tmp_path, "base")

    assert {path.name for path in tmp_path.iterdir()} == {"super.tmp-9", "base"}
