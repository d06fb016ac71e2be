"""The project's own training of one U-Net, opened on pictures and captions in memory: what `minimagen train` runs
between two reports, without its files.

Knows no benchmark. Randomness comes from the section's seed, as there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from minimagen.config import Params, UNetSection, load_params
from minimagen.datasets.captioned import CaptionedImages, Captions
from minimagen.datasets.pictures import pictures_in_memory
from minimagen.heap import keep_freed_blocks
from minimagen.saved_model import EncoderRecord, ModelRecord, SavedModel
from minimagen.shapes import PixelImage
from minimagen.source_closure import PACKAGE_FOLDER
from minimagen.stages import training_course
from minimagen.stages.launch import check_machine, open_ranks
from minimagen.stages.training_course import Course

CHECKOUT = PACKAGE_FOLDER.parent
WORK = CHECKOUT / "runs" / "benchmarks"
"""Where benchmarks keep what they can take up again; ignored by Git."""


@dataclass(frozen=True, slots=True)
class Captioned:
    """Pictures with their encoded captions, as a benchmark makes them."""

    captions: Sequence[str]
    pixels: Sequence[PixelImage]
    tokens: Sequence[np.ndarray]
    """Of each caption, of shape (tokens, text_dim)."""
    extras: Sequence[str] = ()

    def dataset(self) -> CaptionedImages:
        """Returns them as training reads them."""
        return CaptionedImages(
            keys=[f"{number:07d}" for number in range(len(self.captions))],
            captions=list(self.captions),
            extras=list(self.extras),
            text_dim=self.tokens[0].shape[1],
            data_sha256="",
            crop="center",
            crop_size=None,
            pictures=pictures_in_memory(self.pixels),
            embeds=Captions.of(self.tokens),
        )


def demo_params() -> Params:
    """Returns the demo's parameters, which every benchmark starts from."""
    return load_params(CHECKOUT / "experiments" / "demo.yaml")


def changed(section: UNetSection, **changes: object) -> UNetSection:
    """Returns a section with other values under dotted keys, checked as params.yaml is.

    Args:
        changes: values by key, two underscores standing for the dot: ``training__batch_size=8``.
    """
    document = section.model_dump(mode="json")
    for key, value in changes.items():
        *path, last = key.split("__")
        part = document
        for name in path:
            part = part[name]
        if last not in part:
            raise KeyError(f"{'.'.join((*path, last))} is no parameter of a U-Net")
        part[last] = value
    return type(section).model_validate(document, strict=False)


def open_course(
    section: UNetSection, training: CaptionedImages, *, name: str, num_steps: int, device: torch.device
) -> Course:
    """Builds network, optimiser and averages of one U-Net; ``steps()`` of what is returned trains it.

    Raises:
        ConfigError: the machine cannot compute what the section asks for.
    """
    keep_freed_blocks()
    check_machine(name, section.training, device)
    ranks = open_ranks(section.training, device)
    record = ModelRecord(
        name=name,
        image_size=section.image_size,
        low_res_size=section.low_res_size,
        unet=section.unet,
        diffusion=section.diffusion,
        encoder=EncoderRecord(
            name="tiny", revision=None, tokenizer_sha256="", max_length=64, text_dim=training.text_dim
        ),
        num_steps=num_steps,
        data_sha256="",
    )
    return training_course.open_course(record, section, training, ranks)


def trained_model(course: Course) -> SavedModel:
    """Returns the averages of a training as sampling loads them."""
    return SavedModel(course.record, {name: tensor.cpu() for name, tensor in course.state.ema.tensors.items()})
