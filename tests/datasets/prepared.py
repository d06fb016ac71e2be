"""A small curated folder with its embeddings, written as the stages write them; imports no stage."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from minimagen.embeddings import (
    NULL_FILE,
    EmbeddingFile,
    EmbeddingManifest,
    EmbeddingShard,
    embedding_path,
    write_embedding_manifest,
    write_embeddings,
)
from minimagen.manifest import Manifest, write_manifest
from minimagen.rows import CURATED_SCHEMA
from minimagen.shards import ShardFile, write_table

TEXT_DIM = 6


def pixels_of(number: int, size: tuple[int, int]) -> np.ndarray:
    """Returns the picture of a row: height and width given, every value from its number."""
    return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)


def tokens_of(caption: str) -> np.ndarray:
    """Returns made-up embeddings of a caption: one token for each word and one for its end."""
    seed = sum(caption.encode())
    return np.random.default_rng(seed).normal(size=(len(caption.split()) + 1, TEXT_DIM)).astype(np.float16)


def curated_record(number: int, split: str, size: tuple[int, int] = (8, 8), **changes: object) -> dict[str, object]:
    """Returns one curated row."""
    stream = io.BytesIO()
    Image.fromarray(pixels_of(number, size)).save(stream, "PNG")
    record = dict.fromkeys(CURATED_SCHEMA.names) | {
        "key": f"folder:{number}",
        "image": {"bytes": stream.getvalue(), "path": f"{number}.png"},
        "text": " ".join(["word"] * (number % 4)),
        "extra": f'{{"number":{number}}}',
        "phash": number,
        "split": split,
        "group_id": f"group {number}",
    }
    return record | changes


def write_prepared(root: Path, shards: Mapping[str, Sequence[dict[str, object]]]) -> tuple[Path, Path]:
    """Writes curated shards by name with their embeddings and manifests; returns both folders."""
    curated, embeddings = root / "curated", root / "embeddings"
    files = [_write_shard(curated, name, records) for name, records in shards.items()]
    write_manifest(curated, Manifest("curated", {}, {}, {"folder": "CC0-1.0"}, "1", tuple(files)))
    write_embeddings(embeddings / NULL_FILE, EmbeddingShard(tokens_of(""), np.array([0, 1]), {}))
    entries = [_write_embeddings(embeddings, curated / file.file, file, shards) for file in files]
    write_embedding_manifest(embeddings, EmbeddingManifest("tiny", None, "00", 64, TEXT_DIM, "1", tuple(entries)))
    return curated, embeddings


def _write_shard(curated: Path, name: str, records: Sequence[dict[str, object]]) -> ShardFile:
    path = curated / "folder" / "shards" / f"{name}.parquet"
    written = write_table(path, pa.Table.from_pylist(list(records), CURATED_SCHEMA))
    return ShardFile(path.relative_to(curated).as_posix(), written.rows, written.bytes, written.sha256)


def _write_embeddings(
    embeddings: Path, shard: Path, file: ShardFile, shards: Mapping[str, Sequence[dict[str, object]]]
) -> EmbeddingFile:
    encoded = [tokens_of(str(record["text"])) for record in shards[shard.stem]]
    tokens = np.concatenate([np.empty((0, TEXT_DIM), np.float16), *encoded])
    offsets = np.cumsum([0, *(len(rows) for rows in encoded)])
    path = embedding_path(embeddings, shard)
    sha256 = write_embeddings(path, EmbeddingShard(tokens, offsets, {"shard_sha256": file.sha256}))
    return EmbeddingFile(path.relative_to(embeddings).as_posix(), sha256, file.sha256, file.rows)
