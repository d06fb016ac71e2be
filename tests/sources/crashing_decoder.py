"""Lets Pillow die of one file in every process that a test starts, as a bug of a C library would."""

from pathlib import Path

from minimagen.files import sha256_bytes

_SITE = """
import hashlib, os, signal
from PIL import ImageFile

load = ImageFile.ImageFile.load

def load_or_die(self):
    if self.tile and hashlib.sha256(self.fp.getvalue()).hexdigest() == "{sha256}":
        os.kill(os.getpid(), signal.{signal})
    return load(self)

ImageFile.ImageFile.load = load_or_die
"""


def write_crash(folder: Path, raw: bytes, signal: str) -> str:
    """Writes what Python runs at its start; returns the folder, which has to be on PYTHONPATH."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_SITE.format(sha256=sha256_bytes(raw), signal=signal))
    return str(folder)
