"""A trained U-Net on disk: averaged weights and what has to be known to build the network around them.

    data/models/<unet>/
        model.safetensors    averaged weights, fp32
        config.json          ModelRecord
        MANIFEST.json        SHA-256 of each file, hash of the training data

A pure function of parameters and data: no clock, run or speed is in it. Builds no network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import ValidationError
from torch import Tensor

from minimagen.config import DiffusionConfig, Section, UNetConfig
from minimagen.errors import UserError, not_finished
from minimagen.sealed import MANIFEST, SealError, read_sealed, write_sealed
from minimagen.tensor_file import read_tensors, tensor_bytes

FORMAT_VERSION = 1
WEIGHTS_FILE, RECORD_FILE = "model.safetensors", "config.json"


class EncoderRecord(Section):
    """The text encoder whose embeddings a network was trained on; another one does not fit."""

    name: str
    revision: str | None
    tokenizer_sha256: str
    max_length: int
    """Tokens per caption at most."""
    text_dim: int
    """Width of a token's embedding."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic in which the embeddings were computed."""
    identity_sha256: str | None = None
    """One hash of all the encoder's files; None in records from before it was kept."""


class ModelRecord(Section):
    """One trained stage of a cascade."""

    name: str
    image_size: int
    """Side of its pictures, px."""
    low_res_size: int | None
    """Side of the pictures it starts from, px; None for a base U-Net."""
    unet: UNetConfig
    diffusion: DiffusionConfig
    encoder: EncoderRecord
    num_steps: int
    """Optimiser steps behind the weights."""
    data_sha256: str
    """Hash of the pictures and captions it was trained on."""

    @property
    def has_low_res(self) -> bool:
        """Whether it is a super-resolution stage."""
        return self.low_res_size is not None


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A verified model folder."""

    record: ModelRecord
    tensors: dict[str, Tensor]
    """Averaged weights by parameter name, fp32, on the CPU."""


def write_model(folder: Path, record: ModelRecord, tensors: Mapping[str, Tensor]) -> None:
    """Writes a model folder, replacing an older one.

    Raises:
        NotFiniteError: a tensor holds NaN or infinity.
        OSError: the disk refused.
    """
    files = [
        (WEIGHTS_FILE, tensor_bytes(tensors, str(folder))),
        (RECORD_FILE, (record.model_dump_json(indent=2) + "\n").encode()),
    ]
    write_sealed(folder, files, {"format_version": FORMAT_VERSION, "data_sha256": record.data_sha256})


def read_model(folder: Path) -> SavedModel:
    """Checks and reads a model folder.

    Raises:
        MissingFileError: there is no such folder.
        SealError: a file is missing or changed, or the folder is of another format version.
        UserError: the weights are no file of tensors, or not fp32.
    """
    if not folder.is_dir():
        raise not_finished(folder / MANIFEST, f"the training that writes {folder}")
    manifest = read_sealed(folder)
    if manifest.get("format_version") != FORMAT_VERSION:
        raise SealError(
            f"{folder / MANIFEST}: format version {manifest.get('format_version')}, this program reads {FORMAT_VERSION}"
        )
    try:
        record = ModelRecord.model_validate_json((folder / RECORD_FILE).read_bytes())
    except ValidationError as error:
        raise SealError(f"{folder / RECORD_FILE}: not a model record: {error}") from error
    tensors = read_tensors(folder / WEIGHTS_FILE)
    if other := next((name for name, tensor in tensors.items() if tensor.dtype != torch.float32), None):
        raise UserError(f"{folder / WEIGHTS_FILE}: {other} is {tensors[other].dtype}, expected torch.float32")
    return SavedModel(record, tensors)
