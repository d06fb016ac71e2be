"""Every file of a project that one of our formats keeps a hash of, hashed again: shards, models, states, journals.

What a format cannot tell of its own file (a manifest's counts, a table of curves) is in dvc.lock: not looked at here.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from minimagen.cascade_file import CASCADE_FILE, read_cascade_file
from minimagen.embeddings import read_embedding_manifest
from minimagen.errors import UserError
from minimagen.files import canonical_json, sha256_bytes
from minimagen.integrity import MISSING, CheckedFile, check_sha256
from minimagen.journal import whole_bytes
from minimagen.manifest import read_manifest
from minimagen.sealed import MANIFEST, listed_hashes
from minimagen.shards import read_table
from minimagen.text.locate import read_record

RAW, CURATED, TEXT_ENCODER = Path("data/raw"), Path("data/curated"), Path("data/text_encoder")
EMBEDDINGS, CASCADE = Path("data/embeddings"), Path("data") / CASCADE_FILE
_SEALED = (
    "data/models/*",
    "data/checkpoints/*/final",
    "data/checkpoints/*/epoch-*",
    "runs/train/*/states/step-*",
    "runs/train/*/snapshots/epoch-*",
)
_INTACT = "as it was written"


def check_own_hashes(root: Path) -> Iterator[CheckedFile]:
    """Yields every file below data/ and runs/ that one of our formats keeps a hash of, hashed again."""
    for folder in sorted(path for path in (root / RAW).glob("*") if path.is_dir()):
        yield from _check_shards(folder)
        yield from _check_records(folder)
    if (root / CURATED).is_dir():
        yield from _check_shards(root / CURATED)
    if (root / TEXT_ENCODER).is_dir():
        yield from _check_encoder(root / TEXT_ENCODER)
    if (root / EMBEDDINGS).is_dir():
        yield from _check_embeddings(root / EMBEDDINGS)
    for pattern in _SEALED:
        for folder in sorted(path for path in root.glob(pattern) if ".tmp-" not in path.name):
            yield from _check_sealed(folder)
    if (root / CASCADE).exists():
        yield _readable(root / CASCADE, lambda: read_cascade_file(root / "data"))
    for path in sorted(root.glob("runs/**/journal.jsonl")):
        yield _check_journal(path)


def _check_shards(folder: Path) -> Iterator[CheckedFile]:
    """A folder of shards, by its manifest."""
    yield (verdict := _readable(folder / "manifest.json", lambda: read_manifest(folder)))
    if verdict.is_whole:
        for shard in read_manifest(folder).shards:
            yield _with_pages(check_sha256(folder / shard.file, shard.sha256))


def _check_records(folder: Path) -> Iterator[CheckedFile]:
    """What a raw source keeps beside its shards: completion records, failures, lists of candidates, tombstones."""
    for path in sorted([*folder.glob("shards/*.json"), *folder.glob("plan/*.json"), *folder.glob("tombstones.json")]):
        yield (verdict := _check_record(path))
        if verdict.is_whole:
            record = json.loads(path.read_bytes())
            if "failures_sha256" in record:
                yield _with_pages(check_sha256(folder / "failures" / f"{path.stem}.parquet", record["failures_sha256"]))
            for listed in record.get("files", ()):
                yield check_sha256(folder / "plan" / f"{listed['name']}.parquet", listed["sha256"])


def _check_record(path: Path) -> CheckedFile:
    """A JSON record that holds its own hash, in one of the two ways in which we write JSON."""
    content = path.read_bytes()
    try:
        record = json.loads(content)
        written = (json.dumps(record, indent=2, sort_keys=True), canonical_json(record))
        is_whole = content in [f"{text}\n".encode() for text in written]
        is_whole = is_whole and record.pop("record_sha256") == sha256_bytes(canonical_json(record).encode())
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        is_whole = False
    return CheckedFile(path, _INTACT, _INTACT if is_whole else "its own hash does not hold")


def _check_encoder(folder: Path) -> Iterator[CheckedFile]:
    """Of a hub model nothing but the record is in the project; the hub's cache is verified whenever it is read."""
    yield (verdict := _readable(folder / "encoder.json", lambda: read_record(folder)))
    if verdict.is_whole and (record := read_record(folder)).kind != "hub":
        place = folder if record.kind == "stored" else Path(record.name)
        yield from (check_sha256(place / name, sha256) for name, sha256 in record.sha256s.items())


def _check_embeddings(folder: Path) -> Iterator[CheckedFile]:
    yield (verdict := _readable(folder / "manifest.json", lambda: read_embedding_manifest(folder)))
    if verdict.is_whole:
        for shard in read_embedding_manifest(folder).shards:
            yield check_sha256(folder / shard.file, shard.sha256)
    for path in sorted([*folder.glob("*.json"), *folder.glob("shards/*.json")]):
        if path.name != "manifest.json":
            yield (verdict := _readable(path, lambda path=path: json.loads(path.read_bytes())["sha256"]))
            if verdict.is_whole:
                yield check_sha256(path.with_suffix(".safetensors"), json.loads(path.read_bytes())["sha256"])


def _check_sealed(folder: Path) -> Iterator[CheckedFile]:
    yield (verdict := _readable(folder / MANIFEST, lambda: listed_hashes(folder)))
    if not verdict.is_whole:
        return
    listed = listed_hashes(folder)
    yield from (check_sha256(folder / name, sha256) for name, sha256 in listed.items())
    for path in sorted(folder.iterdir()):
        if path.name not in listed and path.name != MANIFEST:
            yield CheckedFile(path, f"not in {MANIFEST}", "there")


def _check_journal(path: Path) -> CheckedFile:
    verdict = _readable(path, lambda: whole_bytes(path))
    if verdict.is_whole and (torn_bytes := path.stat().st_size - whole_bytes(path)):
        return CheckedFile(path, _INTACT, f"its last {torn_bytes} bytes are no whole line")
    return verdict


def _readable(path: Path, read: Callable[[], object]) -> CheckedFile:
    """What is whole if it can be read: the reader checks what its format can tell."""
    try:
        read()
    except FileNotFoundError:
        return CheckedFile(path, _INTACT, MISSING)
    except (UserError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        found = MISSING if not path.exists() else " ".join(str(error).split())
        return CheckedFile(path, _INTACT, found)
    return CheckedFile(path, _INTACT, _INTACT)


def _with_pages(checked: CheckedFile) -> CheckedFile:
    """Adds to what is damaged what the checksums of the Parquet file's pages say."""
    if checked.is_whole or checked.found == MISSING:
        return checked
    try:
        read_table(checked.path)
    except UserError as error:
        return CheckedFile(checked.path, checked.expected, f"{checked.found} ({' '.join(str(error).split())})")
    return CheckedFile(checked.path, checked.expected, f"{checked.found} (the checksums of its pages hold)")
