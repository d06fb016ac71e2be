"""Captioned pictures of one split, ready to be drawn in batches: pixels decoded once, captions as embeddings.

Knows no network and no order of training. Refuses embeddings that were made from other shards than it reads.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from minimagen.datasets.pictures import Pictures, decode_picture, pictures_in_file, pictures_in_memory
from minimagen.datasets.transforms import Crop, Windows, crop_square, to_float
from minimagen.embeddings import (
    NULL_FILE,
    EmbeddingManifest,
    check_embeddings,
    embedding_path,
    read_embedding_manifest,
    read_embeddings,
)
from minimagen.errors import UserError
from minimagen.files import canonical_json, sha256_bytes, sha256_file
from minimagen.manifest import Manifest, read_manifest
from minimagen.seeding import derive_seed
from minimagen.shapes import Images, PixelImage, ResizedImages, SampleMask, TextEmbeds, TextMask
from minimagen.shards import iter_images, read_table
from minimagen.soundness import sound_samples

Split = Literal["train", "validation"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures with their captions; every tensor has the same batch size."""

    images: Images
    """Whole pictures."""
    text_embeds: TextEmbeds
    text_mask: TextMask
    keys: tuple[str, ...]
    windows: Windows | None = None
    """What of each picture is trained on; None is all of it."""

    @property
    def soundness(self) -> SampleMask:
        """Which samples hold only numbers that can be computed with."""
        return sound_samples(self.images, self.text_embeds)

    @property
    def trained_size(self) -> int:
        """Side of what is trained on, px."""
        return self.images.shape[-1] if self.windows is None else self.windows.size

    def trained_part(self, images: Images) -> ResizedImages:
        """Returns what is trained on of the batch's pictures, or of others of their size."""
        return images if self.windows is None else self.windows.cut(images)


@dataclass(frozen=True, slots=True)
class Captions:
    """Embeddings by position, left where they are until they are used."""

    tokens: tuple[np.ndarray, ...]
    """float16 of shape (sum of lengths, text_dim), one array per shard."""
    spans: np.ndarray
    """int64 of shape (n, 3): shard, first token, end."""

    @classmethod
    def of(cls, vectors: Sequence[np.ndarray]) -> "Captions":
        """Returns captions whose token vectors, each of shape (tokens, text_dim), are at hand, rounded to float16."""
        ends = np.cumsum([len(one) for one in vectors])
        starts = np.concatenate(([0], ends[:-1]))
        return cls((np.concatenate(vectors).astype(np.float16),), np.stack([np.zeros_like(ends), starts, ends], axis=1))

    def padded(self, positions: Sequence[int]) -> tuple[TextEmbeds, TextMask]:
        """Returns captions in fp32, right-padded with zeros to the longest of them, and which tokens are real."""
        spans = self.spans[list(positions)]
        lengths = spans[:, 2] - spans[:, 1]
        embeds = torch.zeros(len(spans), int(lengths.max()), self.tokens[0].shape[1])
        for row, (shard, start, end) in enumerate(spans):
            embeds[row, : end - start] = torch.from_numpy(self.tokens[shard][start:end].astype(np.float32))
        return embeds, torch.arange(embeds.shape[1]) < torch.from_numpy(lengths)[:, None]


