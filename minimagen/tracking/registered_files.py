"""The files that make a trained cascade, checked before one is registered and after it was fetched. Knows no MLflow."""

from collections.abc import Mapping
from pathlib import Path

import torch

from minimagen.cascade_file import CASCADE_FILE, read_cascade_file
from minimagen.errors import UserError
from minimagen.files import canonical_json, sha256_bytes, sha256_file
from minimagen.pipeline import Cascade


def verified_files(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file that makes a cascade folder, by relative path, once all parts fit each other.

    Raises:
        UserError: a file is missing or changed, a weight is not finite, or parts do not fit each other.
    """
    cascade = Cascade.load(folder)
    cascade.encode(["verified"])
    for stage in cascade.stages:
        network = stage.denoiser.network
        assert isinstance(network, torch.nn.Module)
        broken = [name for name, value in network.state_dict().items() if not torch.isfinite(value).all()]
        if broken:
            raise UserError(f"{folder / 'models' / stage.name}: {broken[0]} is not finite")
    parts = [folder / "models" / name for name in read_cascade_file(folder).sampling] + [folder / "text_encoder"]
    paths = [path for part in parts for path in part.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted([folder / CASCADE_FILE, *paths])}


def content_sha256(files: Mapping[str, str]) -> str:
    """Returns one hash of files given by their own."""
    return sha256_bytes(canonical_json(dict(files)).encode())
