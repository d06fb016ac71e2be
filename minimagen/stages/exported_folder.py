"""A folder that is exported: whole or absent, and only an earlier export is ever replaced. Knows no format."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minimagen.errors import UserError
from minimagen.stages.run_lock import run_lock

RECORD = "export.json"
"""What marks a folder as an export; the last file to be written."""


@contextmanager
def exporting(out: Path, ours: re.Pattern[str], root: Path) -> Iterator[Path]:
    """Yields a new folder to be filled, which takes the place of ``out`` at the end of the block.

    Args:
        out: absent, empty, or an earlier export.
        ours: what the relative path of each file of such an export is like.

    Raises:
        UserError: ``out`` holds anything else.
    """
    out = out.resolve()
    if out == out.parent:
        raise UserError(f"{out}: is no folder to export to")
    new, old = out.with_name(f".{out.name}.new"), out.with_name(f".{out.name}.old")
    with run_lock(root / "runs/export/lock"):
        if old.exists() and not out.exists():  # killed between the two renames
            old.rename(out)
        _refuse_foreign(out, ours)
        _remove(new)
        new.mkdir(parents=True)
        yield new
        os.sync()  # the renames below must not reach the disk before the files do
        _remove(old)
        if out.exists():
            out.rename(old)
        new.rename(out)
        _remove(old)


def _refuse_foreign(out: Path, ours: re.Pattern[str]) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"{out}: is a file, expected a folder to export to")
    if any(out.iterdir()) and not (out / RECORD).is_file():
        raise UserError(f"{out}: is not empty and not an earlier export (it has no {RECORD}): name another folder")
    files = [path.relative_to(out).as_posix() for path in sorted(out.rglob("*")) if path.is_symlink() or path.is_file()]
    foreign = [name for name in files if not ours.fullmatch(name)]
    if foreign:
        raise UserError(
            f"{out}: holds {foreign[0]}, which no export of this format wrote: move it away, or name another folder"
        )


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
