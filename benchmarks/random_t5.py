"""Text encoders of a published size with random weights, for timing: nothing is downloaded."""

from pathlib import Path

import torch
from transformers import T5Config, T5EncoderModel

from benchmarks.scenes_data import build_tokenizer

SIZES = {"t5-small": (512, 64, 2048, 6, 8), "t5-base": (768, 64, 3072, 12, 12), "t5-large": (1024, 64, 4096, 24, 16)}
"""Width, width of a head, width inside, layers, heads (T5: Raffel et al. 2020, section 3.7)."""
VOCABULARY = 32_128


def write_random_t5(folder: Path, name: str) -> None:
    """Writes an encoder as a Hugging Face folder, with the tokenizer of the built-in one."""
    build_tokenizer(folder)
    d_model, d_kv, d_ff, num_layers, num_heads = SIZES[name]
    config = T5Config(
        d_model=d_model,
        d_kv=d_kv,
        d_ff=d_ff,
        num_layers=num_layers,
        num_heads=num_heads,
        vocab_size=VOCABULARY,
    )
    with torch.random.fork_rng(devices=[]):
        T5EncoderModel(config).save_pretrained(folder)
