"""What files hold, in so few words that a test may compare them and pytest tell where they differ.

A difference of two megabytes of bytes takes pytest hours to tell.
"""

from collections.abc import Iterable
from pathlib import Path

from minimagen.files import sha256_bytes


def content_of(path: Path) -> str:
    """Returns the text of a table, and of any other file its length and SHA-256."""
    content = path.read_bytes()
    return content.decode() if path.suffix == ".csv" else f"{len(content)} bytes, SHA-256 {sha256_bytes(content)}"


def contents(paths: Iterable[Path], root: Path) -> dict[str, str]:
    """Returns what those of the paths hold that are files, by their paths below ``root``."""
    return {path.relative_to(root).as_posix(): content_of(path) for path in sorted(paths) if path.is_file()}


def files_below(folder: Path) -> dict[str, str]:
    """Returns what every file below a folder holds, by relative path."""
    return contents(folder.rglob("*"), folder)
