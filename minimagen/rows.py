"""Rows: a captioned picture as every source writes it, or the reason why it is not there.

Knows no file. The schema carries Hugging Face's ``Image`` feature, so ``datasets`` decodes the pictures.
"""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

import pyarrow as pa

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_PICTURES_DECODE = {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})}

ROW_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("image", _IMAGE),
        ("text", pa.string()),
        ("text_raw", pa.string()),
        ("captions", pa.list_(pa.string())),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("orig_width", pa.int32()),
        ("orig_height", pa.int32()),
        ("format", pa.string()),
        ("sha256", pa.string()),
        ("phash", pa.int64()),
        ("source", pa.string()),
        ("source_url", pa.string()),
        ("page_url", pa.string()),
        ("license", pa.string()),
        ("adult", pa.bool_()),
        ("lang", pa.string()),
        ("fetched_at", pa.timestamp("us", tz="UTC")),
        ("extra", pa.string()),
    ],
    metadata=_PICTURES_DECODE,
)
CURATED_SCHEMA = ROW_SCHEMA.append(pa.field("group_id", pa.string())).append(pa.field("split", pa.string()))
FAILURE_SCHEMA = pa.schema([(name, pa.string()) for name in ("key", "source_url", "reason", "detail")])


@dataclass(frozen=True, slots=True)
class Row:
    """One captioned picture, as stored in a raw shard."""

    key: str
    """Unique name, source first: "scenes:000017", "folder:cats/tom.jpg"."""
    image_bytes: bytes
    text: str
    """The caption that is encoded; cleaned."""
    text_raw: str
    captions: tuple[str, ...]
    """Every caption of the picture, cleaned; ``text`` is the first."""
    width: int
    height: int
    orig_width: int
    orig_height: int
    format: str
    """Encoding of ``image_bytes``: "png" or "jpeg"."""
    sha256: str
    """SHA-256 of the original file, before normalisation."""
    phash: int
    """64-bit perceptual hash as a signed integer."""
    source: str
    source_url: str
    page_url: str
    license: str
    adult: bool
    lang: str
    fetched_at: datetime | None
    """The snapshot's fixed instant (``snapshot_instant``), never the clock."""
    extra: str
    """Canonical JSON object with what only this source knows."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a picture or a caption is not stored: a counted reason, and a detail for the person who asks."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Failure:
    """The outcome of a requested row that is not stored."""

    key: str
    source_url: str
    reason: str
    detail: str


def snapshot_instant(snapshot: str) -> datetime | None:
    """Returns midnight UTC of a snapshot that is an ISO date, None for a label."""
    try:
        return datetime.combine(date.fromisoformat(snapshot), time(), tzinfo=UTC)
    except ValueError:
        return None
