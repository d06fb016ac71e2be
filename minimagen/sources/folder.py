"""The user's own pictures with captions as a source: Hugging Face's imagefolder, or any table of captions.

Knows no network. Rows stand in the order of the captions, so pictures added at the end touch the last shard alone.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minimagen.config import FolderConfig
from minimagen.errors import UserError
from minimagen.files import canonical_json, sha256_bytes
from minimagen.rows import Failure, Rejection, Row, snapshot_instant
from minimagen.shards import ShardJob, ShardReport, find_report, write_shard
from minimagen.sources.captions import CLEANER_VERSION, accept_caption
from minimagen.sources.folder_items import FolderItem, list_items, printable
from minimagen.sources.images import normalise_image

SOURCE = "folder"


def plan(config: FolderConfig, *, reads: Path, snapshot: str) -> list[ShardJob]:
    """Returns the jobs that store the folder ``reads``, ``config.shard_rows`` pictures each.

    A job's spec holds its captions and the SHA-256 of its pictures, so a change runs that shard alone again.

    Raises:
        ConfigError: the folder or its captions are missing, or a captions file cannot be understood.
    """
    items = [_to_json(item) for item in list_items(config, reads)]
    common = {
        "reads": reads.as_posix(),
        "snapshot": snapshot,
        "cleaner_version": CLEANER_VERSION,
        "config": config.model_dump(mode="json"),
    }
    return [
        ShardJob(
            source=SOURCE,
            name=f"{snapshot}-{number:05d}",
            spec=canonical_json(common | {"items": items[start : start + config.shard_rows]}),
        )
        for number, start in enumerate(range(0, len(items), config.shard_rows))
    ]


def run(job: ShardJob, *, folder: Path) -> ShardReport:
    """Stores the pictures of one job in ``folder``; a shard that is done stays as it is.

    Raises:
        ValueError: a picture is not the one that was planned with.
    """
    report = find_report(folder, job)
    if report is not None:
        return report
    spec = json.loads(job.spec)
    config = FolderConfig.model_validate_json(json.dumps(spec["config"]))
    rows: list[Row] = []
    failures: list[Failure] = []
    for item in map(_from_json, spec["items"]):
        outcome = _outcome_of(item, Path(spec["reads"]), config, spec["snapshot"])
        if isinstance(outcome, Row):
            rows.append(outcome)
        else:
            name = printable(item.path)
            failures.append(Failure(f"{SOURCE}:{name}", name, outcome.reason, outcome.detail))
    return write_shard(folder, job, rows, failures)


@dataclass(frozen=True, slots=True)
class _Captions:
    accepted: tuple[str, ...]
    raw: str
    """The raw form of the first accepted one."""
    dropped: dict[str, int]
    """How many others were not accepted, by reason."""


def _outcome_of(item: FolderItem, reads: Path, config: FolderConfig, snapshot: str) -> Row | Rejection:
    if item.rejection is not None:
        return item.rejection
    path = reads / item.path
    content = path.read_bytes() if path.is_file() else b""
    if sha256_bytes(content) != item.sha256:
        raise UserError(f"{path} has changed since it was planned: run the ingest again")
    captions = _accept(item.captions, config)
    if isinstance(captions, Rejection):
        return captions
    image = normalise_image(content, config.images)
    if isinstance(image, Rejection):
        return image
    name = printable(item.path)
    return Row(
        key=f"{SOURCE}:{name}",
        image_bytes=image.content,
        text=captions.accepted[0],
        text_raw=captions.raw,
        captions=captions.accepted,
        width=image.width,
        height=image.height,
        orig_width=image.orig_width,
        orig_height=image.orig_height,
        format=image.format,
        sha256=image.sha256,
        phash=image.phash,
        source=SOURCE,
        source_url=name,
        page_url="",
        license=config.license,
        adult=False,
        lang=config.lang,
        fetched_at=snapshot_instant(snapshot),
        extra=canonical_json({"captions_dropped": captions.dropped} if captions.dropped else {}),
    )


def _accept(raw_captions: tuple[str, ...], config: FolderConfig) -> _Captions | Rejection:
    accepted: dict[str, str] = {}
    rejections: list[Rejection] = []
    for raw in raw_captions:
        text = accept_caption(raw, config.captions)
        if isinstance(text, Rejection):
            rejections.append(text)
        else:
            accepted.setdefault(text, raw)
    if not accepted:
        return rejections[0]
    dropped = dict(sorted(Counter(rejection.reason for rejection in rejections).items()))
    return _Captions(tuple(accepted), next(iter(accepted.values())), dropped)


def _to_json(item: FolderItem) -> dict[str, object]:
    rejection = item.rejection and [item.rejection.reason, item.rejection.detail]
    return {"path": item.path, "captions": item.captions, "sha256": item.sha256, "rejection": rejection}


def _from_json(record: Mapping[str, Any]) -> FolderItem:
    rejection = record["rejection"] and Rejection(*record["rejection"])
    return FolderItem(record["path"], tuple(record["captions"]), record["sha256"], rejection)
