"""Tombstones: what was purged from a source, by the SHA-256 of its key, so that no later listing brings it back.

Knows no service. While a purge is under way the file says so, and who reads it is told to let the purge finish first.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from minimagen.errors import UserError
from minimagen.files import canonical_json, sha256_bytes, write_atomic
from minimagen.sources.candidates import Candidate

FORMAT_VERSION = 1
REASON = "purged"
"""Of a candidate that has a tombstone."""


@dataclass(frozen=True, slots=True)
class Graves:
    """What the file of a source says."""

    by_snapshot: Mapping[str, Mapping[str, tuple[str, ...]]]
    """Hashes of keys by the snapshot that they were purged from and the reason, sorted."""
    unfinished: str | None
    """What the purge that is under way was asked for ("--older-than" as a date); None if none is."""


class Tombstones:
    """The keys that were purged: eight bytes of each hash."""

    def __init__(self, graves: Graves) -> None:
        """Takes what a file says."""
        hashes = [
            int(key_sha256[:16], 16)
            for by_reason in graves.by_snapshot.values()
            for hashes in by_reason.values()
            for key_sha256 in hashes
        ]
        self._hashes = np.sort(np.array(hashes, dtype=np.uint64))

    def __contains__(self, key: str) -> bool:
        wanted = np.uint64(int(hash_of(key)[:16], 16))
        index = int(np.searchsorted(self._hashes, wanted))
        return index < len(self._hashes) and bool(self._hashes[index] == wanted)

    def __len__(self) -> int:
        return len(self._hashes)


def tombstones_path(folder: Path) -> Path:
    """Returns where the tombstones of ``data/raw/<source>`` stand."""
    return folder / "tombstones.json"


def hash_of(key: str) -> str:
    """Returns what a tombstone keeps of a key."""
    return sha256_bytes(key.encode())


def read_tombstones(folder: Path) -> Tombstones:
    """Returns the tombstones of a source; a source that nothing was purged from has none.

    Raises:
        UserError: the file is damaged, or a purge was interrupted and has to be finished first.
    """
    graves = read_graves(folder)
    if graves.unfinished is not None:
        raise UserError(
            f"{tombstones_path(folder)}: a purge was interrupted; finish it first: "
            f"minimagen purge --source {folder.name} --older-than {graves.unfinished}"
        )
    return Tombstones(graves)


def honour_tombstones(candidates: Iterable[Candidate], tombstones: Tombstones) -> Iterator[Candidate]:
    """Yields the candidates; of a purged one nothing but its key is left, with the reason "purged"."""
    if not len(tombstones):
        yield from candidates
        return
    for candidate in candidates:
        yield buried(candidate) if candidate.key in tombstones else candidate


def buried(candidate: Candidate) -> Candidate:
    """Returns what is listed of a purged candidate."""
    nothing = replace(candidate, url="", captions=(), page_url="", adult=False, extra="{}")
    return replace(nothing, reason=REASON, detail="purged with an earlier snapshot")


def read_graves(folder: Path) -> Graves:
    """Returns what the file says, whether a purge is under way or not.

    Raises:
        UserError: the file is damaged.
    """
    path = tombstones_path(folder)
    try:
        record = json.loads(path.read_bytes())
        if record.pop("record_sha256") != _hash_of(record) or record["version"] != FORMAT_VERSION:
            raise ValueError("hash or version do not fit")
        return Graves(
            {
                snapshot: {reason: tuple(hashes) for reason, hashes in by_reason.items()}
                for snapshot, by_reason in record["tombstones"].items()
            },
            record["unfinished"],
        )
    except FileNotFoundError:
        return Graves({}, None)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: damaged ({error}): get it back (dvc checkout {path.parent}), or what was purged returns"
        ) from error


def write_graves(folder: Path, graves: Graves) -> None:
    """Writes the file, atomically."""
    record = {"version": FORMAT_VERSION, "tombstones": graves.by_snapshot, "unfinished": graves.unfinished}
    record = json.loads(canonical_json(record))
    content = canonical_json(record | {"record_sha256": _hash_of(record)})
    write_atomic(tombstones_path(folder), f"{content}\n".encode())


def with_keys(graves: Graves, snapshot: str, reason: str, keys: Collection[str]) -> Graves:
    """Returns the tombstones with those of some more keys."""
    by_reason = dict(graves.by_snapshot.get(snapshot, {}))
    by_reason[reason] = tuple(sorted({*by_reason.get(reason, ()), *map(hash_of, keys)}))
    return replace(graves, by_snapshot={**graves.by_snapshot, snapshot: by_reason})


def _hash_of(record: Mapping[str, object]) -> str:
    return sha256_bytes(canonical_json(record).encode())
