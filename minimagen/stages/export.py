"""Export: the curated data as a folder of picture files that people and ``datasets.load_dataset("imagefolder")`` open.

Not a stage of the graph: nothing is made from what is exported. The folder is whole or absent, and only an earlier
export is ever replaced.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minimagen.errors import UserError
from minimagen.files import sha256_bytes, sha256_file, write_json
from minimagen.manifest import Manifest, read_manifest
from minimagen.shards import iter_images, read_table
from minimagen.stages.exported_folder import RECORD, exporting

CURATED = Path("data/curated")
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
    with exporting(out, _OURS, root) as new:
        counts = _write(new, curated, manifest, SPLITS if split == "all" else (split,))
    rows = " + ".join(f"{counts[name]} {name}" for name in SPLITS if name in counts)
    print(f"export: {out.resolve()}: {sum(counts.values())} rows = {rows}")


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
