"""dvc.lock and the cache are read as DVC writes them, without DVC."""

import hashlib
import json
from pathlib import Path

import pytest

from minimagen.dvc_record import RecordedOut, files_of, listing_md5, open_cache, read_outs
from minimagen.errors import UserError

MD5 = hashlib.md5(b"content", usedforsecurity=False).hexdigest()
LOCK = f"""
schema: '2.0'
stages:
  train@base:
    cmd: minimagen train base
    deps:
    - path: data/curated
      hash: md5
      md5: {"0" * 32}.dir
    outs:
    - path: data/models/base
      hash: md5
      md5: {"1" * 32}.dir
    - path: metrics.json
      hash: md5
      md5: {MD5}
"""


def test_outs_are_those_of_the_lock(tmp_path: Path) -> None:
    assert read_outs(tmp_path) == []
    (tmp_path / "dvc.lock").write_text(LOCK)
    assert read_outs(tmp_path) == [
        RecordedOut("train@base", Path("data/models/base"), f"{'1' * 32}.dir"),
        RecordedOut("train@base", Path("metrics.json"), MD5),
    ]
    (tmp_path / "dvc.yaml").write_text("stages: {train: {do: {metrics: [{metrics.json: {cache: false}}]}}}")
    assert [out.is_cached for out in read_outs(tmp_path)] == [True, False]


@pytest.mark.parametrize("text", ["", "[]", "stages: 5", "stages: {a: {outs: [{path: x}]}}", LOCK.replace(MD5, "../x")])
def test_a_lock_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "dvc.lock").write_text(text)
    with pytest.raises(UserError, match=r"dvc\.lock: damaged"):
        read_outs(tmp_path)


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ("", ".dvc/cache"),
        ("[core]\n    remote = local\n['remote \"local\"']\n    url = ../x\n", ".dvc/cache"),
        ("[cache]\n    dir = ../elsewhere\n", "elsewhere"),
        ("[cache]\n    dir = /elsewhere\n", "/elsewhere"),
    ],
)
def test_the_cache_is_where_the_configuration_says(tmp_path: Path, config: str, place: str) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config.local").write_text(config)
    assert open_cache(tmp_path).folder.resolve() == (tmp_path / place / "files/md5").resolve()


def test_the_list_of_a_folder_is_an_object_that_has_to_be_whole(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "below").mkdir(parents=True)
    (folder / "below/file").write_bytes(b"content")
    cache, out = open_cache(tmp_path), RecordedOut("stage", Path("out"), listing_md5(folder))
    assert files_of(out, cache) is None
    listed = cache.path(out.md5)
    listed.parent.mkdir(parents=True)
    listed.write_text(json.dumps([{"md5": MD5, "relpath": "below/file"}]))
    assert files_of(out, cache) == {Path("out/below/file"): MD5}
    listed.write_text(listed.read_text().replace("below", "above"))
    assert files_of(out, cache) is None
    assert files_of(RecordedOut("stage", Path("file"), MD5), cache) == {Path("file"): MD5}
