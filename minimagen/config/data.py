"""Parameters of the data: sources, hygiene, groups, text encoder, embeddings. Knows no network."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from minimagen.config.section import Section


class ImageRules(Section):
    """Hygiene of one source's pictures; a picture that breaks a rule is rejected with the rule's name."""

    store_size: int = Field(ge=8, le=4096)
    """Short side of the stored picture in px, aspect ratio kept; smaller pictures are not enlarged."""
    min_side: int = Field(ge=1)
    """Shortest side accepted, px."""
    max_aspect: float = Field(ge=1.0)
    """Longest side divided by shortest side, at most."""
    max_pixels: int = Field(ge=1)
    """Width times height in the file's header, at most: checked before anything is decoded."""
    min_std: float = Field(ge=0.0)
    """A picture counts as a flat placeholder if no channel has this standard deviation (0..255); 0 accepts all."""
    animated: Literal["first_frame", "reject"]
    """What happens to a file of several frames."""
    background: tuple[int, int, int] = (255, 255, 255)
    """RGB colour on which transparency is composited."""
    encoding: Literal["png", "jpeg"]
    """How stored pictures are encoded: png is lossless, jpeg is quality 95 without chroma subsampling."""


class CaptionRules(Section):
    """Hygiene of one source's captions."""

    min_chars: int = Field(ge=0)
    """Characters of the cleaned caption, at least."""
    max_chars: int = Field(ge=1)
    """Characters of the cleaned caption, at most."""


class ScenesConfig(Section):
    """Drawn emoji scenes: pictures whose true content is known."""

    num_scenes: int = Field(ge=1)
    """Pictures drawn, dealt evenly over the combinations of attributes."""
    seed: int
    """Seed of the generator; a scene is a pure function of (seed, index)."""
    size: int = Field(ge=16, le=256)
    """Side of the drawn picture, px."""
    objects: tuple[str, ...] = ()
    """Names of sprites in the sheet; empty means all of them."""
    backgrounds: tuple[str, ...] = Field(min_length=1)
    """Names of background colours."""
    positions: tuple[str, ...] = ()
    """Where a lone object stands; empty when every scene has two objects."""
    sizes: tuple[str, ...] = Field(min_length=1)
    """Words for the size of a lone object; two objects are always drawn at one size."""
    relations: tuple[str, ...] = ()
    """How the first of two objects stands to the second; empty means one object per scene."""
    held_out_fraction: float = Field(gt=0.0, lt=1.0)
    """Share of the combinations of attributes that no training picture shows."""
    jitter: float = Field(ge=0.0, le=0.2)
    """Largest random displacement of an object, in picture sides."""
    shard_rows: int = Field(ge=1)
    """Pictures per shard."""


class FolderConfig(Section):
    """A user's own pictures with captions."""

    captions_file: Path | None
    """CSV, JSON, JSONL or Parquet file, relative to the folder; null finds metadata.jsonl or metadata.csv."""
    path_column: str
    """Column (or JSON key) that names the picture, relative to the folder."""
    caption_column: str
    """Column (or JSON key) that holds the caption, or a list of captions."""
    license: str
    """Licence of the pictures, as it shall stand in every row."""
    lang: str
    """Language of the captions (BCP 47)."""
    shard_rows: int = Field(ge=1)
    """Pictures per shard."""
    images: ImageRules
    captions: CaptionRules


class CurateConfig(Section):
    """How rows become groups, and groups training and validation data."""

    val_fraction: float = Field(gt=0.0, lt=1.0)
    """Share of groups held out, where the source does not hold out combinations itself."""
    salt: str
    """Changes which groups are held out."""
    max_hamming: int = Field(ge=0, le=16)
    """Perceptual hashes at most this many bits apart may be near-duplicates ..."""
    max_lab_distance: float = Field(ge=0.0)
    """... if their mean colours are also at most this far apart in CIELAB (0..100 scale)."""


class TextEncoderConfig(Section):
    """Which T5 encoder reads the captions."""

    name: str = Field(min_length=1)
    """`tiny`, a Hugging Face name (t5-base, google/t5-v1_1-xl, ...) or a local folder."""
    revision: str | None
    """Commit, tag or branch of a hub model; null is its main branch."""
    max_length: int = Field(ge=1, le=512)
    """Tokens per caption at most, the end token included; longer captions are cut."""


class EmbedConfig(Section):
    """How captions are encoded."""

    batch_tokens: int = Field(ge=16)
    """Padded tokens per forward pass, at most."""
    precision: Literal["fp32", "bf16"]
    """Arithmetic of the encoder; fp16 overflows inside T5 and is not offered."""
