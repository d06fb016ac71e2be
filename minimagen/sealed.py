"""Sealed folders: whole or absent, and with the SHA-256 of every file, so that a flipped bit is noticed.

No tensor format checks its contents (one flipped bit in a checkpoint loads silently in torch and in safetensors alike).
Knows nothing of what the files mean.
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from minimagen.errors import UserError
from minimagen.files import canonical_json, make_folder, sha256_bytes, sha256_file, sync_folder, write_durable

MANIFEST = "MANIFEST.json"


class SealError(UserError):
    """A sealed folder is not as it was written; the message names the file."""


def write_sealed(folder: Path, files: Iterable[tuple[str, bytes]], facts: Mapping[str, int | str]) -> None:
    """Writes a sealed folder: beside its place, flushed to disk, then renamed; an older one of that name is replaced.

    A crash leaves the old folder, or none if it hits between the two renames of a replacement, or the new one.

    Args:
        files: names and contents, taken one at a time.
        facts: what the manifest says beside the hashes.

    Raises:
        OSError: the disk refused; what was written is removed, and an older folder has its name still, unless the new
            one had taken its place before.
    """
    make_folder(folder.parent)
    temporary = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        listed: dict[str, dict[str, int | str]] = {}
        for name, content in files:
            write_durable(temporary / name, content)
            listed[name] = {"bytes": len(content), "sha256": sha256_bytes(content)}
        write_durable(temporary / MANIFEST, _render({**facts, "files": listed}))
        sync_folder(temporary)
        replace_folder(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def read_sealed(folder: Path) -> dict[str, object]:
    """Checks every file of a sealed folder and returns what its manifest says.

    Raises:
        SealError: a file is missing, unlisted or changed.
        OSError: a file is there but cannot be read.
    """
    manifest = _read_manifest(folder / MANIFEST)
    files = _hashes_of(folder, manifest)
    present = {path.name for path in folder.iterdir()} - {MANIFEST}
    for name in sorted(present ^ files.keys()):
        raise SealError(
            f"{folder / name}: {'not listed in' if name in present else 'missing, but listed in'} {MANIFEST}"
        )
    for name, expected in files.items():
        found = sha256_file(folder / name)
        if found != expected:
            raise SealError(f"{folder / name}: sha256 is {found}, {MANIFEST} says {expected}")
    return manifest


def listed_hashes(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file of a sealed folder as its manifest says, having checked the manifest alone.

    Raises:
        SealError: the manifest is missing or changed.
    """
    return _hashes_of(folder, _read_manifest(folder / MANIFEST))


def remove_leftovers(parent: Path, name: str = "*") -> None:
    """Removes what dead writers of folders or files called ``name`` left in ``parent``; no living one may write."""
    for path in parent.glob(f"{name}.tmp-*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def replace_folder(temporary: Path, folder: Path) -> None:
    """Gives a finished folder its name, durably; an older folder of that name goes.

    Raises:
        OSError: the disk refused; the older folder has its name still, or the finished one has it.
    """
    if folder.exists():
        replaced = folder.with_name(f"{folder.name}.tmp-{os.getpid()}-old")
        shutil.rmtree(replaced, ignore_errors=True)
        folder.rename(replaced)
        try:
            temporary.rename(folder)
        except OSError:
            replaced.rename(folder)
            raise
        shutil.rmtree(replaced)
    else:
        temporary.rename(folder)
    sync_folder(folder.parent)


def _hashes_of(folder: Path, manifest: Mapping[str, object]) -> dict[str, str]:
    try:
        return {name: listed["sha256"] for name, listed in manifest["files"].items()}  # pyright: ignore[reportAttributeAccessIssue]
    except (AttributeError, KeyError, TypeError) as error:
        raise SealError(f"{folder / MANIFEST}: files is not a table of files: {error!r}") from error


def _render(content: Mapping[str, object]) -> bytes:
    sealed = {**content, "manifest_sha256": sha256_bytes(canonical_json(content).encode())}
    return (json.dumps(sealed, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _read_manifest(path: Path) -> dict[str, object]:
    """Reads a manifest that is, byte for byte, what ``_render`` makes of its own content."""
    try:
        written = path.read_bytes()
        content = json.loads(written)
        content.pop("manifest_sha256")
    except FileNotFoundError as error:
        raise SealError(f"{path}: missing") from error
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise SealError(f"{path}: damaged: {type(error).__name__}: {error}") from error
    if "files" not in content or _render(content) != written:
        raise SealError(f"{path}: damaged: its own hash does not hold")
    return content
