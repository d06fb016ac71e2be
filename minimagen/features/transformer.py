"""CLIP (Radford et al. 2021) and DINOv2 (Oquab et al. 2023) as feature networks, through transformers.

Weights are read from safetensors on the disk alone; code that comes with a model is never run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, CLIPModel, Dinov2Model, PreTrainedModel

from minimagen.config import ConfigError
from minimagen.features.files import KEY, PREPROCESSOR_FILE, FeatureFiles, read_json
from minimagen.features.network import BATCH_SIZE, FeatureIdentity, FeatureNetwork, resize_pictures
from minimagen.shapes import Images, Vectors


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a network wants done to a picture first."""

    resize_px: int
    crop_px: int
    mean: tuple[float, ...]
    """Of values from 0 to 1, by channel."""
    std: tuple[float, ...]

    def apply(self, pictures: Images) -> Images:
        """Resizes square pictures, cuts out their middle and standardises their values."""
        resized = resize_pictures(pictures, self.resize_px)
        start = (self.resize_px - self.crop_px) // 2
        middle = resized[:, :, start : start + self.crop_px, start : start + self.crop_px]
        mean, std = (torch.tensor(values, device=middle.device)[:, None, None] for values in (self.mean, self.std))
        return ((middle + 1.0) / 2.0 - mean) / std


def read_preparation(files: FeatureFiles) -> Preparation:
    """Reads preprocessor_config.json.

    Raises:
        ConfigError: it is missing or does not say what is needed.
    """
    path = files.folder / PREPROCESSOR_FILE
    document = read_json(path)
    try:
        size = _side(document["size"])
        crop = _side(document["crop_size"]) if document.get("do_center_crop", True) else size
        return Preparation(size, crop, tuple(document["image_mean"]), tuple(document["image_std"]))
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{KEY}: {path}: does not say how pictures are prepared: {error!r}") from error


def _side(size: Any) -> int:
    return int(size if isinstance(size, int) else size.get("shortest_edge", size.get("height")))


class Dinov2Features(FeatureNetwork):
    """The class token of a DINOv2, as in the Frechet distance of Stein et al. 2023."""

    def __init__(self, files: FeatureFiles, device: torch.device) -> None:
        super().__init__(identity_of(files))
        self._preparation, self._device = read_preparation(files), device
        self._model = _load(Dinov2Model, files).to(device)  # pyright: ignore[reportArgumentType]

    def _embed(self, pictures: Images) -> Vectors:
        return self._model(pixel_values=self._preparation.apply(pictures.to(self._device))).pooler_output


class ClipFeatures(FeatureNetwork):
    """Both towers of a CLIP: the vectors of pictures and captions lie in one space."""

    has_captions = True

    def __init__(self, files: FeatureFiles, device: torch.device) -> None:
        super().__init__(identity_of(files))
        self._preparation, self._device = read_preparation(files), device
        self._tokenizer = AutoTokenizer.from_pretrained(files.folder, local_files_only=True, trust_remote_code=False)
        self._model = _load(CLIPModel, files).to(device)  # pyright: ignore[reportArgumentType]

    def _embed(self, pictures: Images) -> Vectors:
        seen = self._model.vision_model(pixel_values=self._preparation.apply(pictures.to(self._device)))
        return self._model.visual_projection(seen.pooler_output)

    @torch.inference_mode()
    def of_captions(self, captions: Sequence[str]) -> Vectors:
        """Returns a vector for each caption; what is longer than the network reads is cut."""
        found: list[Tensor] = []
        for start in range(0, len(captions), BATCH_SIZE):
            tokens = self._tokenizer(
                list(captions[start : start + BATCH_SIZE]),
                padding=True,
                truncation=True,
                max_length=self._model.config.text_config.max_position_embeddings,
                return_tensors="pt",
            ).to(self._device)
            read = self._model.text_model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
            found.append(self._model.text_projection(read.pooler_output).float().cpu())
        return torch.cat(found)


def identity_of(files: FeatureFiles) -> FeatureIdentity:
    """Returns the identity of a network whose weights others use as well."""
    return FeatureIdentity(files.name, files.revision, files.sha256, is_comparable=True)


def _load(kind: type[PreTrainedModel], files: FeatureFiles) -> Any:
    model, info = kind.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
        files.folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    wrong = [*info["missing_keys"], *info["mismatched_keys"]]
    if wrong:
        raise ConfigError(f"{KEY} {files.name}: weights are missing or of the wrong shape: {wrong[:3]}")
    return model.eval().requires_grad_(False)
