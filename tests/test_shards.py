import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from minimagen.rows import Failure, Row
from minimagen.shards import (
    ShardJob,
    failures_path,
    find_report,
    iter_images,
    iter_rows,
    read_shard_file,
    read_table,
    record_path,
    remove_unplanned,
    shard_path,
    write_shard,
)

JOB = ShardJob(source="folder", name="demo-1-00000", spec='{"rule":1}')


def make_row(index: int, *, side: int = 8) -> Row:
    pixels = np.random.default_rng(index).integers(0, 256, (side, side, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return Row(
        key=f"folder:{index:04d}.png",
        image_bytes=stream.getvalue(),
        text=f"picture {index}",
        text_raw=f" picture  {index}",
        captions=(f"picture {index}", "another"),
        width=side,
        height=side,
        orig_width=2 * side,
        orig_height=2 * side,
        format="png",
        sha256=f"{index:064x}",
        phash=-index,
        source="folder",
        source_url="",
        page_url="",
        license="CC0-1.0",
        adult=False,
        lang="en",
        fetched_at=datetime(2026, 11, 22, tzinfo=UTC),
        extra="{}",
    )


ROWS = [make_row(index) for index in range(5)]
FAILURES = [Failure("folder:bad.png", "bad.png", "not_an_image", "HTML"), Failure("folder:x", "x", "too_small", "1x1")]


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [*ROWS, replace(make_row(9), fetched_at=None, captions=())]

    write_shard(tmp_path, JOB, rows, [])

    assert list(iter_rows(shard_path(tmp_path, JOB.name))) == rows


def test_equal_rows_give_equal_bytes_in_another_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shard(tmp_path / name, JOB, ROWS, FAILURES)

    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 3
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_a_report_counts_every_row_once_by_reason(tmp_path: Path) -> None:
    report = write_shard(tmp_path, JOB, ROWS, FAILURES)

    assert (report.stored, report.rejected, report.pending) == (5, {"not_an_image": 1, "too_small": 1}, 0)
    assert not report.was_done
    assert read_table(failures_path(tmp_path, JOB.name)).to_pylist()[0]["detail"] == "HTML"


def test_a_key_with_two_outcomes_is_our_error(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="two outcomes"):
        write_shard(tmp_path, JOB, ROWS, [Failure(ROWS[0].key, "", "flat", "")])


def test_a_done_shard_is_found_with_the_same_counts(tmp_path: Path) -> None:
    written = write_shard(tmp_path, JOB, ROWS, FAILURES)

    assert find_report(tmp_path, JOB) == replace(written, was_done=True)
    assert read_shard_file(tmp_path, JOB.name).rows == 5


def test_a_shard_without_rows_is_done_too(tmp_path: Path) -> None:
    write_shard(tmp_path, JOB, [], FAILURES)

    found = find_report(tmp_path, JOB)
    assert found is not None and found.stored == 0
    assert list(iter_rows(shard_path(tmp_path, JOB.name))) == []


def test_a_shard_with_pending_rows_is_not_done(tmp_path: Path) -> None:
    report = write_shard(tmp_path, JOB, ROWS, [], pending=2)

    assert report.pending == 2
    assert find_report(tmp_path, JOB) is None


def test_a_changed_spec_runs_again(tmp_path: Path) -> None:
    write_shard(tmp_path, JOB, ROWS, [])

    assert find_report(tmp_path, replace(JOB, spec='{"rule":2}')) is None


@pytest.mark.parametrize("damaged", [shard_path, failures_path, record_path])
def test_a_flipped_bit_or_a_missing_file_runs_again(tmp_path: Path, damaged: Callable[[Path, str], Path]) -> None:
    path = damaged(tmp_path, JOB.name)
    write_shard(tmp_path, JOB, ROWS, FAILURES)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert find_report(tmp_path, JOB) is None

    write_shard(tmp_path, JOB, ROWS, FAILURES)
    path.unlink()
    assert find_report(tmp_path, JOB) is None


def test_a_flipped_bit_in_a_page_is_refused_on_reading(tmp_path: Path) -> None:
    write_shard(tmp_path, JOB, ROWS, [])
    path = shard_path(tmp_path, JOB.name)
    content = path.read_bytes()
    position = content.index(ROWS[2].image_bytes) + 20
    path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])

    with pytest.raises(ValueError, match=r"demo-1-00000\.parquet: cannot be read"):
        read_table(path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.parquet: cannot be read"):
        read_table(tmp_path / "nowhere.parquet")


def test_files_outside_the_plan_are_deleted_and_the_others_are_not(tmp_path: Path) -> None:
    other = replace(JOB, name="old-00000")
    for job in (JOB, other):
        write_shard(tmp_path, job, ROWS, FAILURES)
    (tmp_path / "shards" / "demo-1-00000.parquet.tmp-77").write_bytes(b"torn")
    (tmp_path / "manifest.json").write_text("{}")

    removed = remove_unplanned(tmp_path, [JOB])

    assert len(removed) == 4
    assert find_report(tmp_path, JOB) is not None
    assert not record_path(tmp_path, other.name).exists() and (tmp_path / "manifest.json").exists()


def test_columns_can_be_read_without_the_pictures(tmp_path: Path) -> None:
    write_shard(tmp_path, JOB, ROWS, [])

    table = read_table(shard_path(tmp_path, JOB.name), ["key", "text"])

    assert table.column_names == ["key", "text"] and table.num_rows == 5


def test_pandas_opens_a_shard(tmp_path: Path) -> None:
    write_shard(tmp_path, JOB, ROWS, [])

    frame = pd.read_parquet(shard_path(tmp_path, JOB.name))

    assert list(frame["text"]) == [row.text for row in ROWS]
    assert frame["image"].tolist()[0]["bytes"] == ROWS[0].image_bytes


def test_hugging_face_datasets_opens_a_shard_and_decodes_its_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    write_shard(tmp_path, JOB, ROWS, [])
    file = str(shard_path(tmp_path, JOB.name))

    dataset = datasets.load_dataset("parquet", data_files=file, cache_dir=str(tmp_path / "cache"), split="train")

    picture = dataset[3]["image"]
    assert picture.size == (8, 8) and picture.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(Image.open(io.BytesIO(ROWS[3].image_bytes))))
    assert dataset[3]["captions"] == ["picture 3", "another"]


