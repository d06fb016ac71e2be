"""Inception-v3 (Szegedy et al. 2016) as a feature network, from safetensors with the names that torchvision gives.

Weights of 1,008 classes are those of the usual Frechet distance (Heusel et al. 2017), which pool a little otherwise
and take values in [-1, 1]; with 1,000 classes values are standardised by ImageNet's. Pictures are resized as everywhere
here, bicubically with antialiasing.
"""

from functools import partial

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from minimagen.config import ConfigError
from minimagen.features.files import KEY, FeatureFiles
from minimagen.features.inception_blocks import (
    BlockA,
    BlockB,
    BlockC,
    BlockD,
    BlockE,
    Convolution,
    Pool,
    halve,
    max_pool,
    mean_pool,
)
from minimagen.features.network import FeatureIdentity, FeatureNetwork, resize_pictures
from minimagen.shapes import FeatureMap, Images, Vectors

SIZE_PX = 299
NUM_FEATURES = 2048
NUM_FID_CLASSES = 1008
WEIGHTS_FILE = "model.safetensors"
LAST = "fc.weight"
UNUSED = ("fc.", "AuxLogits.")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Inception(nn.Sequential):
    """Pictures of 299 px to 2,048 features.

    Args:
        is_fid: as the weights of the usual Frechet distance want it.
    """

    def __init__(self, *, is_fid: bool) -> None:
        super().__init__()
        pool = partial(mean_pool, counts_border=not is_fid)
        parts: dict[str, nn.Module] = {
            "Conv2d_1a_3x3": Convolution(3, 32, 3, stride=2),
            "Conv2d_2a_3x3": Convolution(32, 32, 3),
            "Conv2d_2b_3x3": Convolution(32, 64, 3, padding=1),
            "halve_1": _Pooling(halve),
            "Conv2d_3b_1x1": Convolution(64, 80, 1),
            "Conv2d_4a_3x3": Convolution(80, 192, 3),
            "halve_2": _Pooling(halve),
            "Mixed_5b": BlockA(192, 32, pool),
            "Mixed_5c": BlockA(256, 64, pool),
            "Mixed_5d": BlockA(288, 64, pool),
            "Mixed_6a": BlockB(288),
            "Mixed_6b": BlockC(768, 128, pool),
            "Mixed_6c": BlockC(768, 160, pool),
            "Mixed_6d": BlockC(768, 160, pool),
            "Mixed_6e": BlockC(768, 192, pool),
            "Mixed_7a": BlockD(768),
            "Mixed_7b": BlockE(1280, pool),
            "Mixed_7c": BlockE(2048, max_pool if is_fid else pool),
        }
        for name, part in parts.items():
            self.add_module(name, part)


class _Pooling(nn.Module):
    """A pooling as a module without weights."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool

    def forward(self, x: FeatureMap) -> FeatureMap:
        return self._pool(x)


class InceptionFeatures(FeatureNetwork):
    """The mean of the last feature map over the picture."""

    def __init__(self, files: FeatureFiles, device: torch.device) -> None:
        super().__init__(FeatureIdentity(files.name, files.revision, files.sha256, is_comparable=True))
        try:
            weights = load_file(files.folder / WEIGHTS_FILE)
        except (OSError, SafetensorError) as error:
            raise ConfigError(f"{KEY} {files.name}: {files.folder / WEIGHTS_FILE}: {error}") from error
        self._is_fid = LAST in weights and len(weights[LAST]) == NUM_FID_CLASSES
        network = Inception(is_fid=self._is_fid)
        used = {name: tensor for name, tensor in weights.items() if not name.startswith(UNUSED)}
        missing = [name for name in network.state_dict() if name not in used and "num_batches" not in name]
        if missing:
            raise ConfigError(
                f"{KEY} {files.name}: not an Inception-v3 with torchvision's names, and no config.json says what else "
                f"it is: no {missing[0]}"
            )
        network.load_state_dict(used, strict=False)
        self._network, self._device = network.eval().requires_grad_(False).to(device), device

    def _embed(self, pictures: Images) -> Vectors:
        values = resize_pictures(pictures.to(self._device), SIZE_PX)
        if not self._is_fid:
            mean, std = (torch.tensor(of, device=self._device)[:, None, None] for of in (IMAGENET_MEAN, IMAGENET_STD))
            values = ((values + 1.0) / 2.0 - mean) / std
        return self._network(values).mean(dim=(2, 3))
