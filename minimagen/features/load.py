"""From the parameter ``evaluate.features`` to a network that is ready.

The built-in network needs no file; transformers is imported only for a network that is one of its own.
"""

import torch

from minimagen.config import ConfigError
from minimagen.features.files import KEY, locate_features
from minimagen.features.fixed import FixedFeatures
from minimagen.features.inception import InceptionFeatures
from minimagen.features.network import FeatureNetwork


def load_features(name: str | None, device: torch.device) -> FeatureNetwork:
    """Loads a feature network.

    Args:
        name: a folder or a hub name (``facebook/dinov2-small``, ``openai/clip-vit-large-patch14@<revision>``); None is
            the built-in network.

    Raises:
        ConfigError: there is no such network, or it is of a kind that is not known.
    """
    if name is None:
        return FixedFeatures()
    files = locate_features(name)
    if files.kind in (None, "inception_v3"):
        return InceptionFeatures(files, device)
    from minimagen.features.transformer import ClipFeatures, Dinov2Features

    if files.kind == "clip":
        return ClipFeatures(files, device)
    if files.kind == "dinov2":
        return Dinov2Features(files, device)
    raise ConfigError(f"{KEY} {name}: its config.json says {files.kind!r}, expected clip, dinov2 or inception_v3")
