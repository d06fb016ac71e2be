"""The device of this machine: a fact of the environment, never of params.yaml."""

import os

import torch

from minimagen.config import ConfigError


def device_from_environment() -> str:
    """Returns MINIMAGEN_DEVICE, or the GPU where there is one.

    Raises:
        ConfigError: it is neither cpu nor cuda, or there is no GPU.
    """
    device = os.environ.get("MINIMAGEN_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"environment: MINIMAGEN_DEVICE is {device!r}, expected cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("environment: MINIMAGEN_DEVICE is cuda, but torch finds no GPU")
    return device
