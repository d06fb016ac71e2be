"""What DVC recorded: the MD5 of each out in dvc.lock, and the objects of its cache, whose names are their MD5.

DVC itself trusts an object that is read-only and a file whose time has not changed: a rotten object is checked out in
silence, and `dvc status` calls it up to date. Reads files alone and imports no DVC.
"""

import configparser
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minimagen.config import read_yaml
from minimagen.errors import UserError
from minimagen.integrity import md5_file

LOCK_FILE, PIPELINE_FILE = Path("dvc.lock"), Path("dvc.yaml")
_CONFIGS = (Path(".dvc/config"), Path(".dvc/config.local"))
_NUM_FOLDER_DIGITS = 2
_LISTING = ".dir"
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


@dataclass(frozen=True, slots=True)
class RecordedOut:
    """One out of one stage in dvc.lock."""

    stage: str
    path: Path
    """Relative to the project."""
    md5: str
    """Of a file its MD5; of a folder that of a list of its files, with the ending ".dir"."""
    is_cached: bool = True
    """Whether DVC keeps a copy; what it keeps none of is Git's."""

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of files."""
        return self.md5.endswith(_LISTING)


@dataclass(frozen=True, slots=True)
class ObjectCache:
    """The objects that DVC keeps on this machine."""

    folder: Path

    def path(self, md5: str) -> Path:
        """Returns where an object stands, or would."""
        return self.folder / md5[:_NUM_FOLDER_DIGITS] / md5[_NUM_FOLDER_DIGITS:]

    def holds(self, md5: str) -> bool:
        """Returns whether an object is there and is what its name says."""
        path = self.path(md5)
        return path.is_file() and md5_file(path) == md5.removesuffix(_LISTING)

    def objects(self) -> Iterator[tuple[Path, str]]:
        """Yields each object with the MD5 that its name says."""
        for path in sorted(self.folder.glob("[0-9a-f]" * _NUM_FOLDER_DIGITS + "/*")):
            if path.is_file():
                yield path, (path.parent.name + path.name).removesuffix(_LISTING)


def read_outs(root: Path) -> list[RecordedOut]:
    """Returns the outs that dvc.lock records, none where there is no dvc.lock.

    Raises:
        UserError: dvc.lock is not one.
    """
    path = root / LOCK_FILE
    if not path.exists():
        return []
    try:
        stages: dict[str, dict[str, list[dict[str, str]]]] = read_yaml(path)["stages"]  # pyright: ignore[reportIndexIssue]
        outs = [(stage, out) for stage, body in stages.items() for out in body.get("outs", ())]
        if not all(_MD5.fullmatch(out["md5"]) for _, out in outs):
            raise ValueError("an md5 is not one")
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged: {error}") from error
    uncached = _uncached(root / PIPELINE_FILE)
    return [RecordedOut(stage, Path(out["path"]), out["md5"], out["path"] not in uncached) for stage, out in outs]


def _uncached(path: Path) -> set[str]:
    """Returns the outs of dvc.yaml that say `cache: false`; none of ours has a template in its name."""
    document = read_yaml(path) if path.exists() else {}
    found, rest = set[str](), [document]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            found |= {name for name, part in value.items() if isinstance(part, dict) and part.get("cache") is False}
            rest += value.values()
        elif isinstance(value, list):
            rest += value
    return found


def open_cache(root: Path) -> ObjectCache:
    """Returns the cache of a project: `cache.dir` of DVC's configuration, or .dvc/cache."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read([root / path for path in _CONFIGS])
    place = parser.get("cache", "dir", fallback="cache")
    return ObjectCache(root / ".dvc" / place / "files/md5")


def listing_md5(folder: Path) -> str:
    """Returns what DVC would call the list of a folder's files as they are now."""
    paths = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    listing = [{"md5": md5_file(path), "relpath": name} for name, path in paths]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + _LISTING


def files_of(out: RecordedOut, cache: ObjectCache) -> dict[Path, str] | None:
    """Returns the MD5 of each file of an out; None where the list of a folder's files is not whole."""
    if not out.is_folder:
        return {out.path: out.md5}
    if not cache.holds(out.md5):
        return None
    listing = json.loads(cache.path(out.md5).read_bytes())
    return {out.path / entry["relpath"]: entry["md5"] for entry in listing}
