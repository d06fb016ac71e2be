"""What makes two trainings the same: a hash of all that their result depends on, which names the run's folder.

Equal inputs give an equal name, so that running a stopped training again goes on with it; anything changed gives a new
name, so that no training ever starts from the weights of another. Knows no training.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from minimagen.config import UNetSection
from minimagen.files import canonical_json, sha256_bytes, sha256_file
from minimagen.source_closure import PACKAGE_FOLDER, source_closure

NUM_NAME_DIGITS = 16


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """All that the weights at the end depend on, but for the number of threads, which a state records."""

    unet_name: str
    section: UNetSection
    inputs: Mapping[str, str]
    """SHA-256 of each input's manifest."""
    source_sha256: str
    torch_version: str
    device_kind: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal."""
        record = {
            "unet_name": self.unet_name,
            "section": self.section.model_dump(mode="json"),
            "inputs": dict(self.inputs),
            "source_sha256": self.source_sha256,
            "torch_version": self.torch_version,
            "device_kind": self.device_kind,
        }
        return sha256_bytes(canonical_json(record).encode())

    @property
    def folder_name(self) -> str:
        """``<unet>-<first digits of the fingerprint>``."""
        return f"{self.unet_name}-{self.fingerprint[:NUM_NAME_DIGITS]}"


def identify_run(
    unet_name: str, section: UNetSection, *, inputs: Mapping[str, Path], stage: Path, device: torch.device
) -> RunIdentity:
    """Hashes what a training depends on.

    Args:
        inputs: manifest of each input, by a name that stays.
        stage: source file of the stage; the files it imports are hashed with it.

    Raises:
        FileNotFoundError: a manifest is missing.
    """
    return RunIdentity(
        unet_name=unet_name,
        section=section,
        inputs={name: sha256_file(path) for name, path in inputs.items()},
        source_sha256=source_sha256(stage),
        torch_version=torch.__version__,
        device_kind=device.type,
    )


def source_sha256(module: Path) -> str:
    """Returns one hash of the names and contents of a module's source closure."""
    folder = PACKAGE_FOLDER.parent
    files = {path.as_posix(): sha256_file(folder / path) for path in source_closure(module)}
    return sha256_bytes(canonical_json(files).encode())
