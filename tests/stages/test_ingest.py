import json
from pathlib import Path

import pytest

from minimagen.config import ConfigError
from minimagen.manifest import read_manifest
from minimagen.shards import count_rows, read_table
from minimagen.stages.ingest import plan_source, run_ingest
from tests.contents import files_below
from tests.stages.folder_project import (
    FOLDER,
    add_captions,
    copy_sprites,
    params_of,
    write_folder,
    write_picture,
)


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIMAGEN_PROCESSES", "1")


def test_a_folder_is_read_and_its_rows_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path)
    write_picture(folder / "unnamed.png", 99)
    (folder / "page.jpg").write_text("<html>")
    add_captions(folder, ("page.jpg", "a page"), ("gone.png", "a lost one"), ("gone2.png", "a lost one"))

    run_ingest(params_of(), "folder", tmp_path)

    manifest = read_manifest(tmp_path / "data/raw/folder")
    assert manifest.counts == {
        "requested": 20,
        "stored": 16,
        "pending": 0,
        "rejected/missing_file": 2,
        "rejected/no_caption": 1,
        "rejected/not_an_image": 1,
    }
    assert manifest.licenses == {"folder": "CC0-1.0"} and manifest.params["snapshot"] == "s1"
    told = capsys.readouterr().out
    assert "20 rows = 16 stored + 4 rejected + 0 pending" in told
    assert told.index("2 missing_file") < told.index("1 no_caption")


def test_every_row_is_in_a_shard_or_among_the_failures(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    add_captions(folder, ("gone.png", "a lost one"))

    run_ingest(params_of(), "folder", tmp_path)

    out = tmp_path / "data/raw/folder"
    manifest = read_manifest(out)
    assert [shard.rows for shard in manifest.shards] == [6, 6, 4]
    assert all(count_rows(out / shard.file) == shard.rows for shard in manifest.shards)
    failures = [record for path in (out / "failures").iterdir() for record in read_table(path).to_pylist()]
    assert [record["key"] for record in failures] == ["folder:gone.png"]


def test_scenes_are_drawn_by_the_same_stage(tmp_path: Path) -> None:
    copy_sprites(tmp_path)

    run_ingest(params_of(["scenes"]), "scenes", tmp_path)

    manifest = read_manifest(tmp_path / "data/raw/scenes")
    assert manifest.counts == {"requested": 240, "stored": 240, "pending": 0}
    assert [shard.file for shard in manifest.shards] == ["shards/s1-00000.parquet", "shards/s1-00001.parquet"]


def test_running_again_changes_no_byte_and_reads_nothing(tmp_path: Path) -> None:
    write_folder(tmp_path)
    run_ingest(params_of(), "folder", tmp_path)
    before = files_below(tmp_path / "data")

    run_ingest(params_of(), "folder", tmp_path)

    assert files_below(tmp_path / "data") == before
    timings = json.loads((tmp_path / "runs/ingest/folder/timings.json").read_text())
    assert timings["num_rows_read"] == 0


def test_processes_and_place_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, processes in (("a", "1"), ("b", "2")):
        write_folder(tmp_path / name, num_pictures=8)
        monkeypatch.setenv("MINIMAGEN_PROCESSES", processes)
        run_ingest(params_of(shard_rows=3), "folder", tmp_path / name)

    assert files_below(tmp_path / "a" / "data") == files_below(tmp_path / "b" / "data")


def test_an_interrupted_run_continues(tmp_path: Path) -> None:
    write_folder(tmp_path)
    run_ingest(params_of(), "folder", tmp_path)
    whole = files_below(tmp_path / "data")
    out = tmp_path / "data/raw/folder"
    (out / "manifest.json").unlink()
    (out / "shards/s1-00001.json").unlink()
    (out / "shards/s1-00002.parquet.tmp-12").write_bytes(b"torn")

    run_ingest(params_of(), "folder", tmp_path)

    assert files_below(tmp_path / "data") == whole
    assert json.loads((tmp_path / "runs/ingest/folder/timings.json").read_text())["num_rows_read"] == 6


def test_a_changed_picture_runs_its_shard_alone(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    run_ingest(params_of(), "folder", tmp_path)
    before = files_below(tmp_path / "data/raw/folder/shards")
    write_picture(folder / "07.png", 700)

    run_ingest(params_of(), "folder", tmp_path)

    after = files_below(tmp_path / "data/raw/folder/shards")
    assert [name for name in before if before[name] != after[name]] == ["s1-00001.json", "s1-00001.parquet"]


def test_pictures_that_go_leave_no_shard_behind(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    run_ingest(params_of(), "folder", tmp_path)
    lines = (folder / "metadata.jsonl").read_text().splitlines(keepends=True)
    (folder / "metadata.jsonl").write_text("".join(lines[:6]))
    for number in range(6, 16):
        (folder / f"{number:02d}.png").unlink()

    run_ingest(params_of(), "folder", tmp_path)

    names = {Path(name).name for name in files_below(tmp_path / "data")}
    assert names == {"manifest.json", "s1-00000.parquet", "s1-00000.json"}
    assert read_manifest(tmp_path / "data/raw/folder").counts["stored"] == 6


def test_changed_parameters_start_afresh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path)
    run_ingest(params_of(), "folder", tmp_path)

    run_ingest(params_of(license="CC-BY-4.0"), "folder", tmp_path)

    assert "parameters have changed" in capsys.readouterr().out
    out = tmp_path / "data/raw/folder"
    licenses = read_table(out / read_manifest(out).shards[0].file, ["license"])["license"].to_pylist()
    assert set(licenses) == {"CC-BY-4.0"}


def test_a_new_snapshot_replaces_the_old_one_of_a_folder(tmp_path: Path) -> None:
    write_folder(tmp_path)
    run_ingest(params_of(), "folder", tmp_path)

    run_ingest(params_of(snapshot="2026-11-22"), "folder", tmp_path)

    assert all("s1" not in name for name in files_below(tmp_path / "data"))


def test_nothing_stored_is_an_error_that_leaves_the_reasons(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, num_pictures=2)
    (folder / "metadata.jsonl").write_text('{"file_name": "x/00.png", "text": "wrong folder"}\n')

    with pytest.raises(ValueError, match="none of 3 rows could be stored"):
        run_ingest(params_of(), "folder", tmp_path)
    assert read_manifest(tmp_path / "data/raw/folder").counts["rejected/missing_file"] == 1


def test_what_is_missing_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="my_pictures: no such folder"):
        run_ingest(params_of(), "folder", tmp_path)
    with pytest.raises(ConfigError, match=r"sprites\.parquet: no such file"):
        run_ingest(params_of(["scenes"]), "scenes", tmp_path)
    assert not (tmp_path / "data").exists()


def test_a_flow_can_run_the_jobs_one_by_one_and_the_stage_finds_them_done(tmp_path: Path) -> None:
    write_folder(tmp_path)
    planned = plan_source(params_of(), "folder", tmp_path)

    reports = [planned.run(job) for job in planned.jobs]
    run_ingest(params_of(), "folder", tmp_path)

    assert sum(report.stored for report in reports) == 16
    assert json.loads((tmp_path / "runs/ingest/folder/timings.json").read_text())["num_rows_read"] == 0


def test_nothing_of_place_or_time_is_in_the_data(tmp_path: Path) -> None:
    write_folder(tmp_path)
    run_ingest(params_of(), "folder", tmp_path)

    content = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert str(tmp_path).encode() not in content
    assert FOLDER["license"] == "CC0-1.0" and b"CC0-1.0" in content
