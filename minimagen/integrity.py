"""One file and whether it is what was recorded of it. Knows no format and repairs nothing."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from minimagen.files import sha256_file

MISSING = "missing"
"""What is found of a file that is not there."""


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A file, what was recorded of it and what was found."""

    path: Path
    expected: str
    """"sha256 ..." or "md5 ..." or, of a file that holds its own hash, words."""
    found: str

    @property
    def is_whole(self) -> bool:
        """Whether it is as recorded."""
        return self.found == self.expected


def check_sha256(path: Path, sha256: str) -> CheckedFile:
    """Hashes a file again and compares."""
    return CheckedFile(path, f"sha256 {sha256}", f"sha256 {sha256_file(path)}" if path.is_file() else MISSING)


def check_md5(path: Path, md5: str) -> CheckedFile:
    """Hashes a file again, as DVC does, and compares."""
    return CheckedFile(path, f"md5 {md5}", f"md5 {md5_file(path)}" if path.is_file() else MISSING)


def md5_file(path: Path) -> str:
    """Returns the MD5 of a file: DVC's name for it. Notices decay, not malice."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
