"""Embedding jobs: one file of encoded captions per curated shard, and one for the null caption.

A job is idempotent: it is done when its file and completion record agree with its spec. Does not know how jobs are
spread over processes, nor who reads the vectors.
"""

import functools
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minimagen.caption_lint import CaptionLint, lint_captions
from minimagen.config import EmbedConfig
from minimagen.embeddings import (
    NULL_FILE,
    EmbeddingFile,
    EmbeddingManifest,
    EmbeddingShard,
    embedding_path,
    write_embedding_manifest,
    write_embeddings,
)
from minimagen.errors import UserError
from minimagen.files import canonical_json, sha256_bytes, sha256_file, write_json
from minimagen.manifest import read_manifest
from minimagen.shards import ShardJob, ShardReport, read_table
from minimagen.text.locate import read_record
from minimagen.text.t5 import TextEncoder

FORMAT_VERSION = 2
MIN_UNKNOWN = 0.5
"""Share of a caption's tokens that the encoder does not know from which on it counts as not understood."""
_NULL_NAME = Path(NULL_FILE).stem
_FP16_MAX = float(np.finfo(np.float16).max)
_LOADING = threading.Lock()


@dataclass(frozen=True, slots=True)
class EmbedSummary:
    """What a finished folder of embeddings holds."""

    num_captions: int
    num_tokens: int
    captions: CaptionLint


def plan(curated: Path, *, encoder: Path, config: EmbedConfig, max_length: int) -> list[ShardJob]:
    """Returns a job for the null caption and one for each curated shard, in the manifest's order.

    Args:
        curated: folder with the curated manifest.
        encoder: folder that stage text-encoder wrote.
        max_length: tokens per caption at most, the end token included.

    Raises:
        ValueError: a stage before this one has not finished.
    """
    manifest, files = read_manifest(curated), read_record(encoder)
    common = {
        "version": FORMAT_VERSION,
        "encoder_folder": encoder.as_posix(),
        "encoder_sha256": files.identity_sha256,
        "text_dim": files.text_dim,
        "batch_tokens": config.batch_tokens,
        "metadata": {
            "encoder": files.name,
            "revision": files.revision or "",
            "tokenizer_sha256": files.tokenizer_sha256,
            "max_length": str(max_length),
            "precision": config.precision,
            "cleaner_version": manifest.cleaner_version,
        },
    }
    jobs = [ShardJob(_NULL_NAME, _NULL_NAME, canonical_json(common | {"shard": None, "shard_sha256": ""}))]
    for shard in manifest.shards:
        path = curated / shard.file
        spec = common | {"shard": path.as_posix(), "shard_sha256": shard.sha256}
        jobs.append(ShardJob(path.parent.parent.name, embedding_path(curated, path).stem, canonical_json(spec)))
    return jobs


def find_report(folder: Path, job: ShardJob) -> ShardReport | None:
    """Returns how many captions a file has that is done, None if it has to be made."""
    record = _find_record(folder, job)
    return None if record is None else ShardReport(job.name, record["rows"], {}, pending=0, was_done=True)


def run(job: ShardJob, *, folder: Path, device: str) -> ShardReport:
    """Encodes the captions of one job into ``folder``; a file that is done stays as it is.

    Raises:
        ValueError: shard or encoder are not those that were planned with, or a value does not fit fp16.
    """
    report = find_report(folder, job)
    if report is not None:
        return report
    spec = json.loads(job.spec)
    captions = _read_captions(spec)
    with _LOADING:  # of several threads one loads
        encoder = _load_encoder(spec["encoder_folder"], spec["encoder_sha256"], device)
    max_length = int(spec["metadata"]["max_length"])
    vectors = encoder.encode(
        captions, max_length=max_length, batch_tokens=spec["batch_tokens"], precision=spec["metadata"]["precision"]
    )
    shard = _shard_of(vectors, captions, encoder.text_dim, spec["metadata"] | {"shard_sha256": spec["shard_sha256"]})
    sha256 = write_embeddings(_file_path(folder, job), shard)
    num_cut = sum(count > max_length for count in encoder.count_tokens(captions))
    num_unknown = sum(share >= MIN_UNKNOWN for share in encoder.unknown_shares(captions))
    outcome = {"rows": len(captions), "num_cut": num_cut, "num_unknown": num_unknown, "num_tokens": len(shard.tokens)}
    write_json(_record_path(folder, job), outcome | {"sha256": sha256, "spec_sha256": _spec_sha256(job)})
    return ShardReport(job.name, len(captions), {}, pending=0, was_done=False)


def remove_unplanned(folder: Path, jobs: Sequence[ShardJob]) -> list[Path]:
    """Deletes every file below ``folder`` that the plan does not name, and returns what was deleted."""
    planned = {folder / "manifest.json"}
    for job in jobs:
        planned |= {_file_path(folder, job), _record_path(folder, job)}
    unplanned = [path for path in sorted(folder.rglob("*")) if not path.is_dir() and path not in planned]
    for path in unplanned:
        path.unlink()
    return unplanned


