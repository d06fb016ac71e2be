"""Captions to token vectors: a frozen T5 encoder on one device.

A caption's vectors do not depend on its neighbours in a batch, beyond rounding. Does not know where the encoder's files
come from, nor what the vectors are stored in. Imagen (Saharia et al. 2022), section 2.1; T5: Raffel et al. 2020.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from transformers import AutoTokenizer, T5EncoderModel, TokenizersBackend
from transformers.utils import logging as transformers_logging

from minimagen.config import ConfigError
from minimagen.errors import UserError
from minimagen.text.locate import EncoderFiles, locate, open_stage
from minimagen.text.names import TINY

MAX_TOLD_CHARS = 300
_ONE_AT_A_TIME = threading.Lock()


class TextEncoder:
    """A T5 encoder with its tokenizer, ready to encode, for several threads."""

    def __init__(self, files: EncoderFiles, *, device: str) -> None:
        """Loads weights as fp32 and the tokenizer, from the disk alone.

        Raises:
            ValueError: a weight is missing from the files.
        """
        self.files = files
        self.device = torch.device(device)
        self._tokenizer = _load_tokenizer(files.folder)
        self._tokenizing = threading.Lock()  # the length at which it cuts is a state of the tokenizer
        self._model = _load_model(files.folder)
        self._model.to(device=self.device)  # pyright: ignore[reportCallIssue, reportArgumentType]

    @classmethod
    def load(cls, name_or_folder: str, revision: str | None, *, device: str) -> "TextEncoder":
        """Loads a hub model by name, fetching what the cache lacks, or a local folder.

        Raises:
            ConfigError: nothing of that name, or the hub cannot be reached.
        """
        if name_or_folder == TINY:
            raise ConfigError("text_encoder tiny is built by stage text-encoder: load its folder")
        return cls(locate(name_or_folder, revision), device=device)

    @classmethod
    def from_stage(cls, folder: Path, *, device: str) -> "TextEncoder":
        """Loads the encoder that stage text-encoder recorded in ``folder``, once every hash is verified.

        Raises:
            ValueError: a file is missing or differs from what was recorded.
        """
        return cls(open_stage(folder), device=device)

    @property
    def text_dim(self) -> int:
        """Width of a token vector."""
        return self.files.text_dim

    @property
    def tokenizer_sha256(self) -> str:
        """One hash of the tokenizer's files."""
        return self.files.tokenizer_sha256

    def count_tokens(self, captions: Sequence[str]) -> list[int]:
        """Returns how many tokens each caption has before it is cut, the end token included."""
        return [len(ids) for ids in self._tokenize(captions, max_length=None)]

    def unknown_shares(self, captions: Sequence[str]) -> list[float]:
        """Returns for each caption the share of its tokens, without the end token, that the encoder does not know."""
        unknown, ids = self._tokenizer.unk_token_id, self._tokenize(captions, max_length=None)
        return [sum(token == unknown for token in one) / max(len(one) - 1, 1) for one in ids]

    def encode(
        self, captions: Sequence[str], *, max_length: int, batch_tokens: int, precision: Literal["fp32", "bf16"]
    ) -> list[np.ndarray]:
        """Returns each caption's token vectors, float32 of shape (tokens, text_dim): the end token, but no padding.

        A caption that occurs twice is encoded once, and both results are one array.

        Args:
            max_length: tokens per caption at most, the end token included; the rest is cut.
            batch_tokens: padded tokens per forward pass at most; a longer caption goes alone.
            precision: bf16 is autocast over fp32 weights; fp16 overflows inside T5 and is not offered.

        Raises:
            ValueError: a value is not finite; the message names the caption.
        """
        unique = list(dict.fromkeys(captions))
        token_ids = self._tokenize(unique, max_length)
        encoded: dict[str, np.ndarray] = {}
        for batch in _batches([len(ids) for ids in token_ids], batch_tokens):
            vectors = self._forward([token_ids[index] for index in batch], precision)
            encoded |= zip((unique[index] for index in batch), vectors, strict=True)
        for caption, vectors in encoded.items():
            if not np.isfinite(vectors).all():
                raise UserError(f"text encoder {self.files.name} in {precision} is not finite on caption {caption!r}")
        return [encoded[caption] for caption in captions]

    def _tokenize(self, captions: Sequence[str], max_length: int | None) -> list[list[int]]:
        if not captions:
            return []
        with self._tokenizing:
            return self._tokenizer(list(captions), truncation=max_length is not None, max_length=max_length).input_ids

    @torch.inference_mode()
    def _forward(self, token_ids: Sequence[Sequence[int]], precision: Literal["fp32", "bf16"]) -> list[np.ndarray]:
        lengths = [len(ids) for ids in token_ids]
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]  # (batch, tokens)
        padded = torch.zeros(mask.shape, dtype=torch.long)
        padded[mask] = torch.tensor([token for ids in token_ids for token in ids])
        with torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16"):
            output = self._model(input_ids=padded.to(self.device), attention_mask=mask.to(self.device))
        vectors = output.last_hidden_state.float().cpu().numpy()
        return [vectors[row, :length].copy() for row, length in enumerate(lengths)]


def _batches(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Yields indices, longest first, so that padding is small and memory runs out at once or never."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if batch and lengths[batch[0]] * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _load_tokenizer(folder: Path) -> TokenizersBackend:
    with _loading(folder):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _load_model(folder: Path) -> T5EncoderModel:
    with _loading(folder), _without_progress_bar():
        model, info = T5EncoderModel.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
            folder, dtype=torch.float32, local_files_only=True, weights_only=True, output_loading_info=True
        )
    if info["missing_keys"] or info["mismatched_keys"]:
        wrong = [*info["missing_keys"], *info["mismatched_keys"]]
        raise UserError(f"{folder}: weights are missing or of the wrong shape: {wrong[:3]}")
    return model.eval().requires_grad_(False)


@contextmanager
def _loading(folder: Path) -> Iterator[None]:
    """One load at a time, for transformers changes torch while it loads: two at once lose weights and leave it changed.

    What libraries say of files that are none of theirs is told in a line; tokenizers raises nothing but Exception.
    """
    try:
        with _ONE_AT_A_TIME:
            yield
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0][:MAX_TOLD_CHARS]
        raise UserError(f"{folder}: not an encoder: {type(error).__name__}: {first_line}") from error


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    was_enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            transformers_logging.enable_progress_bar()
