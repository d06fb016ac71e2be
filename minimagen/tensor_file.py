"""Tensors as the bytes of a safetensors file: always sound numbers, and equal bytes for equal tensors.

Serialised in memory, so that a full disk is met by our own writer and told as what it is. Writes nothing.
"""

from collections.abc import Mapping

from safetensors.torch import save
from torch import Tensor

from minimagen.errors import UserError
from minimagen.soundness import is_sound


class NotFiniteError(UserError):
    """A tensor holds NaN, infinity, or a number on its way there; the message names it."""


def tensor_bytes(tensors: Mapping[str, Tensor], what: str) -> bytes:
    """Returns tensors in the safetensors format, whatever their layout or device.

    Args:
        what: what they are, for the error ("weights of step 12").

    Raises:
        NotFiniteError: a tensor holds NaN, infinity, or a number on its way there (``soundness``).
    """
    for name, tensor in tensors.items():
        if tensor.numel() and not is_sound(tensor.detach().abs().max().item()):
            raise NotFiniteError(f"{what}: {name} is not finite, nothing is written")
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
