import os
from pathlib import Path

import pytest

from minimagen.sources.body import Body


def body_of(folder: Path, *pieces: bytes) -> Body:
    body = Body(folder)
    for piece in pieces:
        body.add(piece)
    return body


def num_open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("size", [0, 1, 15, 16, 131_071, 131_072, 131_073, 3_000_000])
def test_a_body_holds_what_was_added_however_long(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)

    body = body_of(tmp_path, content[:7], content[7:100_000], content[100_000:])

    assert len(body) == size and body.start == content[:16]
    assert body.read() == content and body.read() == content


def test_more_may_come_after_reading(tmp_path: Path) -> None:
    body = body_of(tmp_path, b"one ")

    assert body.read() == b"one "
    body.add(b"two")
    assert body.read() == b"one two"


def test_a_long_body_is_a_file_without_a_name_that_goes_with_it(tmp_path: Path) -> None:
    num_open = num_open_files()
    body = body_of(tmp_path, bytes(1_000_000))

    num_files = num_open_files() - num_open
    del body

    assert num_files == 1 and num_open_files() == num_open
    assert not list(tmp_path.iterdir())
