"""What every feature network is: pictures in, vectors out, and a name for the numbers that come of it.

Knows no metric and no file.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from minimagen.shapes import Images, Vectors

BATCH_SIZE = 64


@dataclass(frozen=True, slots=True)
class FeatureIdentity:
    """Which network made some vectors; two numbers are comparable if their identities are equal."""

    name: str
    """As in params.yaml, or "fixed"."""
    revision: str | None
    """Commit of a hub model."""
    sha256: str
    """One hash of all that the vectors depend on."""
    is_comparable: bool
    """Whether other projects use this network, so that their numbers may stand beside ours."""


class FeatureNetwork(ABC):
    """Turns pictures into vectors, batch by batch; a picture's vector does not depend on its neighbours."""

    has_captions = False
    """Whether it understands captions as well."""

    def __init__(self, identity: FeatureIdentity) -> None:
        self.identity = identity

    @torch.inference_mode()
    def of_pictures(self, pictures: Images) -> Vectors:
        """Returns a vector for each picture (values in [-1, 1], any size), float32 on the CPU."""
        return torch.cat([self._embed(part).float().cpu() for part in pictures.split(BATCH_SIZE)])

    def of_captions(self, captions: Sequence[str]) -> Vectors:
        """Returns a vector for each caption, to be compared with those of pictures by their cosine.

        Raises:
            ValueError: the network knows pictures alone (``has_captions``).
        """
        raise ValueError(f"{self.identity.name} knows no captions, asked about {len(captions)} of them")

    @abstractmethod
    def _embed(self, pictures: Images) -> Vectors:
        """Returns the vectors of one batch."""


def resize_pictures(pictures: Images, size: int) -> Images:
    """Returns pictures of ``size`` px, resampled bicubically with antialiasing and held to [-1, 1]."""
    if pictures.shape[-1] == size:
        return pictures
    resized = functional.interpolate(pictures, (size, size), mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp(-1.0, 1.0)
