import json
from dataclasses import replace
from pathlib import Path

import pytest

from minimagen.manifest import Manifest, read_manifest, write_manifest
from minimagen.shards import ShardFile

MANIFEST = Manifest(
    name="folder",
    params={"config": {"license": "CC0-1.0", "sizes": [1, 2]}, "nothing": None},
    counts={"requested": 7, "stored": 5, "pending": 0, "rejected/flat": 2},
    licenses={"folder": "CC0-1.0"},
    cleaner_version="1",
    shards=(ShardFile("shards/a.parquet", 3, 100, "aa"), ShardFile("shards/b.parquet", 2, 90, "bb")),
)


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)

    assert read_manifest(tmp_path) == MANIFEST


def test_the_data_hash_follows_content_and_order_alone() -> None:
    assert replace(MANIFEST, params={}, counts={}).data_sha256 == MANIFEST.data_sha256
    assert replace(MANIFEST, shards=MANIFEST.shards[::-1]).data_sha256 != MANIFEST.data_sha256


def test_a_missing_manifest_says_that_its_stage_has_not_finished(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"manifest\.json: no such file: .* has not finished: run `dvc repro`"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 1, "data_sha256": "", "shards": 3}'])
def test_what_is_no_manifest_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)

    with pytest.raises(ValueError, match=r"manifest\.json: not (a manifest|JSON)"):
        read_manifest(tmp_path)


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    record = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(record | {"version": 99}))

    with pytest.raises(ValueError, match="format version 99, expected 1"):
        read_manifest(tmp_path)


def test_a_changed_shard_list_is_noticed(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"bb"', '"bc"'))

    with pytest.raises(ValueError, match="data_sha256 does not fit"):
        read_manifest(tmp_path)
