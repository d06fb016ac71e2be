import json
import shutil
from pathlib import Path

import pytest

from minimagen.config import ConfigError
from minimagen.manifest import read_manifest
from minimagen.shards import read_table
from minimagen.stages.curate import run_curate
from minimagen.stages.ingest import run_ingest
from tests.contents import files_below
from tests.stages.folder_project import add_captions, copy_sprites, params_of, write_folder, write_picture


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIMAGEN_PROCESSES", "1")


def curated_rows(root: Path, columns: tuple[str, ...] = ("key", "group_id", "split")) -> list[dict[str, object]]:
    out = root / "data/curated"
    files = [out / shard.file for shard in read_manifest(out).shards]
    return [record for path in files for record in read_table(path, columns).to_pylist()]


def ingest_and_curate(root: Path, **changes: object) -> None:
    params = params_of(**changes)  # pyright: ignore[reportArgumentType]
    for source in params.sources:
        run_ingest(params, source, root)
    run_curate(params, root)


def test_sixteen_pictures_end_with_both_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path)

    ingest_and_curate(tmp_path)

    counts = read_manifest(tmp_path / "data/curated").counts
    assert counts["train"] + counts["validation"] == 16 == counts["groups"]
    assert counts["train"] >= 1 and counts["validation"] >= 1
    assert "16 rows in 16 groups" in capsys.readouterr().out


def test_rows_keep_their_content_and_order(tmp_path: Path) -> None:
    write_folder(tmp_path)

    ingest_and_curate(tmp_path)

    for name in ("s1-00000", "s1-00001", "s1-00002"):
        raw = read_table(tmp_path / f"data/raw/folder/shards/{name}.parquet")
        curated = read_table(tmp_path / f"data/curated/folder/shards/{name}.parquet")
        assert curated.drop_columns(["group_id", "split"]).equals(raw)
        assert b"huggingface" in curated.schema.metadata


def test_scenes_keep_the_groups_and_the_split_that_they_declare(tmp_path: Path) -> None:
    copy_sprites(tmp_path)

    ingest_and_curate(tmp_path, sources=["scenes"])

    rows = curated_rows(tmp_path, ("key", "group_id", "split", "extra"))
    assert rows and all(
        (row["split"] == "validation") is json.loads(str(row["extra"]))["held_out"]
        and row["group_id"] == f"scenes:{json.loads(str(row['extra']))['group']}"
        for row in rows
    )


def test_two_sources_with_one_snapshot_stand_side_by_side(tmp_path: Path) -> None:
    copy_sprites(tmp_path)
    write_folder(tmp_path)

    ingest_and_curate(tmp_path, sources=["scenes", "folder"])

    manifest = read_manifest(tmp_path / "data/curated")
    assert [shard.file for shard in manifest.shards][-2:] == [
        "scenes/shards/s1-00000.parquet",
        "scenes/shards/s1-00001.parquet",
    ]
    assert manifest.licenses == {"folder": "CC0-1.0", "scenes": "Apache-2.0"}
    assert manifest.counts["folder/train"] + manifest.counts["folder/validation"] == 16


def test_duplicates_and_bridges_are_among_the_failures(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    shutil.copy(folder / "03.png", folder / "copy.png")
    shutil.copy(folder / "03.png", folder / "other.png")
    add_captions(folder, ("copy.png", "picture number 3"), ("other.png", "another caption"))

    ingest_and_curate(tmp_path)

    manifest = read_manifest(tmp_path / "data/curated")
    assert manifest.counts["rejected/duplicate"] == 1 and manifest.counts["requested"] == 18
    (failure,) = read_table(tmp_path / "data/curated/failures/folder-s1-00002.parquet").to_pylist()
    assert failure == {
        "key": "folder:copy.png",
        "source_url": "copy.png",
        "reason": "duplicate",
        "detail": "picture and caption of folder:03.png",
    }
    groups = {row["key"]: row["group_id"] for row in curated_rows(tmp_path)}
    assert groups["folder:other.png"] == groups["folder:03.png"]


def test_a_recompressed_copy_is_in_the_group_of_its_original(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    write_picture(folder / "again.jpg", 5, kind="JPEG")
    add_captions(folder, ("again.jpg", "a copy"))

    ingest_and_curate(tmp_path)

    groups = {row["key"]: row["group_id"] for row in curated_rows(tmp_path)}
    assert groups["folder:again.jpg"] == "folder:05.png"


def test_running_twice_and_elsewhere_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_folder(tmp_path / name)
        ingest_and_curate(tmp_path / name)
    once = files_below(tmp_path / "a/data")

    run_curate(params_of(), tmp_path / "a")

    assert files_below(tmp_path / "a/data") == once == files_below(tmp_path / "b/data")


def test_an_append_leaves_the_other_shards_bytes_untouched(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, num_pictures=18)
    ingest_and_curate(tmp_path)
    before = files_below(tmp_path / "data/curated")
    for number in range(18, 25):
        write_picture(folder / f"{number:02d}.png", number)
        add_captions(folder, (f"{number:02d}.png", f"picture number {number}"))

    ingest_and_curate(tmp_path)

    after = files_below(tmp_path / "data/curated")
    assert len(after) == len(before) + 2
    assert [name for name in before if before[name] != after[name]] == ["manifest.json"]


def test_shards_and_failures_that_are_gone_leave_nothing_behind(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    shutil.copy(folder / "03.png", folder / "copy.png")
    add_captions(folder, ("copy.png", "picture number 3"))
    ingest_and_curate(tmp_path)
    (folder / "copy.png").unlink()
    lines = (folder / "metadata.jsonl").read_text().splitlines(keepends=True)
    (folder / "metadata.jsonl").write_text("".join(lines[:6]))

    ingest_and_curate(tmp_path, shard_rows=100)

    assert set(files_below(tmp_path / "data/curated")) == {"manifest.json", "folder/shards/s1-00000.parquet"}


def test_an_unlisted_folder_stops_the_stage_and_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path)
    ingest_and_curate(tmp_path)
    (tmp_path / "data/raw/old_source").mkdir()

    with pytest.raises(ConfigError, match=r"data/raw/old_source is not in `sources` of params.yaml \(folder\)"):
        run_curate(params_of(), tmp_path)


def test_a_source_that_is_not_ingested_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data/raw/folder/manifest\.json: no such file: the stage that writes"):
        run_curate(params_of(), tmp_path)


def test_a_damaged_raw_shard_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path)
    run_ingest(params_of(), "folder", tmp_path)
    path = tmp_path / "data/raw/folder/shards/s1-00001.parquet"
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)

    with pytest.raises(ValueError, match=r"s1-00001\.parquet(: cannot be read| is damaged)"):
        run_curate(params_of(), tmp_path)


def test_an_interrupted_run_leaves_no_manifest(tmp_path: Path) -> None:
    write_folder(tmp_path)
    ingest_and_curate(tmp_path)
    blocked = tmp_path / "data/curated/folder/shards/s1-00002.parquet"
    blocked.unlink()
    blocked.mkdir()

    with pytest.raises(OSError, match="s1-00002"):
        run_curate(params_of(), tmp_path)

    assert not (tmp_path / "data/curated/manifest.json").exists()


def test_pictures_that_are_all_alike_cannot_be_split(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, num_pictures=1)
    shutil.copy(folder / "00.png", folder / "again.png")
    add_captions(folder, ("again.png", "the same once more"))

    with pytest.raises(ValueError, match="2 pictures make 1 group"):
        ingest_and_curate(tmp_path)
