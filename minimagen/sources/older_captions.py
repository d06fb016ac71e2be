"""A shard whose captions were made by an older cleaner: its pictures are taken over, so that no host is asked again.

Knows no network. What an older version of the cleaner rejected, and duplicates, are asked for like new rows.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from minimagen.files import canonical_json
from minimagen.rows import Rejection
from minimagen.shards import ShardJob, failures_path, find_report, iter_rows, read_table, shard_path
from minimagen.sources.captions import CLEANER_VERSION
from minimagen.sources.images import NormalisedImage
from minimagen.sources.urls import canonical_url

_NOT_OF_THE_PICTURE = frozenset({"duplicate", "no_caption"})


def has_older_captions(job: ShardJob, folder: Path) -> bool:
    """Tells whether the shard of a job is there and whole, but for the version of its captions' cleaner."""
    spec = json.loads(job.spec)
    older = ({"cleaner_version": str(version)} for version in range(1, int(CLEANER_VERSION)))
    return any(find_report(folder, replace(job, spec=canonical_json(spec | one))) is not None for one in older)


def known_outcomes(job: ShardJob, folder: Path) -> Iterator[tuple[str, NormalisedImage | Rejection]]:
    """Yields for each address, in its canonical spelling, what came of it, as far as the shard still says."""
    for row in iter_rows(shard_path(folder, job.name)):
        yield (
            canonical_url(row.source_url),
            NormalisedImage(
                content=row.image_bytes,
                format=row.format,
                width=row.width,
                height=row.height,
                orig_width=row.orig_width,
                orig_height=row.orig_height,
                sha256=row.sha256,
                phash=row.phash,
            ),
        )
    for record in read_table(failures_path(folder, job.name)).to_pylist():
        reason = record["reason"]
        if reason not in _NOT_OF_THE_PICTURE and not reason.startswith("caption_"):
            yield canonical_url(record["source_url"]), Rejection(reason, record["detail"])
