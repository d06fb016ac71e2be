"""What a user's folder holds: its pictures in the order of the captions, each with captions or the reason why not.

Decodes nothing. Every picture has one entry, also one that no caption names; so has every caption without a picture.
"""

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minimagen.config import ConfigError, FolderConfig
from minimagen.files import sha256_file
from minimagen.rows import Rejection
from minimagen.sources.caption_tables import read_caption_table

METADATA_FILES = ("metadata.jsonl", "metadata.csv")
PICTURE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif"),
    *(".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jxl", ".svg"),  # counted although they are not read
)


@dataclass(frozen=True, slots=True)
class FolderItem:
    """One picture as it is planned."""

    path: str
    """Relative to the folder, "/" between parts."""
    captions: tuple[str, ...]
    """Raw captions; empty if it is rejected already."""
    sha256: str | None
    rejection: Rejection | None = None


def list_items(config: FolderConfig, folder: Path) -> list[FolderItem]:
    """Returns every picture that a caption names, in that order, then every other picture of the folder.

    A picture that is named several times has all of those captions.

    Raises:
        ConfigError: the folder or its captions are missing, or a captions file cannot be understood.
    """
    if not folder.is_dir():
        raise ConfigError(f"params.yaml: sources.folder: {folder}: no such folder")
    present = list(_pictures_below(folder))
    spelt = {_spelling(name): name for name in present} | {name: name for name in present}
    captioned: dict[str, tuple[str, ...] | Rejection] = {}
    for table in _find_tables(config, folder):
        base = "." if config.captions_file is not None else table.parent.relative_to(folder).as_posix()
        for entry in read_caption_table(table, path_column=config.path_column, caption_column=config.caption_column):
            name = os.path.normpath(f"{base}/{entry.picture}" if not entry.picture.startswith("/") else entry.picture)
            name = spelt.get(name, spelt.get(_spelling(name), name))
            captioned[name] = _joined(captioned.get(name), entry.captions)
    uncaptioned = Rejection("no_caption", "no row of the captions names it")
    unnamed = dict.fromkeys((name for name in present if name not in captioned), uncaptioned)
    return [_item_of(folder, name, captions) for name, captions in (captioned | unnamed).items()]


def printable(name: str) -> str:
    """Returns a file name that can be stored as UTF-8: bytes that are none are written as escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _spelling(name: str) -> str:
    """One spelling of names with accents: some file systems store a letter and its accent apart."""
    return unicodedata.normalize("NFC", name)


def _joined(
    known: tuple[str, ...] | Rejection | None, added: tuple[str, ...] | Rejection
) -> tuple[str, ...] | Rejection:
    if known is None or isinstance(known, Rejection):
        return added
    return known if isinstance(added, Rejection) else known + added


def _find_tables(config: FolderConfig, folder: Path) -> list[Path]:
    if config.captions_file is not None:
        table = folder / config.captions_file
        if not table.resolve().is_relative_to(folder.resolve()):
            raise ConfigError(f"params.yaml: ingest.folder.captions_file: {table} is not inside {folder}")
        if not table.is_file():
            raise ConfigError(f"params.yaml: ingest.folder.captions_file: {table}: no such file")
        return [table]
    tables: list[Path] = []
    for subfolder, files in _walk(folder):
        found = [subfolder / name for name in METADATA_FILES if name in files]
        if len(found) > 1:
            raise ConfigError(f"{subfolder} has both {' and '.join(METADATA_FILES)}: keep one, or set captions_file")
        tables += found
    if not tables:
        raise ConfigError(
            f"{folder}: found neither {' nor '.join(METADATA_FILES)}: "
            "write one, or set ingest.folder.captions_file in params.yaml"
        )
    return tables


def _pictures_below(folder: Path) -> Iterator[str]:
    for subfolder, files in _walk(folder):
        for name in files:
            if name.lower().endswith(PICTURE_SUFFIXES):
                yield (subfolder / name).relative_to(folder).as_posix()


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yields each subfolder with its files, sorted; hidden ones are skipped, links to folders are not followed."""
    for subfolder, deeper, files in os.walk(folder):
        deeper[:] = sorted(name for name in deeper if not name.startswith("."))
        yield Path(subfolder), sorted(name for name in files if not name.startswith("."))


def _item_of(folder: Path, name: str, captions: tuple[str, ...] | Rejection) -> FolderItem:
    located = _locate(folder, name)
    if isinstance(located, Rejection):
        return FolderItem(name, (), None, located)
    if isinstance(captions, Rejection):
        return FolderItem(name, (), located, captions)
    return FolderItem(name, captions, located)


def _locate(folder: Path, name: str) -> str | Rejection:
    """Returns the SHA-256 of a file that lies in the folder, links resolved."""
    if name.startswith("/") or name.split("/")[0] == "..":
        return Rejection("outside_folder", "the captions name a place outside of the folder")
    path = folder / name
    try:
        if not path.is_file():
            return Rejection("missing_file", "the captions name it, the folder lacks it")
        if not path.resolve().is_relative_to(folder.resolve()):
            return Rejection("outside_folder", "a link that leads out of the folder")
        return sha256_file(path)
    except OSError as error:
        return Rejection("unreadable", error.strerror or type(error).__name__)
