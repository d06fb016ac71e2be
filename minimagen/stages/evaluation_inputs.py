"""What stage evaluate reads: parameters, the cascade, both splits at the cascade's size; checked to belong together.

Measures nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from minimagen.config import ConfigError, Params, UNetSection
from minimagen.datasets.captioned import CaptionedImages, Split
from minimagen.datasets.transforms import Crop, to_float
from minimagen.errors import UserError
from minimagen.features.network import FeatureNetwork
from minimagen.pipeline import Cascade, load_cascade_parts
from minimagen.saved_model import ModelRecord
from minimagen.shapes import Images, PixelImages
from minimagen.tracking.location import project_root

CURATED, EMBEDDINGS = Path("data/curated"), Path("data/embeddings")
MODELS, CHECKPOINTS = Path("data/models"), Path("data/checkpoints")
PICTURES = Path("runs/cache/pictures")
CHUNK_IMAGES = 256
TEMPORARY = ".tmp-"
SECTIONS = ("sources", "cascade", "ingest", "unets", "sampling", "evaluate")
"""The parts of params.yaml that this stage reads."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that is measured, and where drawn pictures are kept meanwhile."""

    params: Params
    root: Path
    device: torch.device
    cascade: Cascade
    held_out: CaptionedImages
    """Validation pictures of the last stage's size."""
    training: CaptionedImages
    """Training pictures of the last stage's size."""
    features: FeatureNetwork
    folder: Path
    report: Callable[[int], None]
    """Is told the size of each batch of pictures that is ready and kept; may end the evaluation."""

    def held_out_at(self, unet: str) -> CaptionedImages:
        """Opens the validation pictures as one U-Net sees them."""
        if unet == self.params.cascade[-1]:
            return self.held_out
        section = self.params.unets[unet]
        return open_split(self.root, "validation", section.image_size, section.training.crop)


def check_listed(root: Path, cascade: Sequence[str]) -> None:
    """Makes sure that no U-Net of an earlier cascade stands beside those of this one.

    Raises:
        ConfigError: one does; the message names its folder.
    """
    for parent in (MODELS, CHECKPOINTS):
        folders = sorted(path for path in (root / parent).glob("*") if path.is_dir() and TEMPORARY not in path.name)
        for folder in folders:
            if folder.name not in cascade:
                raise ConfigError(
                    f"{parent / folder.name}: {folder.name!r} is not listed in params.yaml: cascade "
                    f"({', '.join(cascade)}); `minimagen experiment apply` sets such folders aside, or remove it"
                )


def read_sections(params: Params) -> dict[str, object]:
    """Returns the parameters that this stage reads, as plain values."""
    return params.model_dump(mode="json", include=set(SECTIONS))


def load_cascade(params: Params, root: Path, device: torch.device) -> Cascade:
    """Reads the trained U-Nets and makes sure that they are those the parameters describe.

    Raises:
        ValueError: a model is missing or damaged, or was trained with other parameters.
    """
    sampling = {name: params.sampling[name] for name in params.cascade}
    cascade = load_cascade_parts(root / MODELS, sampling, device=device)
    for name, record in cascade.records.items():
        _check_trained_as(record, params.unets[name], name)
    return cascade


def _check_trained_as(record: ModelRecord, section: UNetSection, name: str) -> None:
    for key in ("image_size", "low_res_size", "unet", "diffusion"):
        found, expected = getattr(record, key), getattr(section, key)
        if found != expected:
            raise UserError(
                f"{MODELS / name} was trained with unets.{name}.{key} = {found}, params.yaml says {expected}: "
                f"run `minimagen train {name}`"
            )


def open_split(root: Path, split: Split, size: int, crop: Crop) -> CaptionedImages:
    """Opens one split; a picture that training crops at random is cropped at its center, to be the same each time."""
    fixed: Crop = "center" if crop == "random" else crop
    return CaptionedImages.load(
        root / CURATED, root / EMBEDDINGS, split=split, size=size, crop=fixed, cache=project_root(root) / PICTURES
    )


def check_data(records: Mapping[str, ModelRecord], data_sha256: str) -> None:
    """Makes sure that every U-Net was trained on the data that it is measured on.

    Raises:
        ValueError: one was trained on other data; the message names the model and the data.
    """
    for name, record in records.items():
        if record.data_sha256 != data_sha256:
            raise UserError(
                f"{MODELS / name} was trained on data {record.data_sha256[:12]}, but {CURATED} with {EMBEDDINGS} is "
                f"{data_sha256[:12]}: run `minimagen train {name}`"
            )


def pixels_at(dataset: CaptionedImages, positions: Sequence[int]) -> PixelImages:
    """Returns some pictures of a data set whose crop is not random."""
    return np.stack([dataset.pictures.picture(position) for position in positions])


def image_chunks(dataset: CaptionedImages) -> Iterator[Images]:
    """Yields all pictures of a data set whose crop is not random, in order."""
    for start in range(0, len(dataset), CHUNK_IMAGES):
        yield to_float(pixels_at(dataset, range(start, min(start + CHUNK_IMAGES, len(dataset)))))
