"""Tensors as the bytes of a safetensors file: always finite, and equal bytes for equal tensors.

Serialised in memory, so that a full disk is met by our own writer and told as what it is. Writes nothing. What is read
may come from anybody: a file that is not of the format is an error that names it, and nothing in it is run.
"""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from minimagen.errors import UserError


class NotFiniteError(UserError):
    """A tensor holds NaN or infinity; the message names it."""


def tensor_bytes(tensors: Mapping[str, Tensor], what: str) -> bytes:
    """Returns tensors in the safetensors format, whatever their layout or device.

    Args:
        what: what they are, for the error ("weights of step 12").

    Raises:
        NotFiniteError: a tensor holds NaN or infinity.
    """
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise NotFiniteError(f"{what}: {name} is not finite, nothing is written")
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file.

    Raises:
        UserError: it is not one.
        OSError: it cannot be read.
    """
    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{path}: not a file of tensors: {error}") from error
