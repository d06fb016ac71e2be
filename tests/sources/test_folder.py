import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minimagen.config import CaptionRules, ConfigError, FolderConfig, ImageRules
from minimagen.rows import Row
from minimagen.shards import ShardReport, failures_path, iter_rows, read_table, shard_path
from minimagen.sources import folder as source

IMAGES = ImageRules(
    store_size=16, min_side=8, max_aspect=3.0, max_pixels=10_000, min_std=2.0, animated="first_frame", encoding="png"
)
CONFIG = FolderConfig(
    captions_file=None,
    path_column="file_name",
    caption_column="text",
    license="CC0-1.0",
    lang="en",
    shard_rows=3,
    images=IMAGES,
    captions=CaptionRules(min_chars=3, max_chars=60),
)


def picture(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 20, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write_pictures(reads: Path, *names: str) -> None:
    for name in names:
        (reads / name).parent.mkdir(parents=True, exist_ok=True)
        (reads / name).write_bytes(picture(sum(name.encode())))


def write_jsonl(path: Path, *records: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def ingest(reads: Path, out: Path, config: FolderConfig = CONFIG, snapshot: str = "s1") -> list[ShardReport]:
    return [source.run(job, folder=out) for job in source.plan(config, reads=reads, snapshot=snapshot)]


def stored(out: Path, snapshot: str = "s1") -> list[Row]:
    return [row for path in sorted((out / "shards").glob(f"{snapshot}-*.parquet")) for row in iter_rows(path)]


def rejected(out: Path) -> dict[str, str]:
    records = [record for path in sorted((out / "failures").iterdir()) for record in read_table(path).to_pylist()]
    return {record["key"]: record["reason"] for record in records}


@pytest.fixture
def reads(tmp_path: Path) -> Path:
    """Four captioned pictures in nested folders."""
    reads = tmp_path / "pictures"
    names = ["a.png", "b.png", "sub/c.png", "sub/deep/d.png"]
    write_pictures(reads, *names)
    write_jsonl(reads / "metadata.jsonl", *({"file_name": name, "text": f"picture {name}"} for name in names))
    return reads


def test_an_imagefolder_is_stored_in_the_order_of_its_captions(reads: Path, tmp_path: Path) -> None:
    reports = ingest(reads, tmp_path / "out")

    rows = stored(tmp_path / "out")
    assert [row.key for row in rows] == ["folder:a.png", "folder:b.png", "folder:sub/c.png", "folder:sub/deep/d.png"]
    assert [(report.name, report.stored) for report in reports] == [("s1-00000", 3), ("s1-00001", 1)]
    assert rows[2].text == "picture sub/c.png" and rows[2].license == "CC0-1.0" and rows[2].source_url == "sub/c.png"
    assert (rows[0].width, rows[0].height, rows[0].orig_width) == (20, 16, 20)


def test_metadata_in_subfolders_names_pictures_relative_to_itself(tmp_path: Path) -> None:
    reads = tmp_path / "pictures"
    write_pictures(reads, "train/x.png", "test/x.png")
    write_jsonl(reads / "train/metadata.jsonl", {"file_name": "x.png", "text": "the first"})
    (reads / "test/metadata.csv").write_text("file_name,text\nx.png,the second\n")

    ingest(reads, tmp_path / "out")

    assert {row.key: row.text for row in stored(tmp_path / "out")} == {
        "folder:test/x.png": "the second",
        "folder:train/x.png": "the first",
    }


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl"])
def test_a_table_of_any_format_with_any_columns_does(reads: Path, tmp_path: Path, suffix: str) -> None:
    (reads / "metadata.jsonl").unlink()
    names = ["a.png", "sub/c.png", "b.png", "sub/deep/d.png"]
    records = [{"image": name, "caption": f"about {name}"} for name in names]
    separator = "\t" if suffix == "tsv" else ","
    table = (
        separator.join(["image", "caption"])
        + "\n"
        + "".join(f"{record['image']}{separator}{record['caption']}\n" for record in records)
    )
    lists = {"json": json.dumps(records), "jsonl": "\n".join(map(json.dumps, records))}
    (reads / f"captions.{suffix}").write_text(lists.get(suffix, table))
    changes = {"captions_file": Path(f"captions.{suffix}"), "path_column": "image", "caption_column": "caption"}

    ingest(reads, tmp_path / "out", CONFIG.model_copy(update=changes))

    assert [row.text for row in stored(tmp_path / "out")] == [f"about {name}" for name in names]


def test_every_picture_and_every_caption_has_one_outcome(reads: Path, tmp_path: Path) -> None:
    write_pictures(reads, "unnamed.jpg", "sub/unnamed.webp", ".hidden.png")
    (reads / "broken.jpg").write_bytes(b"<html>404</html>")
    (reads / "notes.txt").write_text("not a picture")
    with (reads / "metadata.jsonl").open("a") as stream:
        for record in (
            {"file_name": "broken.jpg", "text": "a broken one"},
            {"file_name": "gone.png", "text": "a missing one"},
            {"file_name": "sub", "text": "a folder"},
            {"file_name": "../secret.png", "text": "an escape"},
            {"file_name": "/etc/passwd", "text": "another escape"},
            {"file_name": "sub/../../x.png", "text": "a third"},
        ):
            stream.write(json.dumps(record) + "\n")

    reports = ingest(reads, tmp_path / "out")

    assert rejected(tmp_path / "out") == {
        "folder:broken.jpg": "not_an_image",
        "folder:gone.png": "missing_file",
        "folder:sub": "missing_file",
        "folder:../secret.png": "outside_folder",
        "folder:/etc/passwd": "outside_folder",
        "folder:../x.png": "outside_folder",
        "folder:sub/unnamed.webp": "no_caption",
        "folder:unnamed.jpg": "no_caption",
    }
    assert sum(report.stored for report in reports) == 4
    assert sum(sum(report.rejected.values()) for report in reports) == 8


def test_every_rejection_has_a_detail(reads: Path, tmp_path: Path) -> None:
    write_pictures(reads, "unnamed.jpg")
    with (reads / "metadata.jsonl").open("a") as stream:
        stream.write('{"file_name": "gone.png", "text": "x"}\n{"file_name": "b.png", "text": 3}\n')

    ingest(reads, tmp_path / "out")

    for path in (tmp_path / "out" / "failures").iterdir():
        assert all(record["detail"] for record in read_table(path).to_pylist())


def test_a_link_that_leads_out_of_the_folder_is_not_followed(reads: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path, "secret.png")
    (reads / "link.png").symlink_to(tmp_path / "secret.png")
    (reads / "inside.png").symlink_to(reads / "a.png")
    (reads / "loop").symlink_to(reads)
    with (reads / "metadata.jsonl").open("a") as stream:
        stream.write('{"file_name": "link.png", "text": "a link"}\n{"file_name": "inside.png", "text": "a link"}\n')

    ingest(reads, tmp_path / "out")

    assert rejected(tmp_path / "out") == {"folder:link.png": "outside_folder"}
    assert "folder:inside.png" in [row.key for row in stored(tmp_path / "out")]


def test_captions_are_cleaned_checked_and_kept_raw(reads: Path, tmp_path: Path) -> None:
    write_jsonl(
        reads / "metadata.jsonl",
        {"file_name": "a.png", "text": " <b>NA</b>tional   flag &amp; sky "},
        {"file_name": "b.png", "text": "NA"},
        {"file_name": "sub/c.png", "text": "x" * 61},
        {"file_name": "sub/deep/d.png", "text": "null"},
    )

    ingest(reads, tmp_path / "out")

    rows = stored(tmp_path / "out")
    assert [(row.text, row.text_raw) for row in rows] == [
        ("NAtional flag & sky", " <b>NA</b>tional   flag &amp; sky "),
        ("null", "null"),
    ]
    assert rejected(tmp_path / "out") == {"folder:b.png": "caption_too_short", "folder:sub/c.png": "caption_too_long"}


def test_several_captions_of_a_picture_stand_in_one_row(reads: Path, tmp_path: Path) -> None:
    write_jsonl(
        reads / "metadata.jsonl",
        {"file_name": "a.png", "text": ["x", "the first", "a second", "the first"]},
        {"file_name": "b.png", "text": "one row"},
        {"file_name": "./b.png", "text": "and another"},
        {"file_name": "sub/c.png", "text": []},
        {"file_name": "sub//deep/d.png", "text": ["", "y"]},
    )

    ingest(reads, tmp_path / "out")

    first, second = stored(tmp_path / "out")
    assert first.captions == ("the first", "a second") and first.text == "the first"
    assert json.loads(first.extra) == {"captions_dropped": {"caption_too_short": 1}}
    assert second.captions == ("one row", "and another") and second.extra == "{}"
    assert rejected(tmp_path / "out") == {
        "folder:sub/c.png": "no_caption",
        "folder:sub/deep/d.png": "caption_too_short",
    }


def test_names_with_accents_are_found_however_they_are_spelt(tmp_path: Path) -> None:
    reads = tmp_path / "pictures"
    write_pictures(reads, "cafe\u0301.png")
    write_jsonl(reads / "metadata.jsonl", {"file_name": "caf\u00e9.png", "text": "a cafe"})

    ingest(reads, tmp_path / "out")

    assert [row.key for row in stored(tmp_path / "out")] == ["folder:cafe\u0301.png"]


def test_names_that_are_no_utf8_and_captions_with_broken_characters_are_counted(tmp_path: Path) -> None:
    reads = tmp_path / "pictures"
    write_pictures(reads, "a.png", "b.png")
    (reads / "b.png").rename(Path(os.fsdecode(os.fsencode(reads) + b"/b\xff.png")))
    write_jsonl(
        reads / "metadata.jsonl",
        {"file_name": "a.png", "text": "half \ud800 a pair"},
        {"file_name": "\ud800.png", "text": "no such name"},
        {"file_name": "a\u0000.png", "text": "no such name"},
        {"file_name": "x" * 5000 + ".png", "text": "no such name"},
    )

    ingest(reads, tmp_path / "out")

    reasons = sorted(rejected(tmp_path / "out").values())
    assert reasons == ["caption_not_text", "missing_file", "missing_file", "no_caption", "unreadable"]


def test_running_again_does_nothing(reads: Path, tmp_path: Path) -> None:
    ingest(reads, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*")}

    reports = ingest(reads, tmp_path / "out")

    assert all(report.was_done for report in reports)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*")} == before


def test_two_runs_in_two_places_write_the_same_bytes(reads: Path, tmp_path: Path) -> None:
    shutil.copytree(reads, tmp_path / "elsewhere" / "moved")
    ingest(reads, tmp_path / "a")
    ingest(tmp_path / "elsewhere" / "moved", tmp_path / "b")

    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 6
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


@pytest.mark.parametrize("change", ["picture", "caption", "appears"])
def test_a_change_runs_its_own_shard_alone(reads: Path, tmp_path: Path, change: str) -> None:
    with (reads / "metadata.jsonl").open("a") as stream:
        stream.write('{"file_name": "late.png", "text": "not there yet"}\n')
    ingest(reads, tmp_path / "out")

    if change == "picture":
        (reads / "sub/deep/d.png").write_bytes(picture(99))
    elif change == "caption":
        path = reads / "metadata.jsonl"
        path.write_text(path.read_text().replace("picture sub/deep/d.png", "another caption"))
    else:
        write_pictures(reads, "late.png")

    assert [report.was_done for report in ingest(reads, tmp_path / "out")] == [True, False]


def test_pictures_added_at_the_end_touch_the_last_shard_alone(reads: Path, tmp_path: Path) -> None:
    ingest(reads, tmp_path / "out")
    write_pictures(reads, "0-sorts-first.png")
    with (reads / "metadata.jsonl").open("a") as stream:
        stream.write('{"file_name": "0-sorts-first.png", "text": "a new one"}\n')

    assert [report.was_done for report in ingest(reads, tmp_path / "out")] == [True, False]


def test_a_changed_rule_runs_every_shard(reads: Path, tmp_path: Path) -> None:
    ingest(reads, tmp_path / "out")
    smaller = CONFIG.model_copy(update={"images": IMAGES.model_copy(update={"store_size": 8})})

    assert [report.was_done for report in ingest(reads, tmp_path / "out", smaller)] == [False, False]
    assert stored(tmp_path / "out")[0].height == 8


def test_a_picture_that_changes_after_planning_is_an_error(reads: Path, tmp_path: Path) -> None:
    jobs = source.plan(CONFIG, reads=reads, snapshot="s1")
    (reads / "a.png").write_bytes(picture(99))
    (reads / "sub/deep/d.png").unlink()

    for job, name in zip(jobs, (r"a\.png", r"d\.png"), strict=True):
        with pytest.raises(ValueError, match=rf"{name} has changed since it was planned"):
            source.run(job, folder=tmp_path / "out")
    assert not shard_path(tmp_path / "out", jobs[0].name).exists()
    assert not failures_path(tmp_path / "out", jobs[0].name).exists()


def test_a_missing_folder_missing_captions_and_two_captions_files_are_told(reads: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sources\.folder: .*nowhere: no such folder"):
        source.plan(CONFIG, reads=tmp_path / "nowhere", snapshot="s1")
    (reads / "metadata.csv").write_text("file_name,text\n")
    with pytest.raises(ConfigError, match=r"has both metadata\.jsonl and metadata\.csv"):
        source.plan(CONFIG, reads=reads, snapshot="s1")
    (reads / "metadata.csv").unlink()
    (reads / "metadata.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"found neither metadata\.jsonl nor metadata\.csv"):
        source.plan(CONFIG, reads=reads, snapshot="s1")
    with pytest.raises(ConfigError, match=r"ingest\.folder\.captions_file: .*captions\.csv: no such file"):
        source.plan(CONFIG.model_copy(update={"captions_file": Path("captions.csv")}), reads=reads, snapshot="s1")


def test_a_captions_file_outside_of_the_folder_is_refused(reads: Path) -> None:
    for outside in (Path("../captions.csv"), Path("/tmp/captions.csv")):
        with pytest.raises(ConfigError, match=r"captions_file: .*captions\.csv is not inside"):
            source.plan(CONFIG.model_copy(update={"captions_file": outside}), reads=reads, snapshot="s1")


def test_a_date_snapshot_stands_in_every_row(reads: Path, tmp_path: Path) -> None:
    ingest(reads, tmp_path / "out", snapshot="2026-11-22")

    assert {str(row.fetched_at) for row in stored(tmp_path / "out", "2026-11-22")} == {"2026-11-22 00:00:00+00:00"}
