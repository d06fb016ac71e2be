import json
from pathlib import Path

import pytest

from minimagen.manifest import read_manifest
from minimagen.shards import iter_rows
from minimagen.stages.curate import run_curate
from minimagen.stages.export import METADATA, run_export
from minimagen.stages.exported_folder import RECORD
from minimagen.stages.ingest import run_ingest
from tests.contents import files_below
from tests.stages.folder_project import add_captions, params_of, write_folder, write_picture

NUM_PICTURES = 16


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose pictures are curated."""
    monkeypatch.setenv("MINIMAGEN_PROCESSES", "1")
    write_folder(tmp_path, NUM_PICTURES)
    return curated(tmp_path)


def curated(root: Path) -> Path:
    run_ingest(params_of(), "folder", root)
    run_curate(params_of(), root)
    return root


def lines_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / METADATA).read_text().splitlines()]


def test_every_curated_row_is_a_file_and_a_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_export(project / "out", split="all", root=project)

    found = {
        str(line["key"]): ((project / "out" / split / str(line["file_name"])).read_bytes(), line["text"])
        for split in ("train", "validation")
        for line in lines_of(project / "out" / split)
    }
    shards = [project / "data/curated" / shard.file for shard in read_manifest(project / "data/curated").shards]
    assert found == {row.key: (row.image_bytes, row.text) for path in shards for row in iter_rows(path)}
    counts = read_manifest(project / "data/curated").counts
    assert f"16 rows = {counts['train']} train + {counts['validation']} validation" in capsys.readouterr().out


def test_hugging_face_opens_the_folder_with_its_splits(project: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    run_export(project / "out", split="all", root=project)

    loaded = datasets.load_dataset("imagefolder", data_dir=str(project / "out"), cache_dir=str(tmp_path / "cache"))

    counts = read_manifest(project / "data/curated").counts
    assert {name: len(rows) for name, rows in loaded.items()} == {name: counts[name] for name in loaded}
    assert set(loaded) == {"train", "validation"}
    row = loaded["train"][0]
    assert row["image"].size == (20, 16) and row["captions"] == [row["text"]] and row["license"] == "CC0-1.0"
    assert row["source_url"] == row["key"].removeprefix("folder:")


@pytest.mark.parametrize("split", ["train", "validation"])
def test_one_split_is_one_folder(project: Path, split: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    run_export(project / "out", split=split, root=project)  # pyright: ignore[reportArgumentType]

    loaded = datasets.load_dataset("imagefolder", data_dir=str(project / "out"), cache_dir=str(tmp_path / "cache"))

    assert {name: len(rows) for name, rows in loaded.items()} == {
        split: read_manifest(project / "data/curated").counts[split]
    }


def test_a_second_export_replaces_the_first_whole(project: Path) -> None:
    run_export(project / "out", split="all", root=project)
    before = files_below(project / "out")
    write_picture(project / "my_pictures/new.png", 99)
    add_captions(project / "my_pictures", ("new.png", "one picture more"))
    run_export(project / "out", split="all", root=curated(project))

    after = files_below(project / "out")
    assert len(after) == len(before) + 1
    assert {name for name in before if name.endswith(".png")} < set(after)
    assert [path.name for path in project.glob(".out*")] == []


def test_two_exports_of_the_same_data_are_the_same_bytes(project: Path) -> None:
    for name in ("a", "b"):
        run_export(project / name, split="all", root=project)

    assert files_below(project / "a") == files_below(project / "b")


def test_a_folder_of_the_users_is_left_alone(project: Path) -> None:
    (project / "out").mkdir()
    (project / "out/thesis.txt").write_text("mine")

    with pytest.raises(ValueError, match=r"out: is not empty and not an earlier export \(it has no export\.json\)"):
        run_export(project / "out", split="all", root=project)

    assert [path.read_text() for path in (project / "out").iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["thesis.txt", "train/thesis.txt", "test/0123.png"])
def test_an_export_that_the_user_added_to_is_left_alone(project: Path, name: str) -> None:
    run_export(project / "out", split="all", root=project)
    (project / "out" / name).parent.mkdir(exist_ok=True)
    (project / "out" / name).write_text("mine")
    before = files_below(project / "out")

    with pytest.raises(ValueError, match=f"out: holds {name}, which no export of this format wrote"):
        run_export(project / "out", split="all", root=project)

    assert files_below(project / "out") == before


def test_a_file_in_the_place_of_the_folder_is_named(project: Path) -> None:
    (project / "out").write_text("mine")

    with pytest.raises(ValueError, match="out: is a file"):
        run_export(project / "out", split="all", root=project)


def test_an_empty_folder_is_taken(project: Path) -> None:
    (project / "out").mkdir()

    run_export(project / "out", split="all", root=project)

    assert (project / "out" / RECORD).is_file()


@pytest.mark.parametrize("is_set_aside", [False, True])
def test_a_failed_export_leaves_the_earlier_one(project: Path, is_set_aside: bool) -> None:
    run_export(project / "out", split="all", root=project)
    before = files_below(project / "out")
    if is_set_aside:  # an export in between was killed between its two renames
        (project / "out").rename(project / ".out.old")
    shard = project / "data/curated" / read_manifest(project / "data/curated").shards[-1].file
    content = bytearray(shard.read_bytes())
    content[-6] ^= 1
    shard.write_bytes(content)

    with pytest.raises(ValueError, match=rf"{shard.name}"):
        run_export(project / "out", split="all", root=project)

    assert files_below(project / "out") == before


def test_what_a_killed_export_left_is_put_right(project: Path) -> None:
    run_export(project / "out", split="all", root=project)
    before = files_below(project / "out")
    (project / "out").rename(project / ".out.old")
    (project / ".out.new/train").mkdir(parents=True)
    (project / ".out.new/train/half.png").write_bytes(b"torn")

    run_export(project / "out", split="all", root=project)

    assert files_below(project / "out") == before
    assert [path.name for path in project.glob(".out*")] == []


def test_nothing_curated_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the stage that writes .*curated has not finished"):
        run_export(tmp_path / "out", split="all", root=tmp_path)


def test_captions_that_look_like_other_types_stay_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("MINIMAGEN_PROCESSES", "1")
    folder = tmp_path / "my_pictures"
    texts = ["null", "2024-01-01", "12345", "true", "1e999", "NaN picture"]
    for number, text in enumerate(texts):
        write_picture(folder / f"{number}.png", number)
        add_captions(folder, (f"{number}.png", text))
    run_export(tmp_path / "out", split="all", root=curated(tmp_path))

    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))

    assert sorted(text for rows in loaded.values() for text in rows["text"]) == sorted(texts)
