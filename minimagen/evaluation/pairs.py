"""Training captions beside their pictures: the real one, the drawn one, and those drawn after fewer epochs; one file.

Comparisons of experiments read it. Knows no model and draws nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from minimagen.errors import UserError
from minimagen.files import write_atomic
from minimagen.shapes import PixelImages

REAL, DRAWN = "real", "drawn"
_RECORD = "pairs"


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pictures of some captions under labels; all labels have a picture for each caption, of one size."""

    captions: tuple[str, ...]
    pictures: Mapping[str, PixelImages]
    """``REAL``, ``DRAWN`` and, where epochs were kept, "after 100 epochs"."""


def write_pairs(path: Path, pairs: Pairs) -> None:
    """Writes pairs as one safetensors file, atomically; equal pairs give equal bytes."""
    arrays = {label: np.ascontiguousarray(pictures) for label, pictures in pairs.pictures.items()}
    record = json.dumps({"captions": pairs.captions, "labels": list(arrays)})
    write_atomic(path, save(arrays, metadata={_RECORD: record}))  # one entry: safetensors shuffles several


def read_pairs(path: Path) -> Pairs:
    """Reads what ``write_pairs`` wrote.

    Raises:
        UserError: the file is damaged or holds something else.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            record = json.loads((file.metadata() or {})[_RECORD])
            return Pairs(tuple(record["captions"]), {label: file.get_tensor(label) for label in record["labels"]})
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not pictures of pairs ({error}): `dvc repro -f evaluate` writes them anew") from error
