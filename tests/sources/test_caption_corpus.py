import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from minimagen.config import ConfigError
from minimagen.shards import ShardJob, iter_rows, shard_path, write_shard
from minimagen.sources.address_lists import AddressList, ListFile
from minimagen.sources.candidates import Candidate
from minimagen.sources.captions import accept_caption
from minimagen.sources.images import NormalisedImage
from minimagen.sources.remote_rows import Captions, row_of, wish_for
from minimagen.sources.url_tables import UrlRow
from tests.sources.caption_corpus import NUM_CAPTIONS, RULES, CaptionCase, caption_cases
from tests.sources.corpus_reader import outcome_of, read
from tests.sources.table_corpus import AFTER, BEFORE, NUM_TABLES, ODD, TableCase, table_cases
from tests.torture import TORTURE, num_times

MAX_S = 5.0
"""For any one case."""
MAX_RSS_MIB = 256
STRIDE = 1 if TORTURE else 3
PICTURE = NormalisedImage(b"png", "png", 1, 1, 1, 1, "0" * 64, 0)


def as_tsv(captions: Sequence[str], head: str = "caption\turl\n") -> bytes:
    rows = zip(captions, (BEFORE, ODD, AFTER), strict=True)
    return (head + "".join(f"{caption}\t{url}\n" for caption, url in rows)).encode()


def as_csv(captions: Sequence[str]) -> bytes:
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([("caption", "url"), *zip(captions, (BEFORE, ODD, AFTER), strict=True)])
    return stream.getvalue().encode()


def as_jsonl(captions: Sequence[str]) -> bytes:
    records = [{"caption": caption, "url": url} for caption, url in zip(captions, (BEFORE, ODD, AFTER), strict=True)]
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def as_parquet(captions: Sequence[str]) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({"caption": list(captions), "url": [BEFORE, ODD, AFTER]}), stream)
    return stream.getvalue()


def carriers_of(caption: str) -> dict[str, Callable[[Sequence[str]], bytes]]:
    """The formats that can hold a caption at all."""
    if any("\ud800" <= char <= "\udfff" for char in caption):
        return {"jsonl": as_jsonl}
    whole = {"jsonl": as_jsonl, "csv": as_csv, "parquet": as_parquet}
    is_line = "\n" not in caption and "\t" not in caption
    return whole | ({"tsv": as_tsv, "list": lambda captions: as_tsv(captions, "")} if is_line else {})


def test_the_corpus_is_as_large_as_it_says_and_every_case_has_a_name() -> None:
    captions, tables = caption_cases(), table_cases()

    assert (len({case.name for case in captions}), len({case.name for case in tables})) == (NUM_CAPTIONS, NUM_TABLES)
    assert (len(captions), len(tables)) == (NUM_CAPTIONS, NUM_TABLES)
    assert NUM_CAPTIONS + NUM_TABLES >= 635


@pytest.mark.parametrize("case", caption_cases()[::STRIDE], ids=lambda case: case.name)
def test_a_caption_comes_through_every_format_as_it_is_and_ends_as_documented(
    tmp_path: Path, case: CaptionCase
) -> None:
    started = time.monotonic()

    for suffix, written in carriers_of(case.text).items():
        path = tmp_path / f"table.{suffix}"
        path.write_bytes(written(["before", case.text, "after"]))
        rows = read(path)

        assert [row.captions for row in rows[::2]] == [("before",), ("after",)], suffix
        assert [outcome_of(row) for row in rows] == ["ok", case.outcome, "ok"], suffix
        assert rows[1].rejection is not None or (rows[1].url, rows[1].captions) == (ODD, (case.text,)), suffix

    assert time.monotonic() - started < MAX_S


@pytest.mark.parametrize("case", table_cases()[:: 1 if TORTURE else 2], ids=lambda case: case.name)
def test_a_table_ends_as_documented_and_no_row_is_merged_with_another(tmp_path: Path, case: TableCase) -> None:
    path, started = tmp_path / f"table.{case.suffix}", time.monotonic()
    path.write_bytes(case.content)

    try:
        rows = read(path)
    except ConfigError as error:
        assert isinstance(case.outcome, str) and case.outcome in str(error), error
        assert str(error).startswith(str(path)) and "\n" not in str(error)
    else:
        assert tuple(map(outcome_of, rows)) == case.outcome
        assert case.caption is None or [row.captions for row in rows if row.url == ODD] == [(case.caption,)]
        assert all(row.captions in ((), ("before",)) for row in rows if row.url == BEFORE)
        assert all(row.captions in ((), ("after",)) for row in rows if row.url == AFTER)

    assert time.monotonic() - started < MAX_S


def test_the_whole_corpus_is_read_within_the_memory_of_a_worker(tmp_path: Path, checkout: Path) -> None:
    for number, case in enumerate(table_cases()):
        (tmp_path / f"{number}.{case.suffix}").write_bytes(case.content)
    for number, case in enumerate(caption_cases()):
        (tmp_path / f"caption-{number}.jsonl").write_bytes(as_jsonl(["before", case.text, "after"]))
    script = (
        "import sys; from pathlib import Path; from tests.sources.corpus_reader import num_outcomes\n"
        "print(num_outcomes(Path(sys.argv[1])))\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=True,
    )

    num_found, peak_kib = map(int, done.stdout.split())
    assert num_found == 3 * NUM_CAPTIONS + sum(
        1 if isinstance(case.outcome, str) else len(case.outcome) for case in table_cases()
    )
    assert peak_kib < MAX_RSS_MIB * 1024


captions_of_one_line = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n"), max_size=60)


@given(st.lists(captions_of_one_line, min_size=1, max_size=25))
@example(['"', 'a"', "\r", "NA", "null", "\x85\u2028", "\ufeff", "\x00"])
@settings(
    max_examples=num_times(60, 1000),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_valid_captions_come_from_a_list_into_rows_as_they_are(tmp_path: Path, captions: list[str]) -> None:
    path, job = tmp_path / "list.tsv", ShardJob("conceptual_captions", "s1-00000", "{}")
    path.write_bytes("".join(f"{one}\thttps://a.example/{n}\n" for n, one in enumerate(captions)).encode())

    with AddressList(ListFile(path, "tsv")) as rows:
        listed = [rows.row(number) for number in range(len(rows))]
    wishes = [wish_for(_candidate(row), RULES) for row in listed]
    accepted = [wish for wish in wishes if isinstance(wish.captions, Captions)]
    write_shard(tmp_path, job, [row_of(wish, PICTURE, source="x", snapshot="s1") for wish in accepted], [])

    valid = [one for one in captions if isinstance(accept_caption(one, RULES), str)]
    assert len(listed) == len(captions) and len(accepted) == len(valid)
    assert [row.captions for row in listed] == [(one,) for one in captions]
    assert [(row.text_raw, row.text) for row in iter_rows(shard_path(tmp_path, "s1-00000"))] == [
        (one, accept_caption(one, RULES)) for one in valid
    ]


def _candidate(row: UrlRow) -> Candidate:
    return Candidate(row.where, row.url, row.captions, "", "", False, "en")
