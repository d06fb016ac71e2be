from datetime import UTC, datetime

import pytest

from minimagen.rows import CURATED_SCHEMA, ROW_SCHEMA, snapshot_instant


def test_a_date_snapshot_has_a_fixed_instant_and_a_label_has_none() -> None:
    assert snapshot_instant("2026-11-22") == datetime(2026, 11, 22, tzinfo=UTC)
    assert snapshot_instant("demo-1") is None


def test_the_curated_schema_is_the_raw_one_with_group_and_split_and_keeps_the_picture_feature() -> None:
    assert CURATED_SCHEMA.names == [*ROW_SCHEMA.names, "group_id", "split"]
    assert CURATED_SCHEMA.metadata == ROW_SCHEMA.metadata


@pytest.mark.parametrize("label", ["2026-13-01", "v1.2", "2026-02-30"])
def test_what_is_no_date_is_a_label(label: str) -> None:
    assert snapshot_instant(label) is None