def finish(folder: Path, jobs: Sequence[ShardJob]) -> EmbedSummary:
    """Writes the manifest of embeddings that are all done.

    Raises:
        ValueError: a job is not done.
    """
    records = {job.name: _find_record(folder, job) for job in jobs}
    missing = [name for name, record in records.items() if record is None]
    if missing:
        raise UserError(f"{folder}: not encoded yet: {', '.join(missing)}")
    done = {name: record for name, record in records.items() if record is not None}
    shards = tuple(
        EmbeddingFile(
            file=_file_path(folder, job).relative_to(folder).as_posix(),
            sha256=done[job.name]["sha256"],
            shard_sha256=json.loads(job.spec)["shard_sha256"],
            rows=done[job.name]["rows"],
        )
        for job in jobs
        if job.name != _NULL_NAME
    )
    captions = [record for name, record in done.items() if name != _NULL_NAME]
    totals = {key: sum(record[key] for record in captions) for key in ("rows", "num_cut", "num_unknown", "num_tokens")}
    texts = [text for job in jobs if job.name != _NULL_NAME for text in _read_captions(json.loads(job.spec))]
    lint = lint_captions(texts, num_unknown=totals["num_unknown"], num_cut=totals["num_cut"])
    summary = EmbedSummary(totals["rows"], totals["num_tokens"], lint)
    write_embedding_manifest(folder, _manifest_of(json.loads(jobs[0].spec), shards, summary))
    return summary


def _manifest_of(spec: dict[str, Any], shards: tuple[EmbeddingFile, ...], summary: EmbedSummary) -> EmbeddingManifest:
    metadata: dict[str, str] = spec["metadata"]
    return EmbeddingManifest(
        encoder=metadata["encoder"],
        revision=metadata["revision"] or None,
        tokenizer_sha256=metadata["tokenizer_sha256"],
        max_length=int(metadata["max_length"]),
        text_dim=spec["text_dim"],
        cleaner_version=metadata["cleaner_version"],
        shards=shards,
        num_cut=summary.captions.num_cut,
        captions=summary.captions,
        precision=spec["metadata"]["precision"],
        encoder_sha256=spec["encoder_sha256"],
    )


def _read_captions(spec: dict[str, Any]) -> list[str]:
    if spec["shard"] is None:
        return [""]
    path = Path(spec["shard"])
    if sha256_file(path) != spec["shard_sha256"]:
        raise UserError(f"{path} is not the shard that the curated manifest lists: run curate")
    return read_table(path, ["text"])["text"].to_pylist()


@functools.cache
def _load_encoder(folder: str, identity_sha256: str, device: str) -> TextEncoder:
    """Loads an encoder once per process; its hashes are verified then."""
    encoder = TextEncoder.from_stage(Path(folder), device=device)
    if encoder.files.identity_sha256 != identity_sha256:
        raise UserError(f"{folder} has changed since the embeddings were planned: run embed again")
    return encoder


def _shard_of(
    vectors: Sequence[np.ndarray], captions: Sequence[str], text_dim: int, metadata: dict[str, str]
) -> EmbeddingShard:
    for caption, rows in zip(captions, vectors, strict=True):
        if np.abs(rows).max() > _FP16_MAX:
            raise UserError(
                f"caption {caption!r}: a value of {np.abs(rows).max():.3g} does not fit fp16 ({_FP16_MAX:g})"
            )
    tokens = np.concatenate([np.empty((0, text_dim), np.float16), *(rows.astype(np.float16) for rows in vectors)])
    offsets = np.cumsum([0, *(len(rows) for rows in vectors)], dtype=np.int64)
    return EmbeddingShard(tokens, offsets, metadata)


def _file_path(folder: Path, job: ShardJob) -> Path:
    return folder / NULL_FILE if job.name == _NULL_NAME else folder / "shards" / f"{job.name}.safetensors"


def _record_path(folder: Path, job: ShardJob) -> Path:
    return _file_path(folder, job).with_suffix(".json")


def _spec_sha256(job: ShardJob) -> str:
    """Hashes what the vectors depend on: not where this machine keeps shard and encoder."""
    spec = {key: value for key, value in json.loads(job.spec).items() if key not in ("shard", "encoder_folder")}
    return sha256_bytes(canonical_json(spec).encode())


def _find_record(folder: Path, job: ShardJob) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(_record_path(folder, job).read_bytes())
        if record["spec_sha256"] != _spec_sha256(job) or record["sha256"] != sha256_file(_file_path(folder, job)):
            return None
        return record
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return None  # Absent or damaged: the captions are encoded again.