def test_the_record_holds_no_clock_host_or_path(tmp_path: Path) -> None:
    write_shard(tmp_path, JOB, ROWS, FAILURES)

    record = json.loads(record_path(tmp_path, JOB.name).read_text())

    assert set(record) == {"version", "spec_sha256", "shard", "failures_sha256", "rejected", "pending", "record_sha256"}
    assert set(record["shard"]) == {"file", "rows", "bytes", "sha256"}


def test_pictures_are_stored_as_they_are_and_everything_else_compressed(tmp_path: Path) -> None:
    write_shard(tmp_path, JOB, [make_row(index) for index in range(300)], [])

    metadata = pq.read_metadata(shard_path(tmp_path, JOB.name))

    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [128, 128, 44]
    columns = [metadata.row_group(0).column(number) for number in range(metadata.num_columns)]
    compression = {column.path_in_schema: column.compression for column in columns}
    assert compression.pop("image.bytes") == "UNCOMPRESSED"
    assert set(compression.values()) == {"ZSTD"}


def test_pictures_are_read_a_row_group_at_a_time(tmp_path: Path) -> None:
    rows = [make_row(index) for index in range(200)]
    write_shard(tmp_path, JOB, rows, [])

    assert list(iter_images(shard_path(tmp_path, JOB.name))) == [row.image_bytes for row in rows]
    with pytest.raises(ValueError, match=r"nowhere\.parquet: cannot be read"):
        list(iter_images(tmp_path / "nowhere.parquet"))


def test_where_the_source_lies_is_no_part_of_a_jobs_identity(tmp_path: Path) -> None:
    write_shard(tmp_path, replace(JOB, spec='{"reads":"/a","rule":1}'), ROWS, [])

    assert find_report(tmp_path, replace(JOB, spec='{"reads":"/b","rule":1}')) is not None
