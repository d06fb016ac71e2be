from pathlib import Path

import numpy as np
import pytest

from minimagen.errors import UserError
from minimagen.evaluation.pairs import DRAWN, REAL, Pairs, read_pairs, write_pairs


def pairs() -> Pairs:
    source = np.random.default_rng(0)
    pictures = {label: source.integers(0, 256, (2, 4, 4, 3), dtype=np.uint8) for label in (REAL, DRAWN)}
    return Pairs(("a fox", "an owl in the “snow”"), pictures)


def test_pairs_come_back_as_they_were_written(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs", pairs())

    found = read_pairs(tmp_path / "pairs")

    assert found.captions == pairs().captions and list(found.pictures) == [REAL, DRAWN]
    assert all(np.array_equal(found.pictures[label], pictures) for label, pictures in pairs().pictures.items())


def test_equal_pairs_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_pairs(tmp_path / name, pairs())

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("content", [b"", b"\x02\0\0\0\0\0\0\0{}", b"no safetensors at all"])
def test_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pairs").write_bytes(content)

    with pytest.raises(UserError, match=r"pairs: not pictures of pairs"):
        read_pairs(tmp_path / "pairs")
