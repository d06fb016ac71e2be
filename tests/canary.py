"""A key that is nobody's, and the search for it in everything that was written. Imports no pytest."""

import base64
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import psutil

CANARY = 'eyJ+cana/ry="fzlIq0uXr0Tt3mJk9W"\\Q=='
"""Forty characters, of which no encoding leaves all as they are."""


def encodings(secret: str) -> dict[str, str]:
    """Returns what the secret looks like in text, in eight encodings; of Base64 what all alignments have in common."""
    raw = secret.encode()
    aligned = {f"base64, {n}": base64.b64encode(b"\0" * n + raw)[4:-4].decode() for n in range(3)}
    return {
        "plain": secret,
        "quoted": quote(secret, safe=""),
        "hexadecimal": raw.hex(),
        "JSON": json.dumps(secret)[1:-1],
        "reversed": secret[::-1],
        **aligned,
    }


def places_of(folder: Path, secret: str = CANARY) -> set[str]:
    """Returns every file below a folder that holds a secret, in any encoding; of Git it is the contents of objects."""
    forms = [form.encode() for form in encodings(secret).values()]
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    found = {name for name, path in files.items() if not path.is_symlink() and _holds(path.read_bytes(), forms)}
    if (folder / ".git").is_dir():
        command = ["git", "cat-file", "--batch-all-objects", "--batch"]
        objects = subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout
        found |= {"an object of Git"} if _holds(objects, forms) else set()
    return found


def tellers_of(processes: Iterable[psutil.Process], secret: str = CANARY) -> list[str]:
    """Returns the command lines that hold a secret: every user of a machine may read them."""
    forms = [form.encode() for form in encodings(secret).values()]
    lines = [" ".join(process.cmdline()) for process in processes if process.is_running()]
    return [line for line in lines if _holds(line.encode(), forms)]


def _holds(content: bytes, forms: list[bytes]) -> bool:
    return any(form in content for form in forms)
