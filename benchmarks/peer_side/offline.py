"""Lets the peers import on a machine without a GPU and without a hub; their own code runs as it was installed.

torchvision comes as a CUDA build only, whose compiled operators do not load beside a CPU build of torch: their names
are defined, nobody calls them. imagen-pytorch asks the hub for the width of T5-base while it is imported: it is told.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers

T5_BASE_WIDTH = 768


def define_torchvision_operators() -> None:
    """Defines what torchvision's compiled part would have defined."""
    if torch.version.cuda is None:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float limit) -> Tensor")


def import_imagen_pytorch() -> None:
    """Imports imagen-pytorch once, with an answer for the question it asks the hub."""
    config, original = transformers.T5Config, transformers.T5Config.from_pretrained
    config.from_pretrained = classmethod(lambda cls, name, **options: cls(d_model=T5_BASE_WIDTH))
    try:
        import imagen_pytorch  # noqa: F401
    finally:
        config.from_pretrained = original


def seed_everything(seed: int) -> None:
    """Seeds torch's global generator, the only one that the peers know."""
    torch.default_generator.manual_seed(seed)