@dataclass(frozen=True, slots=True)
class CaptionedImages:
    """The pictures of one split in the order of their shards."""

    keys: list[str]
    captions: list[str]
    extras: list[str]
    """What only the source knows of a picture, as canonical JSON."""
    text_dim: int
    data_sha256: str
    """One hash of all pictures, captions and embeddings, of both splits."""
    crop: Crop
    crop_size: int | None
    """Side of the random part of each picture that is trained on, px; None is all of it."""
    pictures: Pictures
    embeds: Captions

    @classmethod
    def load(
        cls,
        curated: Path,
        embeddings: Path,
        *,
        split: Split,
        size: int,
        crop: Crop,
        crop_size: int | None = None,
        cache: Path | None,
    ) -> "CaptionedImages":
        """Opens one split of the curated data.

        Args:
            size: short side of the pictures, px; smaller ones are enlarged.
            crop: how a picture becomes square.
            crop_size: side of the random part of each square that is trained on, px; None is all of it.
            cache: folder for decoded pictures, or None to keep them in memory.

        Raises:
            ValueError: a stage has not finished, a file is damaged, embeddings do not belong to their shard (both are
                named), or the split is empty.
        """
        manifest, encoded = read_manifest(curated), read_embedding_manifest(embeddings)
        columns, spans, tokens = [], [], []
        for number, shard in enumerate(manifest.shards):
            path = curated / shard.file
            offsets, shard_tokens = _open_embeddings(embeddings, path, encoded)
            table = read_table(path, ["key", "text", "extra", "split"]).to_pydict()
            rows = [row for row, name in enumerate(table["split"]) if name == split]
            columns += [(table["key"][row], table["text"][row], table["extra"][row]) for row in rows]
            spans += [(number, offsets[row], offsets[row + 1]) for row in rows]
            tokens.append(shard_tokens)
        if not columns:
            raise UserError(f"{curated} has no picture of split {split!r}: counts {manifest.counts}")
        keys, captions, extras = (list(column) for column in zip(*columns, strict=True))
        return cls(
            keys=keys,
            captions=captions,
            extras=extras,
            text_dim=encoded.text_dim,
            data_sha256=data_sha256_of(manifest, encoded),
            crop=crop,
            crop_size=crop_size,
            pictures=_open_pictures(curated, manifest, split, size, crop, cache),
            embeds=Captions(tuple(tokens), np.array(spans, dtype=np.int64)),
        )

    def __len__(self) -> int:
        return len(self.keys)

    def batch(self, indices: Sequence[int] | torch.Tensor, *, seed: int) -> Batch:
        """Returns the pictures at ``indices`` with their captions.

        Args:
            seed: decides random crops and windows, which are a pure function of (seed, key): pass another one in every
                step or epoch, and the same one to see the same crops whatever the batch.
        """
        positions = indices.tolist() if isinstance(indices, torch.Tensor) else list(indices)
        images = self.images(positions, seed=seed)
        embeds, mask = self.embeds.padded(positions)
        keys = tuple(self.keys[position] for position in positions)
        return Batch(images, embeds, mask, keys, self._windows(keys, images.shape[-1], seed))

    def images(self, positions: Sequence[int], *, seed: int) -> Images:
        """Returns the pictures of a batch without their captions."""
        return to_float(np.stack([self._square(position, seed) for position in positions]))

    def _square(self, position: int, seed: int) -> PixelImage:
        offset = derive_seed(seed, "crop", self.keys[position]) / 2**63 if self.crop == "random" else 0.5
        return crop_square(self.pictures.picture(position), self.crop, offset)

    def _windows(self, keys: Sequence[str], size: int, seed: int) -> Windows | None:
        if self.crop_size is None:
            return None
        num_places = size - self.crop_size + 1
        corners = tuple(
            (derive_seed(seed, "window top", key) % num_places, derive_seed(seed, "window left", key) % num_places)
            for key in keys
        )
        return Windows(self.crop_size, corners)


def read_null_embeds(embeddings: Path) -> TextEmbeds:
    """Reads the encoded empty caption: fp32 of shape (1, tokens, text_dim).

    Raises:
        ValueError: it is missing or damaged.
    """
    tokens = read_embeddings(embeddings / NULL_FILE).tokens
    return torch.from_numpy(tokens.astype(np.float32))[None]


def _open_embeddings(
    embeddings: Path, curated_shard: Path, manifest: EmbeddingManifest
) -> tuple[np.ndarray, np.ndarray]:
    path = embedding_path(embeddings, curated_shard)
    shard = read_embeddings(path)
    check_embeddings(shard, curated_shard, path=path)
    listed = {entry.file: entry.sha256 for entry in manifest.shards}
    if listed.get(path.relative_to(embeddings).as_posix()) != sha256_file(path):
        raise UserError(f"{path} is damaged: its SHA-256 is not the one in {embeddings / 'manifest.json'}")
    return shard.offsets, shard.tokens


def _open_pictures(
    curated: Path, manifest: Manifest, split: Split, size: int, crop: Crop, cache: Path | None
) -> Pictures:
    decoded = _decode_split(curated, manifest, split, size, crop)
    if cache is None:
        return pictures_in_memory(decoded)
    made_from = canonical_json([manifest.data_sha256, split, size, crop])
    return pictures_in_file(cache / f"pictures-{sha256_bytes(made_from.encode())[:16]}.u8", decoded)


def _decode_split(curated: Path, manifest: Manifest, split: Split, size: int, crop: Crop) -> Iterator[PixelImage]:
    for shard in manifest.shards:
        path = curated / shard.file
        splits = read_table(path, ["split"])["split"].to_pylist()
        for content, name in zip(iter_images(path), splits, strict=True):
            if name == split:
                yield decode_picture(content, size, crop)


def data_sha256_of(manifest: Manifest, encoded: EmbeddingManifest) -> str:
    """Returns one hash of all pictures, captions and embeddings, of both splits."""
    parts = [manifest.data_sha256, [shard.sha256 for shard in encoded.shards]]
    return sha256_bytes(canonical_json(parts).encode())
