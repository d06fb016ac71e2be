"""Everything that a project keeps, hashed again: what is damaged, what it should be, and which command mends it.

Three records are asked: the hashes in our own formats, the MD5 of every out in dvc.lock, and the names of the objects
in DVC's cache. Mends nothing.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from minimagen.dvc_record import LOCK_FILE, ObjectCache, RecordedOut, files_of, listing_md5, open_cache, read_outs
from minimagen.errors import UserError
from minimagen.integrity import MISSING, CheckedFile, check_md5, md5_file
from minimagen.stages.mending import Mender
from minimagen.stages.own_hashes import check_own_hashes

_COMMITTED = ("assets", "services", "README.md")
"""In data/, and Git's."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A file that is not what was recorded of it. Paths are relative to the project."""

    file: str
    expected: str
    found: str
    mend: str
    """A line for the shell, in the root of the project."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a project's files."""

    num_files: int
    """Hashed again."""
    damaged: tuple[Damage, ...]
    unrecorded: tuple[str, ...]
    """Files in data/ that nothing keeps a hash of; dvc.lock does, once `dvc repro` has run."""


def run_verify(root: Path = Path(), *, as_json: bool = False) -> Verdict:
    """Hashes everything again and tells what is damaged."""
    verdict = verify(root)
    if as_json:
        print(json.dumps(asdict(verdict), indent=2))
        return verdict
    for damage in verdict.damaged:
        print(f"damaged: {damage.file}\n  expected  {damage.expected}\n  found     {damage.found}")
        print(f"  mend      {damage.mend}")
    for file in verdict.unrecorded:
        print(f"no hash:   {file}")
    print(
        f"verify: {verdict.num_files} files hashed, {len(verdict.damaged)} damaged, "
        f"{len(verdict.unrecorded)} that nothing keeps a hash of"
    )
    return verdict


def verify(root: Path) -> Verdict:
    """Hashes every file of a project that something keeps a hash of."""
    cache, checked = open_cache(root), dict[Path, CheckedFile]()
    try:
        outs = read_outs(root)
    except UserError as error:
        outs, checked[root / LOCK_FILE] = [], CheckedFile(root / LOCK_FILE, "readable", str(error))
    for one in check_own_hashes(root):
        if one.path not in checked or checked[one.path].is_whole:
            checked[one.path] = one
    # What is as dvc.lock has it is whole, although a damaged record of ours may say otherwise of it.
    for one in (*_check_outs(root, outs, cache), *_check_objects(cache)):
        if one.is_whole or one.path not in checked or checked[one.path].is_whole:
            checked[one.path] = one
    mender = Mender(root, outs, cache, {path for path, one in checked.items() if not one.is_whole})
    damaged = [
        Damage(_told(root, one.path), one.expected, one.found, mender.command(one.path))
        for one in checked.values()
        if not one.is_whole
    ]
    unrecorded = [_told(root, path) for path in _present(root) if path not in checked]
    return Verdict(len(checked), tuple(sorted(damaged, key=lambda each: each.file)), tuple(unrecorded))


def _check_outs(root: Path, outs: list[RecordedOut], cache: ObjectCache) -> Iterator[CheckedFile]:
    for out in outs:
        files = files_of(out, cache)
        if files is None:
            yield from _check_without_list(root / out.path, out.md5, cache)
            continue
        yield from (check_md5(root / path, md5) for path, md5 in files.items())
        if out.is_folder:
            for path in _files_below(root / out.path):
                if path.relative_to(root) not in files:
                    yield CheckedFile(path, f"not in {LOCK_FILE}", "there")


def _check_without_list(folder: Path, md5: str, cache: ObjectCache) -> Iterator[CheckedFile]:
    """A folder whose list of files the cache has lost: it is whole if a list of what is there would be the same.

    If it is not, each file that the cache holds as it is here has not decayed.
    """
    found = listing_md5(folder) if folder.is_dir() else MISSING
    yield CheckedFile(folder, md5, found)
    for path in _files_below(folder):
        if found == md5 or cache.holds(md5_file(path)):
            yield CheckedFile(path, f"in {md5}", f"in {md5}")


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _check_objects(cache: ObjectCache) -> Iterator[CheckedFile]:
    """DVC looks at no object that is read-only, and all are: a rotten one would be checked out in silence."""
    yield from (check_md5(path, md5) for path, md5 in cache.objects())


def _present(root: Path) -> list[Path]:
    tops = [path for path in (root / "data").glob("*") if path.name not in _COMMITTED]
    return sorted(path for top in tops for path in (_files_below(top) if top.is_dir() else (top,)))


def _told(root: Path, path: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
