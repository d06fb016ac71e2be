"""The feature network that needs no download: three convolutions with fixed random weights, read at three scales.

It sees colours, edges and where they are, and knows nothing of what they mean. Random convolutions keep distances well
enough to order checkpoints of one project; numbers of other projects mean something else.
"""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from minimagen.features.network import FeatureIdentity, FeatureNetwork, resize_pictures
from minimagen.files import sha256_bytes
from minimagen.seeding import generator
from minimagen.shapes import Images, Vectors

NAME = "fixed"
SIZE_PX = 32
CHANNELS = (3, 32, 64, 96)
NUM_CELLS = 2
"""Each scale is read in so many rows and columns of cells."""
NUM_FEATURES = 32
"""So few that the covariance of a hundred pictures has full rank."""
SCALE = 3.0
"""Makes the features of pictures vary by about 1."""


class FixedFeatures(FeatureNetwork):
    """The same network on every machine: its weights are drawn from a seed."""

    def __init__(self) -> None:
        self._kernels = [
            _normal(f"kernel {level}", (out, within, 3, 3)) * (2.0 / (9 * within)) ** 0.5
            for level, (within, out) in enumerate(pairwise(CHANNELS))
        ]
        num_read = sum(CHANNELS[1:]) * NUM_CELLS**2
        self._projection = _normal("projection", (num_read, NUM_FEATURES)) * (SCALE / num_read**0.5)
        weights = b"".join(tensor.numpy().tobytes() for tensor in (*self._kernels, self._projection))
        super().__init__(FeatureIdentity(NAME, None, sha256_bytes(weights), is_comparable=False))

    def _embed(self, pictures: Images) -> Vectors:
        activations, read = resize_pictures(pictures.cpu(), SIZE_PX), list[Tensor]()
        for kernel in self._kernels:
            activations = functional.relu(functional.conv2d(activations, kernel, padding=1))
            activations = functional.avg_pool2d(activations, 2)
            read.append(functional.adaptive_avg_pool2d(activations, NUM_CELLS).flatten(1))
        return torch.cat(read, dim=1) @ self._projection


def _normal(name: str, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=generator("fixed features", name))
