"""Where a list of Conceptual Captions comes from: the hub, its original address, or a file that the user has.

Knows no row. A list is fetched once and kept among the resumable state, which may be deleted at any time; a download
that was stopped goes on where it stopped.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from minimagen.config import ConceptualCaptionsConfig, ConfigError
from minimagen.errors import UserError
from minimagen.files import sha256_bytes, sha256_file, sync_folder
from minimagen.sources.address_lists import ListFile
from minimagen.sources.api_answers import ApiError
from minimagen.sources.api_client import ApiClient
from minimagen.sources.services import ConceptualCaptionsServices, Endpoint, read_services, table_of
from minimagen.sources.table_records import BadRecord, open_table

HUB_DATASET = "google-research-datasets/conceptual_captions"
HUB_CONFIG = "unlabeled"
URL_COLUMNS = ("image_url", "url")
CAPTION_COLUMNS = ("caption", "text")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class LocatedList:
    """A list on this disk, and what it is a state of."""

    file: ListFile
    origin: Mapping[str, str]
    """For the watermark: the hub's commit, or the SHA-256 of the user's file."""


def locate_list(config: ConceptualCaptionsConfig, reads: Path, state: Path) -> LocatedList:
    """Returns the list that the parameters name; fetches it if it is not there yet.

    Args:
        reads: a service file; for the listing "file" the list itself, or its folder.

    Raises:
        ConfigError: the service file is wrong, or the user's file is missing or lacks a column.
        UserError: the service refuses, or sends something else.
    """
    folder = state / "lists"
    if config.listing == "file":
        return _from_file(table_of(reads), folder)
    services = read_services(reads, ConceptualCaptionsServices)
    if config.listing == "tsv":
        addresses = services.tsv.model_dump()
        return _from_address(addresses[f"{config.dataset}_{config.split}"], folder, state)
    with ApiClient(services.hub, state=state) as hub:
        return _from_hub(hub, config.split, folder)


def file_identity(reads: Path) -> Mapping[str, str]:
    """Returns the origin of a list that the user has.

    Raises:
        ConfigError: it is missing.
    """
    path = table_of(reads)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file (sources.conceptual_captions in params.yaml)")
    return {"file_sha256": sha256_file(path)}


def _from_file(path: Path, folder: Path) -> LocatedList:
    origin = file_identity(path)
    if path.suffix.lower() != ".parquet":
        return LocatedList(ListFile(path, "tsv"), origin)
    pairs = folder / f"file-{origin['file_sha256'][:16]}.jsonl"
    if not pairs.exists():
        _write_pairs([path], pairs)
    return LocatedList(ListFile(pairs, "pairs"), origin)


def _from_address(address: str, folder: Path, state: Path) -> LocatedList:
    base, _, name = address.rpartition("/")
    path = folder / f"{sha256_bytes(address.encode())[:16]}-{name}"
    if not path.exists():
        with ApiClient(Endpoint(url=base, requests_per_s=1.0, in_flight=1), state=state) as client:
            try:
                client.download(name, path)
            except ApiError as error:
                if error.status not in (401, 403, 404, 410):
                    raise
                raise UserError(
                    f"{address}: status {error.status}: the list is not given out there (Google's own buttons answer "
                    "403 since March 2026); ingest.conceptual_captions.listing in params.yaml may be hub, for cc3m, or "
                    "file, with a list that you have"
                ) from error
    return LocatedList(ListFile(path, "tsv"), {})


@dataclass(frozen=True, slots=True)
class _HubFile:
    path: str
    size: int
    sha256: str


def _from_hub(hub: ApiClient, split: str, folder: Path) -> LocatedList:
    commit = _commit_of(hub.get_json(f"api/datasets/{HUB_DATASET}/revision/main").document)
    tree = hub.get_json(f"api/datasets/{HUB_DATASET}/tree/{commit}/{HUB_CONFIG}").document
    files = _files_of(tree, split)
    pairs = folder / f"hub-{sha256_bytes(''.join(file.sha256 for file in files).encode())[:16]}.jsonl"
    if not pairs.exists():
        parts = [_fetched(hub, commit, file, folder) for file in files]
        _write_pairs(parts, pairs)
        for part in parts:
            part.unlink()
    return LocatedList(ListFile(pairs, "pairs"), {"revision": commit})


def _fetched(hub: ApiClient, commit: str, file: _HubFile, folder: Path) -> Path:
    target = folder / f"{file.sha256}.parquet"
    if not target.exists():
        hub.download(f"datasets/{HUB_DATASET}/resolve/{commit}/{file.path}", target, max_bytes=file.size)
    found = sha256_file(target)
    if found != file.sha256:
        target.unlink()
        raise UserError(f"{HUB_DATASET}/{file.path}: SHA-256 {found[:16]}, the hub's tree says {file.sha256[:16]}")
    return target


def _commit_of(document: object) -> str:
    commit = document.get("sha") if isinstance(document, dict) else None
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise UserError(f"{HUB_DATASET}: the hub's answer names no commit: {str(document)[:80]!r}")
    return commit


def _files_of(tree: object, split: str) -> list[_HubFile]:
    name = re.compile(rf"{HUB_CONFIG}/{split}-[0-9]+-of-[0-9]+\.parquet")
    try:
        entries = [entry for entry in tree if name.fullmatch(entry["path"])]  # pyright: ignore[reportGeneralTypeIssues]
        files = [_HubFile(entry["path"], int(entry["size"]), str(entry["lfs"]["oid"])) for entry in entries]
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"{HUB_DATASET}: the hub's list of files is none: {str(tree)[:80]!r}") from error
    if not files or not all(_SHA256.fullmatch(file.sha256) for file in files):
        raise UserError(f"{HUB_DATASET}: the hub lists no files {name.pattern} with their hashes")
    return sorted(files, key=lambda file: file.path)


def _write_pairs(parts: Iterable[Path], target: Path) -> None:
    """Writes the rows of Parquet files as lines, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.tmp")
    with temporary.open("w", encoding="ascii") as stream:
        for part in parts:
            table = open_table(part, (*URL_COLUMNS, *CAPTION_COLUMNS))
            url, caption = _column(part, URL_COLUMNS, table.columns), _column(part, CAPTION_COLUMNS, table.columns)
            for record in table.records:
                if isinstance(record, BadRecord):
                    pair = {"reason": record.rejection.reason, "detail": record.rejection.detail}
                else:
                    pair = [record.values[url], record.values[caption]]
                stream.write(json.dumps(pair, default=_not_json) + "\n")
    temporary.replace(target)
    sync_folder(target.parent)


def _column(path: Path, names: tuple[str, ...], columns: tuple[str, ...]) -> str:
    found = next((name for name in names if name in columns), None)
    if found is None:
        raise ConfigError(f"{path}: has no column {' or '.join(map(repr, names))}; found: {', '.join(columns)}")
    return found


def _not_json(value: object) -> dict[str, str]:
    """Stands for a cell that is neither text nor number; it is no caption either way."""
    return {"type": type(value).__name__}
