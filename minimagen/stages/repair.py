"""DVC's own files after a power cut or a kill: DVC writes them in place, and refuses to start on a torn one.

    .dvc/tmp/rwlock   who works on what     removed if torn; processes that are gone, or others by now, are taken out
    dvc.lock          what outs rest on     cut before the first stage that is not whole: DVC restores or runs it again
    .../cache/runs    what was run before   what never got its name is removed: DVC would read it before the others

What a running DVC is at is left alone. Its other locks are the kernel's and free themselves. Imports no DVC.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from ruamel.yaml import YAML, YAMLError

from minimagen.dvc_record import open_cache
from minimagen.files import write_atomic
from minimagen.tracking.lock import LockedError, exclusive

RWLOCK, GUARD, REPO_LOCK = Path(".dvc/tmp/rwlock"), Path(".dvc/tmp/rwlock.lock"), Path(".dvc/tmp/lock")
LOCK_FILE = Path("dvc.lock")
_WAIT_S = 3.0
_RUN_NAME = re.compile(r"[0-9a-f]{64}")
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


def run_repair(root: Path = Path()) -> None:
    """Heals DVC's files and says what was wrong."""
    for line in heal(root) or [f"nothing to repair in {root.resolve()}"]:
        print(f"repair: {line}")


def heal(root: Path = Path()) -> list[str]:
    """Heals DVC's files in a project and returns a line for each thing that was wrong."""
    return [*_heal_rwlock(root), *_heal_lock_file(root), *_heal_run_cache(root)]


def _heal_rwlock(root: Path) -> list[str]:
    path = root / RWLOCK
    if not path.exists():
        return []
    try:
        with exclusive(root / GUARD, _WAIT_S):  # as DVC does while it writes: what is torn now was left so
            return _heal_held(path)
    except LockedError:
        return []  # a DVC that lives is writing it


def _heal_held(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    record = _parse_rwlock(text)
    if record is None:
        path.unlink()
        return [f"{path}: was torn, removed"]
    living, dead = _without_dead(record)
    if dead:
        write_atomic(path, json.dumps(living).encode())
    return [f"{path}: process {pid} ({command}) is gone, taken out" for pid, command in sorted(dead.items())]


def _parse_rwlock(text: str) -> dict[str, dict[str, list[dict[str, object]]]] | None:
    """Returns the holders by kind and path, None where DVC would refuse the file."""
    try:
        record = json.loads(text)
    except ValueError:
        return None
    if not isinstance(record, dict) or not record.keys() <= {"read", "write"}:
        return None
    found: dict[str, dict[str, list[dict[str, object]]]] = {}
    for kind, by_path in record.items():
        if not isinstance(by_path, dict):
            return None
        found[kind] = {
            path: holders if kind == "read" and isinstance(holders, list) else [holders]
            for path, holders in by_path.items()
        }
        if not all(map(_is_holder, (holder for holders in found[kind].values() for holder in holders))):
            return None
    return found


def _is_holder(holder: object) -> bool:
    return isinstance(holder, dict) and isinstance(holder.get("pid"), int) and isinstance(holder.get("cmd"), str)


def _without_dead(
    record: Mapping[str, Mapping[str, list[dict[str, object]]]],
) -> tuple[dict[str, dict[str, object]], dict[int, str]]:
    """Returns the record as DVC writes it, of living processes alone, and the others' commands by their numbers."""
    living: dict[str, dict[str, object]] = {kind: {} for kind in record}
    dead: dict[int, str] = {}
    for kind, by_path in record.items():
        for path, holders in by_path.items():
            kept = [holder for holder in holders if _lives(int(str(holder["pid"])), str(holder["cmd"]))]
            dead |= {int(str(holder["pid"])): str(holder["cmd"]) for holder in holders if holder not in kept}
            if kept:
                living[kind][path] = kept if kind == "read" else kept[0]
    return living, dead


def _lives(pid: int, command: str) -> bool:
    """Whether a process runs that may be the one of this command: numbers are given again after a power cut."""
    try:
        os.kill(pid, 0)
        running = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's, or a system that does not tell
    return running.decode(errors="replace").endswith(command.partition(" ")[2])


def _heal_lock_file(root: Path) -> list[str]:
    path = root / LOCK_FILE
    if not path.exists() or _is_whole(path.read_bytes()):
        return []
    try:
        with exclusive(root / REPO_LOCK):
            content = path.read_bytes()
            if _is_whole(content):
                return []
            kept = _whole_part(content)
            write_atomic(path, kept) if kept else path.unlink()
            return [f"{path}: was torn after {len(content)} bytes, the first {len(kept)} are kept"]
    except LockedError:
        return []  # a DVC that lives is writing it


def _heal_run_cache(root: Path) -> list[str]:
    """Half an entry that lacks its outs, or a folder without any, makes every later run of the stage fail in DVC."""
    folders = sorted((open_cache(root).folder.parents[1] / "runs").glob("*/*"))
    if not any(map(_is_cut_off, folders)):
        return []
    try:
        with exclusive(root / REPO_LOCK):
            torn = [folder for folder in folders if _is_cut_off(folder)]
            for folder in torn:
                _clear(folder)
            return [f"{folder}: was torn, removed" for folder in torn]
    except LockedError:
        return []  # a DVC that lives is writing it


def _is_cut_off(folder: Path) -> bool:
    """Whether a folder of entries is empty or holds one that was not given its name, as is done once it is whole."""
    names = [path.name for path in folder.iterdir()]
    return not names or not all(map(_RUN_NAME.fullmatch, names))


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if not _RUN_NAME.fullmatch(path.name):
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _whole_part(content: bytes) -> bytes:
    """Returns the longest beginning that ends before a stage and is whole."""
    lines = content.splitlines(keepends=True)
    heads = [n for n, line in enumerate(lines) if line.startswith(b"  ") and line[2:3] not in (b" ", b"-", b"\n", b"")]
    beginnings = (b"".join(lines[:n]) for n in reversed(heads[1:]))
    return next(filter(_is_whole, beginnings), b"")


def _is_whole(content: bytes) -> bool:
    """Whether DVC would take it: stages with a command, and lists of paths with their hashes."""
    try:
        document = YAML(typ="safe", pure=True).load(content.decode())
    except (YAMLError, UnicodeDecodeError):
        return False
    stages = document.get("stages", {}) if isinstance(document, dict) else None
    if not isinstance(stages, dict) or document.get("schema") != "2.0":
        return False
    return all(map(_is_stage, stages.values()))


def _is_stage(stage: object) -> bool:
    if not isinstance(stage, dict) or not isinstance(stage.get("cmd"), str | list):
        return False
    lists, params = [stage[key] for key in ("deps", "outs") if key in stage], stage.get("params", {})
    if not all(isinstance(entries, list) and all(map(_is_entry, entries)) for entries in lists):
        return False
    return isinstance(params, dict) and all(isinstance(values, dict) for values in params.values())


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
        return False
    if not isinstance(entry.get("hash", ""), str):
        return False
    if "md5" in entry and not _MD5.fullmatch(str(entry["md5"])):
        return False
    return all(isinstance(entry.get(key, 0), int) for key in ("size", "nfiles"))
