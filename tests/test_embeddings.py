import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors import safe_open

from minimagen.embeddings import (
    EmbeddingFile,
    EmbeddingManifest,
    EmbeddingShard,
    check_embeddings,
    embedding_path,
    read_embedding_manifest,
    read_embeddings,
    write_embedding_manifest,
    write_embeddings,
)
from minimagen.rows import FAILURE_SCHEMA
from minimagen.shards import write_table

SHARD = EmbeddingShard(
    tokens=np.random.default_rng(0).normal(size=(6, 4)).astype(np.float16),
    offsets=np.array([0, 2, 3, 6]),
    metadata={"encoder": "tiny", "revision": "", "max_length": "64", "shard_sha256": "00"},
)


def test_embeddings_come_back_as_they_were_written(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "a.safetensors", SHARD)

    found = read_embeddings(tmp_path / "a.safetensors")

    np.testing.assert_array_equal(found.tokens, SHARD.tokens)
    np.testing.assert_array_equal(found.offsets, SHARD.offsets)
    assert found.metadata == SHARD.metadata
    assert found.tokens.dtype == np.float16 and isinstance(found.tokens, np.memmap)


def test_a_shard_without_rows_comes_back(tmp_path: Path) -> None:
    empty = EmbeddingShard(np.empty((0, 4), np.float16), np.array([0]), {})
    write_embeddings(tmp_path / "a.safetensors", empty)

    assert read_embeddings(tmp_path / "a.safetensors").tokens.shape == (0, 4)


def test_the_safetensors_library_reads_the_file(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "a.safetensors", SHARD)

    with safe_open(tmp_path / "a.safetensors", "np") as file:
        np.testing.assert_array_equal(file.get_tensor("tokens"), SHARD.tokens)
        np.testing.assert_array_equal(file.get_tensor("offsets"), SHARD.offsets)


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path; from minimagen.embeddings import *;"
        "write_embeddings(Path(sys.argv[1]), EmbeddingShard(np.ones((3, 2), np.float16), np.array([0, 3]),"
        "{key: key for key in 'abcdefgh'}))"
    )
    hashes = set()
    for name in ("1", "2", "3"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True)
        hashes.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())

    assert len(hashes) == 1


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e6])
def test_values_that_do_not_fit_are_refused(tmp_path: Path, value: float) -> None:
    tokens = SHARD.tokens.astype(np.float32)
    tokens[1, 1] = value

    with np.errstate(over="ignore"), pytest.raises(ValueError, match=r"not finite in fp16 \(encoder tiny"):
        write_embeddings(tmp_path / "a.safetensors", replace(SHARD, tokens=tokens))
    assert not (tmp_path / "a.safetensors").exists()


@pytest.mark.parametrize("content", [b"", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ", b"PK\x03\x04" * 40])
def test_what_is_no_embedding_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)

    with pytest.raises(ValueError, match=r"a\.safetensors: not an embedding file"):
        read_embeddings(tmp_path / "a.safetensors")


def test_a_cut_file_and_a_missing_one_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_embeddings(path, SHARD)
    path.write_bytes(path.read_bytes()[:-3])

    with pytest.raises(ValueError, match=r"a\.safetensors: not an embedding file.*cut off"):
        read_embeddings(path)
    with pytest.raises(ValueError, match=r"b\.safetensors: no such file"):
        read_embeddings(tmp_path / "b.safetensors")


def test_embeddings_of_another_shard_are_refused_naming_both_files(tmp_path: Path) -> None:
    curated = tmp_path / "scenes" / "shards" / "demo-1-00000.parquet"
    empty = {"key": "k", "source_url": "", "reason": "", "detail": ""}
    written = write_table(curated, pa.Table.from_pylist([empty] * 3, FAILURE_SCHEMA))
    fitting = replace(SHARD, metadata={"shard_sha256": written.sha256})
    path = embedding_path(tmp_path / "embeddings", curated)

    check_embeddings(fitting, curated, path=path)

    with pytest.raises(ValueError, match=r"scenes-demo-1-00000\.safetensors .*shards/demo-1-00000\.parquet"):
        check_embeddings(SHARD, curated, path=path)
    with pytest.raises(ValueError, match=r"holds 2 captions, .*demo-1-00000\.parquet has 3 rows"):
        check_embeddings(replace(fitting, offsets=np.array([0, 2, 6])), curated, path=path)


def test_files_of_two_sources_with_one_snapshot_do_not_collide(tmp_path: Path) -> None:
    paths = {
        embedding_path(tmp_path, Path(f"data/curated/{source}/shards/demo-1-00000.parquet"))
        for source in ("scenes", "folder")
    }

    assert len(paths) == 2


def test_a_manifest_comes_back_and_a_missing_one_is_named(tmp_path: Path) -> None:
    manifest = EmbeddingManifest(
        "tiny", None, "ff", 64, 32, "1", (EmbeddingFile("shards/a.safetensors", "aa", "bb", 3),), num_cut=2
    )
    with pytest.raises(ValueError, match=r"manifest\.json: no such file"):
        read_embedding_manifest(tmp_path)

    write_embedding_manifest(tmp_path, manifest)

    assert read_embedding_manifest(tmp_path) == manifest
