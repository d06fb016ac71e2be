"""Embedding files: encoded captions beside the shard they belong to, one safetensors file per curated shard.

Knows no encoder and no tokenizer. Captions are never padded: row i of the shard has tokens[offsets[i]:offsets[i + 1]].
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import save

from minimagen.caption_lint import CaptionLint
from minimagen.errors import UserError, not_finished
from minimagen.files import canonical_json, read_json, sha256_bytes, sha256_file, write_atomic, write_json
from minimagen.shards import count_rows

NULL_FILE = "null.safetensors"
MAX_HEADER_BYTES = 1_000_000
"""Longest header that is looked at; ours have a few hundred bytes."""
_DTYPES = {"F16": np.float16, "I64": np.int64}


@dataclass(frozen=True, slots=True)
class EmbeddingShard:
    """Encoded captions of one curated shard, in its row order."""

    tokens: np.ndarray
    """float16 of shape (sum of lengths, text_dim); memory-mapped when read."""
    offsets: np.ndarray
    """int64 of shape (rows + 1,), from 0."""
    metadata: dict[str, str]
    """encoder, revision, tokenizer_sha256, max_length, cleaner_version, shard_sha256."""


@dataclass(frozen=True, slots=True)
class EmbeddingFile:
    """One file of embeddings as the manifest lists it."""

    file: str
    sha256: str
    shard_sha256: str
    rows: int


@dataclass(frozen=True, slots=True)
class EmbeddingManifest:
    """What a folder of embeddings holds and which encoder made it."""

    encoder: str
    revision: str | None
    tokenizer_sha256: str
    max_length: int
    text_dim: int
    cleaner_version: str
    shards: tuple[EmbeddingFile, ...]
    """In the order of the curated manifest."""
    num_cut: int = 0
    """Captions that were longer than max_length and lost their end."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the encoder."""
    encoder_sha256: str | None = None
    """One hash of all the encoder's files; None in manifests from before it was kept."""
    captions: CaptionLint | None = None
    """What a check of all captions counted; None in manifests from before there was one."""


def embedding_path(embeddings: Path, curated_shard: Path) -> Path:
    """Returns where the embeddings of ``<curated>/<source>/shards/<name>.parquet`` stand."""
    return embeddings / "shards" / f"{curated_shard.parent.parent.name}-{curated_shard.stem}.safetensors"


def write_embeddings(path: Path, shard: EmbeddingShard) -> str:
    """Writes one file, atomically, and returns its SHA-256; equal shards give equal bytes.

    Raises:
        ValueError: a value is not finite (it does not fit fp16, or the encoder overflowed).
    """
    tokens, offsets = shard.tokens.astype(np.float16), shard.offsets.astype(np.int64)
    if not np.isfinite(tokens).all():
        raise UserError(f"{path}: an embedding is not finite in fp16 (encoder {shard.metadata.get('encoder')})")
    assert offsets[0] == 0 and offsets[-1] == len(tokens) and (np.diff(offsets) >= 0).all(), "offsets do not fit tokens"
    # One metadata key: safetensors writes several in an order that differs from process to process.
    content = save({"tokens": tokens, "offsets": offsets}, metadata={"minimagen": canonical_json(shard.metadata)})
    write_atomic(path, content)
    return sha256_bytes(content)


def read_embeddings(path: Path) -> EmbeddingShard:
    """Opens one file without reading its tokens, which stay on disk until they are used.

    Raises:
        ValueError: the file is missing or is not what ``write_embeddings`` writes.
    """
    try:
        with path.open("rb") as stream:
            header_bytes = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(header_bytes, MAX_HEADER_BYTES)))
        metadata: dict[str, str] = dict(json.loads(header["__metadata__"]["minimagen"]))
        tokens, offsets = (_map_tensor(path, header[name], 8 + header_bytes) for name in ("tokens", "offsets"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file: captions are not encoded yet") from error
        offsets = np.array(offsets)
        _check_offsets(tokens, offsets)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(f"{path}: not an embedding file: {error!r}") from error
    return EmbeddingShard(tokens, offsets, metadata)


def check_embeddings(shard: EmbeddingShard, curated_path: Path, *, path: Path) -> None:
    """Makes sure that embeddings read from ``path`` belong to the curated shard as it is now.

    Raises:
        ValueError: they were made from another state of the shard, or for another number of rows; names both files.
    """
    found, expected = shard.metadata.get("shard_sha256"), sha256_file(curated_path)
    if found != expected:
        raise UserError(f"{path} encodes another state of {curated_path} (sha256 {found}, now {expected}): run embed")
    num_captions, num_rows = len(shard.offsets) - 1, count_rows(curated_path)
    if num_captions != num_rows:
        raise UserError(f"{path} holds {num_captions} captions, {curated_path} has {num_rows} rows: run embed")


def write_embedding_manifest(embeddings: Path, manifest: EmbeddingManifest) -> None:
    """Writes ``manifest.json``, the last file of the stage."""
    write_json(embeddings / "manifest.json", asdict(manifest))


def read_embedding_manifest(embeddings: Path) -> EmbeddingManifest:
    """Reads ``manifest.json``.

    Raises:
        ValueError: it is missing (the stage has not finished) or damaged.
    """
    path = embeddings / "manifest.json"
    try:
        record = read_json(path)
        shards = tuple(EmbeddingFile(**shard) for shard in record.pop("shards"))
        lint = record.pop("captions", None)
        return EmbeddingManifest(**record, shards=shards, captions=None if lint is None else CaptionLint(**lint))
    except FileNotFoundError as error:
        raise not_finished(path, "stage embed") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a manifest of embeddings: {error!r}") from error


def _check_offsets(tokens: np.ndarray, offsets: np.ndarray) -> None:
    if tokens.ndim != 2 or offsets.ndim != 1 or tokens.dtype != np.float16 or offsets.dtype != np.int64:
        raise ValueError(f"tokens are {tokens.dtype} {tokens.shape}, offsets {offsets.dtype} {offsets.shape}")
    if offsets[:1].tolist() != [0] or offsets[-1] != len(tokens) or (np.diff(offsets) < 0).any():
        raise ValueError("offsets do not fit tokens")


def _map_tensor(path: Path, entry: Mapping[str, Any], data_start: int) -> np.ndarray:
    shape, (start, end) = tuple(entry["shape"]), entry["data_offsets"]
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    numbers = (*shape, start, end)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"shape {shape} or offsets {start}, {end} are no counts")
    if math.prod(shape) * dtype.itemsize != end - start:
        raise ValueError(f"shape {shape} does not take {end - start} bytes")
    if path.stat().st_size < data_start + end:
        raise ValueError("the file is cut off")
    if start == end:
        return np.empty(shape, dtype)  # nothing to map: an empty shard
    return np.memmap(path, dtype, mode="r", offset=data_start + start, shape=shape)
