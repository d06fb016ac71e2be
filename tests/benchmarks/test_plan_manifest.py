from itertools import islice
from pathlib import Path

import pytest

from benchmarks.plan_manifest import FORMATS, measure, pairs, write_table
from minimagen.sources.url_tables import UrlTable, read_url_table

MAX_GROWTH_MIB = 15
"""15,000 rows of 2,000 letters more would be 29 MiB if they were held; a cache of at most 16 MiB may fill up."""


@pytest.mark.long
@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_planning_four_times_as_many_rows_takes_no_more_memory(suffix: str) -> None:
    few, many = measure(suffix, [5_000, 20_000], 1, filler=" long" * 400)

    peaks = [float(row[name] or 0) for name in ("peak MiB", "again MiB") for row in (few, many)]
    assert peaks[1] - peaks[0] < MAX_GROWTH_MIB and peaks[3] - peaks[2] < MAX_GROWTH_MIB
    assert max(peaks) < 256


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_holds_the_rows_that_are_planned(tmp_path: Path, suffix: str) -> None:
    write_table(tmp_path / f"t.{suffix}", 30)

    rows = read_url_table(UrlTable(tmp_path / f"t.{suffix}", "url", "caption", None))

    assert [(row.url, *row.captions) for row in rows] == list(pairs(30, 1))


def test_rows_of_one_address_stand_far_apart_and_a_longer_table_begins_with_a_shorter_one() -> None:
    urls = [url for url, _ in pairs(60_000, 3)]

    assert len(set(urls[:30_000])) == 10_000 and urls[0] == urls[10_000] == urls[20_000] != urls[30_000]
    assert list(islice(pairs(60_000, 3), 100)) == list(pairs(100, 3))
