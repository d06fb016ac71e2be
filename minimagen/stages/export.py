"""Export: the curated data as a folder of picture files that people and ``datasets.load_dataset("imagefolder")`` open.

Not a stage of the graph: nothing is made from what is exported. The folder is whole or absent, and only an earlier
export is ever replaced.
"""

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minimagen.errors import UserError
from minimagen.files import sha256_bytes, sha256_file, write_json
from minimagen.manifest import Manifest, read_manifest
from minimagen.shards import iter_images, read_table
from minimagen.stages.run_lock import run_lock

CURATED = Path("data/curated")
RECORD = "export.json"
METADATA = "metadata.jsonl"
SPLITS = ("train", "validation")
COLUMNS = ("key", "text", "captions", "license", "source_url", "format", "split")
_OURS = re.compile(rf"{RECORD}|(?:{'|'.join(SPLITS)})/(?:{METADATA}|[0-9a-f]{{32}}\.[a-z]+)")


@dataclass(frozen=True, slots=True)
class _Exported:
    """One row of the curated data."""

    split: str
    image: bytes
    line: dict[str, object]
    """What metadata.jsonl says of it."""


def run_export(out: Path, *, split: Literal["train", "validation", "all"], root: Path = Path()) -> None:
    """Writes the rows of ``data/curated`` as files: ``out/<split>/<hash of the key>.<format>`` and metadata.jsonl.

    Args:
        out: absent, empty, or an earlier export, which is replaced.

    Raises:
        UserError: nothing is curated, a shard is damaged, or ``out`` holds anything else.
    """
    curated = root / CURATED
    manifest = read_manifest(curated)
    out = out.resolve()
    if out == out.parent:
        raise UserError(f"{out}: is no folder to export to")
    new, old = out.with_name(f".{out.name}.new"), out.with_name(f".{out.name}.old")
    with run_lock(root / "runs/export/lock"):
        if old.exists() and not out.exists():  # killed between the two renames
            old.rename(out)
        _refuse_foreign(out)
        _remove(new)
        counts = _write(new, curated, manifest, SPLITS if split == "all" else (split,))
        os.sync()  # the renames below must not reach the disk before the files do
        _remove(old)
        if out.exists():
            out.rename(old)
        new.rename(out)
        _remove(old)
    rows = " + ".join(f"{counts[name]} {name}" for name in SPLITS if name in counts)
    print(f"export: {out}: {sum(counts.values())} rows = {rows}")


def _write(folder: Path, curated: Path, manifest: Manifest, splits: tuple[str, ...]) -> dict[str, int]:
    """Writes everything, the record last, and returns the number of rows of each split."""
    for split in splits:
        (folder / split).mkdir(parents=True)
    counts: Counter[str] = Counter(dict.fromkeys(splits, 0))
    streams = {split: (folder / split / METADATA).open("w", encoding="ascii", newline="\n") for split in splits}
    try:
        for row in _rows(curated, manifest):
            if row.split in streams:
                path = folder / row.split / str(row.line["file_name"])
                with path.open("xb") as stream:  # a second row of one name would be lost
                    stream.write(row.image)
                streams[row.split].write(json.dumps(row.line) + "\n")
                counts[row.split] += 1
    finally:
        for stream in streams.values():
            stream.close()
    expected = {split: manifest.counts.get(split, 0) for split in splits}
    assert dict(counts) == expected, f"{curated}: exported {dict(counts)}, curated {expected}"
    record = {"format": "imagefolder", "data_sha256": manifest.data_sha256, "counts": expected}
    write_json(folder / RECORD, record | {"licenses": manifest.licenses})
    return expected


def _rows(curated: Path, manifest: Manifest) -> Iterator[_Exported]:
    for shard in manifest.shards:
        path = curated / shard.file
        records = read_table(path, COLUMNS).to_pylist()
        if sha256_file(path) != shard.sha256:
            raise UserError(f"{path} is damaged: its SHA-256 is not the one in {curated / 'manifest.json'}")
        for record, image in zip(records, iter_images(path), strict=True):
            name = f"{sha256_bytes(record['key'].encode())[:32]}.{record['format']}"
            line: dict[str, object] = {"file_name": name}
            line |= {column: record[column] for column in ("text", "captions", "key", "license", "source_url")}
            line["captions"] = record["captions"] or [record["text"]]
            yield _Exported(record["split"], image, line)


def _refuse_foreign(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"{out}: is a file, expected a folder to export to")
    if any(out.iterdir()) and not (out / RECORD).is_file():
        raise UserError(f"{out}: is not empty and not an earlier export (it has no {RECORD}): name another folder")
    files = [path.relative_to(out).as_posix() for path in sorted(out.rglob("*")) if path.is_symlink() or path.is_file()]
    foreign = [name for name in files if not _OURS.fullmatch(name)]
    if foreign:
        raise UserError(f"{out}: holds {foreign[0]}, which no export wrote: move it away, or name another folder")


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
