"""Manifests: what a finished folder of shards holds, and which parameters shaped it.

The last file a data stage writes; a folder without one is unfinished. No clock, host or run is in it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from minimagen.errors import UserError, not_finished
from minimagen.files import canonical_json, read_json, sha256_bytes, write_json
from minimagen.shards import FORMAT_VERSION, ShardFile, ShardReport


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder of shards holds and which parameters shaped it."""

    name: str
    params: dict[str, object]
    counts: dict[str, int]
    """Flat: "stored", "pending", "rejected/<reason>", ...; the curated one also "train", "<source>/train", ..."""
    licenses: dict[str, str]
    """Licence of each source."""
    cleaner_version: str
    shards: tuple[ShardFile, ...]

    @property
    def data_sha256(self) -> str:
        """One hash of every shard's content and order."""
        return sha256_bytes(canonical_json([[shard.file, shard.sha256] for shard in self.shards]).encode())


def counts_of(reports: Sequence[ShardReport]) -> dict[str, int]:
    """Returns the counts of a raw source: requested = stored + pending + the rejected ones by reason."""
    rejected: Counter[str] = Counter()
    for report in reports:
        rejected.update(report.rejected)
    stored, pending = sum(report.stored for report in reports), sum(report.pending for report in reports)
    by_reason = {f"rejected/{reason}": count for reason, count in sorted(rejected.items())}
    return {"requested": stored + rejected.total() + pending, "stored": stored, "pending": pending} | by_reason


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes ``manifest.json``, the last file of a finished stage."""
    write_json(
        folder / "manifest.json", {"version": FORMAT_VERSION, "data_sha256": manifest.data_sha256} | asdict(manifest)
    )


def read_manifest(folder: Path) -> Manifest:
    """Reads ``manifest.json``.

    Raises:
        ValueError: it is missing (the stage has not finished), damaged, or of another format version.
    """
    path = folder / "manifest.json"
    try:
        record: dict[str, object] = read_json(path)
        version, expected_hash = record.pop("version"), record.pop("data_sha256")
        if version != FORMAT_VERSION:
            raise UserError(f"{path}: format version {version}, expected {FORMAT_VERSION}")
        manifest = _manifest_of(record)
    except FileNotFoundError as error:
        raise not_finished(path, f"the stage that writes {folder}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a manifest: {error!r}") from error
    if manifest.data_sha256 != expected_hash:
        raise UserError(f"{path}: data_sha256 does not fit its shards: the file was changed")
    return manifest


def _manifest_of(record: dict[str, object]) -> Manifest:
    shards = record.pop("shards")
    if not isinstance(shards, list):
        raise TypeError("shards is not a list")
    return Manifest(**record, shards=tuple(ShardFile(**shard) for shard in shards))  # pyright: ignore[reportArgumentType]
