"""Raw and curated shards open in other tools as they are: Hugging Face datasets, streaming too, and pandas."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from minimagen.datasets.curate import SPLITS
from minimagen.manifest import read_manifest
from minimagen.rows import CURATED_SCHEMA, ROW_SCHEMA
from minimagen.shards import iter_rows
from minimagen.stages.curate import run_curate
from minimagen.stages.ingest import run_ingest
from tests.stages.folder_project import params_of, write_folder

datasets = pytest.importorskip("datasets")
FOLDERS = ("data/raw/folder", "data/curated")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen pictures, ingested into three shards and curated."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIMAGEN_PROCESSES", "1")
        write_folder(root)
        run_ingest(params_of(), "folder", root)
        run_curate(params_of(), root)
    return root


def shards_of(folder: Path) -> list[Path]:
    return [folder / shard.file for shard in read_manifest(folder).shards]


def pixels_of(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("folder", FOLDERS)
def test_datasets_opens_all_shards_with_decoded_pictures(
    project: Path, folder: str, is_streamed: bool, tmp_path: Path
) -> None:
    files = shards_of(project / folder)

    loaded = datasets.load_dataset(
        "parquet", data_files=list(map(str, files)), split="train", streaming=is_streamed, cache_dir=str(tmp_path)
    )

    rows, expected = list(loaded), [row for path in files for row in iter_rows(path)]
    assert [row["key"] for row in rows] == [row.key for row in expected] and len(rows) == 16
    for found, row in zip(rows, expected, strict=True):
        assert isinstance(found["image"], Image.Image) and found["image"].mode == "RGB"
        np.testing.assert_array_equal(np.asarray(found["image"]), pixels_of(row.image_bytes))
        assert (found["text"], tuple(found["captions"]), found["phash"]) == (row.text, row.captions, row.phash)


@pytest.mark.parametrize("folder", FOLDERS)
def test_datasets_opens_the_folder_itself(project: Path, folder: str, tmp_path: Path) -> None:
    pattern = f"{project / folder}/**/shards/*.parquet"

    loaded = datasets.load_dataset("parquet", data_files=pattern, split="train", cache_dir=str(tmp_path))

    assert loaded.num_rows == 16 and loaded[0]["image"].size == (20, 16)


def test_datasets_filters_curated_rows_by_split(project: Path, tmp_path: Path) -> None:
    files = list(map(str, shards_of(project / "data/curated")))
    loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))

    counts = read_manifest(project / "data/curated").counts
    for split in SPLITS:
        assert sum(one == split for one in loaded["split"]) == counts[split] > 0


@pytest.mark.parametrize(("folder", "schema"), [(FOLDERS[0], ROW_SCHEMA), (FOLDERS[1], CURATED_SCHEMA)])
def test_pandas_opens_every_column(project: Path, folder: str, schema: object) -> None:
    files = shards_of(project / folder)

    frame = pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)

    rows = [row for path in files for row in iter_rows(path)]
    assert list(frame.columns) == schema.names  # pyright: ignore[reportAttributeAccessIssue]
    assert list(frame["text"]) == [row.text for row in rows]
    pictures = [pixels_of(image["bytes"]) for image in frame["image"].tolist()]
    assert all(np.array_equal(one, pixels_of(row.image_bytes)) for one, row in zip(pictures, rows, strict=True))


def test_pandas_reads_some_columns_without_the_pictures(project: Path) -> None:
    frame = pd.read_parquet(shards_of(project / "data/curated")[0], columns=["key", "text", "split"])

    assert list(frame.columns) == ["key", "text", "split"] and len(frame) == 6
