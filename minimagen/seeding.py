"""Random streams named by what they are for, so that a result depends on no batch split and no restart.

Does not know what the numbers are used for. Never touches torch's global generator.
"""

import hashlib
from collections.abc import Sequence

import torch

from minimagen.shapes import Images


def derive_seed(*parts: int | str) -> int:
    """Returns a 63-bit seed that is a pure function of ``parts``, equal on every machine and Python."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """Returns a CPU generator seeded by ``derive_seed(*parts)``."""
    return torch.Generator(device="cpu").manual_seed(derive_seed(*parts))


def sample_noise(seed: int, sample_ids: Sequence[int | str], shape: tuple[int, int, int], *, stream: str) -> Images:
    """Draws standard normal noise for each sample from its own stream ``(seed, stream, sample id)``.

    Args:
        sample_ids: one name per picture; a picture keeps its noise whatever batch it is drawn in.
        shape: channels, height and width.
        stream: what the noise is for ("init", "step 12", ...), so that two uses never coincide.

    Returns:
        A CPU tensor of shape (len(sample_ids), *shape).
    """
    draws = [torch.randn(shape, generator=generator(seed, stream, sample_id)) for sample_id in sample_ids]
    return torch.stack(draws)


def epoch_permutation(seed: int, epoch: int, num_samples: int) -> torch.Tensor:
    """Returns the order of one epoch, a pure function of its arguments: int64 of shape (num_samples,)."""
    return torch.randperm(num_samples, generator=generator(seed, "epoch", epoch))


def batch_indices(seed: int, step: int, batch_size: int, num_samples: int) -> torch.Tensor:
    """Returns which samples optimiser step ``step`` (from 0) sees, epochs laid end to end without a remainder.

    Returns:
        int64 of shape (batch_size,). A batch that crosses the end of an epoch goes on in the next one, so every
        sample is seen once per epoch and a data set smaller than a batch still works.
    """
    position = step * batch_size
    indices: list[torch.Tensor] = []
    missing = batch_size
    while missing > 0:
        epoch, offset = divmod(position, num_samples)
        chunk = epoch_permutation(seed, epoch, num_samples)[offset : offset + missing]
        indices.append(chunk)
        position += len(chunk)
        missing -= len(chunk)
    return torch.cat(indices)
