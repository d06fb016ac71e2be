"""A cascade folder of two untrained networks and a real tiny encoder, written as the stages write them."""

from pathlib import Path
from typing import Literal

import torch

from minimagen.cascade_file import write_cascade_file
from minimagen.config import DiffusionConfig, SamplingConfig, UNetConfig
from minimagen.models.unet import UNet
from minimagen.saved_model import EncoderRecord, ModelRecord, write_model
from minimagen.text.locate import hash_folder, write_record
from minimagen.text.tiny import build_tiny

CORPUS = ("a large red apple on a blue background", "a small frog in the top left on a pink background")


def small_unet(*, memory_efficient: bool) -> UNetConfig:
    """Returns a network of two levels and few channels."""
    return UNetConfig(
        dim=8,
        dim_mults=(1, 2),
        num_resnet_blocks=(1, 1),
        layer_attns=(False, True),
        layer_cross_attns=(False, True),
        memory_efficient=memory_efficient,
        attn_heads=2,
        attn_head_dim=8,
        num_null_tokens=2,
    )


def small_sampling(aug_level: float | None, *, sampler: str = "dpmpp_2m") -> SamplingConfig:
    """Returns settings of three steps."""
    return SamplingConfig.model_validate(
        {
            "sampler": sampler,
            "num_steps": 3,
            "guidance_scale": 2.0,
            "threshold_percentile": 0.99,
            "threshold_cap": 1.5,
            "aug_level": aug_level,
        }
    )


def write_small_model(folder: Path, name: str, size: int, low_res_size: int | None, encoder: EncoderRecord) -> None:
    """Writes one stage with random weights drawn from a fixed seed."""
    diffusion = DiffusionConfig(
        schedule="cosine",
        log_snr_shift=0.0,
        target="v",
        weighting="min_snr",
        min_snr_gamma=5.0,
        cond_drop_prob=0.1,
        max_aug_level=0.2,
    )
    config = small_unet(memory_efficient=low_res_size is not None)
    with torch.random.fork_rng():
        torch.manual_seed(size)
        network = UNet(config, text_dim=encoder.text_dim, has_low_res=low_res_size is not None)
        torch.nn.init.normal_(network.last.weight, std=0.1)
    record = ModelRecord(
        name=name,
        image_size=size,
        low_res_size=low_res_size,
        unet=config,
        diffusion=diffusion,
        encoder=encoder,
        num_steps=0,
        data_sha256="0" * 64,
    )
    write_model(folder, record, network.state_dict())


def write_small_cascade(folder: Path, *, precision: Literal["fp32", "bf16"] = "fp32") -> Path:
    """Writes cascade.json, models/base (8 px), models/super (16 px) and text_encoder/."""
    encoder_folder = folder / "text_encoder"
    encoder_folder.mkdir(parents=True)
    build_tiny(encoder_folder, CORPUS)
    files = hash_folder(encoder_folder, "tiny", None, "stored")
    write_record(encoder_folder, files)
    encoder = EncoderRecord(
        name="tiny",
        revision=files.revision,
        tokenizer_sha256=files.tokenizer_sha256,
        max_length=16,
        text_dim=files.text_dim,
        precision=precision,
        identity_sha256=files.identity_sha256,
    )
    write_small_model(folder / "models/base", "base", 8, None, encoder)
    write_small_model(folder / "models/super", "super", 16, 8, encoder)
    write_cascade_file(
        folder / "cascade.json", {"base": small_sampling(None, sampler="ddpm"), "super": small_sampling(0.1)}, encoder
    )
    return folder
