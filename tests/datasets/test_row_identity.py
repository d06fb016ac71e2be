from pathlib import Path

import pytest

from minimagen.datasets.row_identity import rows_sha256
from tests.datasets.prepared import curated_record, write_prepared

RECORDS = [curated_record(number, "train", sha256=f"{number}") for number in range(4)]


def identity(folder: Path, shards: dict[str, list[dict[str, object]]]) -> str:
    curated, _ = write_prepared(folder, shards)
    return rows_sha256(curated)


def test_shards_and_order_do_not_count(tmp_path: Path) -> None:
    first = identity(tmp_path / "a", {"one": RECORDS})
    assert identity(tmp_path / "b", {"two": RECORDS[2:], "three": RECORDS[1::-1]}) == first


@pytest.mark.parametrize("change", [{"text": "other"}, {"sha256": "f"}, {"split": "validation"}, {"key": "k"}])
def test_what_is_trained_on_counts(tmp_path: Path, change: dict[str, object]) -> None:
    first = identity(tmp_path / "a", {"one": RECORDS})
    assert identity(tmp_path / "b", {"one": [RECORDS[0] | change, *RECORDS[1:]]}) != first


def test_a_row_more_counts(tmp_path: Path) -> None:
    assert identity(tmp_path / "a", {"one": RECORDS[:3]}) != identity(tmp_path / "b", {"one": RECORDS})
