"""Conceptual Captions as a source: alt texts of the web and the pictures beside them (CC3M, CC12M).

Sharma et al. 2018 and Changpinyo et al. 2021. Draws rows from a list in a seeded order, so that slow hosts are spread
over the shards; pictures are fetched by ``remote``. A third of them is gone from the web: that is no failure.

A row's key is its number in the list. A later snapshot draws where the last one ended; its list has to be the same,
or a longer one that begins with it.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from minimagen.config import ConceptualCaptionsConfig
from minimagen.errors import UserError
from minimagen.rows import Rejection
from minimagen.shards import ShardJob
from minimagen.sources.address_lists import AddressList
from minimagen.sources.candidates import Candidate, KnownKeys, Plan, find_plan, jobs_of, newest_plan, write_plan
from minimagen.sources.drawing_order import drawing_order, repeats
from minimagen.sources.list_files import file_identity, locate_list
from minimagen.sources.tombstones import honour_tombstones, read_tombstones

SOURCE = "conceptual_captions"
LICENSE = "list: Conceptual Captions, Google LLC, free for any purpose; pictures: their owners', not known"
_PIECE_BYTES = 2**20


def plan(config: ConceptualCaptionsConfig, *, reads: Path, snapshot: str, folder: Path, state: Path) -> list[ShardJob]:
    """Returns the jobs that fetch the rows drawn so far, those of earlier snapshots first.

    Args:
        reads: the service file; for the listing "file" the list itself, or its folder.
        state: where the list is kept once it is fetched.

    Raises:
        ConfigError: the service file is wrong, or the user's list is missing or cannot be understood.
        UserError: the service refuses, or the list is not the one that was drawn from before.
    """
    dump = config.model_dump(mode="json")
    listed = find_plan(folder, snapshot, dump)
    if listed is None:
        located = locate_list(config, reads, state)
        after = newest_plan(folder, dump)
        mark = _mark_of(located.file.path, after)
        with AddressList(located.file) as rows:
            draw = _draw(rows, config, after, KnownKeys(folder, after))
            listed = write_plan(
                folder,
                snapshot,
                dump,
                honour_tombstones(_candidates(rows, draw.numbers, config), read_tombstones(folder)),
                shard_rows=config.shard_rows,
                after=after,
                watermark={**located.origin, **mark, "rows": len(rows), "drawn": draw.end},
            )
    elif config.listing == "file" and not file_identity(reads).items() <= listed.watermark.items():
        raise UserError(
            f"{reads}: the list has changed since the snapshot {snapshot!r} drew from it: "
            "a new ingest.snapshot in params.yaml draws what is new"
        )
    return jobs_of(folder, listed, SOURCE, reads)


@dataclass(frozen=True, slots=True)
class _Draw:
    numbers: npt.NDArray[np.int64]
    """Of the rows drawn, in order."""
    end: int
    """Where in the drawing order the next draw begins."""


def _draw(rows: AddressList, config: ConceptualCaptionsConfig, after: Plan | None, known: KnownKeys) -> _Draw:
    order = drawing_order(len(rows), config.seed)
    start = 0
    if after is not None and after.watermark["rows"] == len(rows):
        start = int(str(after.watermark["drawn"]))
    positions = (at for at in range(start, len(order)) if _key(config, int(order[at])) not in known)
    chosen = np.fromiter(islice(positions, config.max_rows), dtype=np.int64)
    is_all = config.max_rows is None or len(chosen) < config.max_rows
    return _Draw(order[chosen], len(order) if is_all else int(chosen[-1]) + 1)


def _candidates(
    rows: AddressList, numbers: npt.NDArray[np.int64], config: ConceptualCaptionsConfig
) -> Iterator[Candidate]:
    is_repeat = repeats(rows.identities())
    for number in map(int, numbers):
        row = rows.row(number)
        rejection = row.rejection
        if rejection is None and is_repeat[number]:
            rejection = Rejection("duplicate_url", "an earlier row of the list has the same address")
        yield Candidate(
            key=_key(config, number),
            url=row.url,
            captions=row.captions,
            page_url="",
            license=LICENSE,
            adult=False,
            lang="en",
            reason="" if rejection is None else rejection.reason,
            detail="" if rejection is None else rejection.detail,
        )


def _key(config: ConceptualCaptionsConfig, number: int) -> str:
    prefix = config.dataset if config.split == "train" else f"{config.dataset}-{config.split}"
    return f"{prefix}:{number:08d}"


def _mark_of(path: Path, after: Plan | None) -> Mapping[str, object]:
    """Returns what the list is recognised by; makes sure that it is, or begins with, the one drawn from before."""
    size = path.stat().st_size
    if after is not None:
        before = int(str(after.watermark["list_bytes"]))
        if not _ends_line(path, before) or _digest_of(path, before) != after.watermark["list_sha256"]:
            raise UserError(
                f"{path}: does not begin with the list that the snapshot {after.snapshot!r} drew from, so the numbers "
                "of its rows mean others: bring that list back, or change ingest.conceptual_captions.seed in "
                "params.yaml, which starts afresh"
            )
    return {"list_bytes": size, "list_sha256": _digest_of(path, size)}


def _digest_of(path: Path, num_bytes: int) -> str:
    """Returns the SHA-256 of the beginning of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while num_bytes and (piece := stream.read(min(num_bytes, _PIECE_BYTES))):
            digest.update(piece)
            num_bytes -= len(piece)
    return digest.hexdigest()


def _ends_line(path: Path, position: int) -> bool:
    """Tells whether a line, or the file, ends just before ``position``: else its last row would have become longer."""
    with path.open("rb") as stream:
        stream.seek(max(0, position - 1))
        last, following = stream.read(1), stream.read(2)
    return last == b"\n" or following in (b"", b"\r\n") or following[:1] == b"\n"
