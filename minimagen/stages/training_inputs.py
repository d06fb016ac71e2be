"""What stage train starts from: data, network and the identity of the run, checked before any work.

Writes nothing.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from minimagen.config import ConfigError, Params, TrainingConfig, UNetSection
from minimagen.datasets.captioned import CaptionedImages, Split
from minimagen.embeddings import read_embedding_manifest
from minimagen.free_memory import free_bytes
from minimagen.models.unet import UNet
from minimagen.saved_model import EncoderRecord, ModelRecord
from minimagen.seeding import derive_seed
from minimagen.stages.device import device_from_environment
from minimagen.training.memory import check_memory, check_room_to_save
from minimagen.training.optimizer import count_steps, step_of_epoch
from minimagen.training.run_identity import RunIdentity, identify_run

CURATED, EMBEDDINGS = Path("data/curated"), Path("data/embeddings")


@dataclass(frozen=True, slots=True)
class TrainingInputs:
    """One U-Net's section of the parameters, the machine's device and the data it meets there."""

    section: UNetSection
    device: torch.device
    training: CaptionedImages
    held_out: CaptionedImages
    record: ModelRecord
    """What the training will have made; ``num_steps`` is its whole length."""
    identity: RunIdentity


def read_inputs(params: Params, unet_name: str, root: Path, *, stage: Path, pictures: Path) -> TrainingInputs:
    """Opens and checks what training ``unets.<unet_name>`` needs.

    Args:
        stage: source file of the stage.
        pictures: folder for decoded pictures.

    Raises:
        ConfigError: the parameters do not fit this machine or the data.
        ValueError: a stage before this one has not finished, or its files have changed.
    """
    section, device = params.unets[unet_name], torch.device(device_from_environment())
    _check_room(unet_name, section, device)
    training, held_out = (_open_split(root, section, split, pictures) for split in ("train", "validation"))
    record = _record_of(unet_name, section, root, training)
    _check_snapshots(unet_name, section.training, len(training), record.num_steps)
    manifests = {"curated": root / CURATED / "manifest.json", "embeddings": root / EMBEDDINGS / "manifest.json"}
    identity = identify_run(unet_name, section, inputs=manifests, stage=stage, device=device)
    return TrainingInputs(section, device, training, held_out, record, identity)


def build_network(record: ModelRecord, config: TrainingConfig) -> UNet:
    """Returns a U-Net whose weights are a function of (seed, name): torch's initialisers know no other generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, "weights", record.name))
        network = UNet(
            record.unet,
            text_dim=record.encoder.text_dim,
            has_low_res=record.has_low_res,
            is_recomputing=config.execution.recompute,
        )
    layout = torch.channels_last if config.execution.channels_last else torch.preserve_format
    return network.to(memory_format=layout)  # pyright: ignore[reportCallIssue]


def set_threads() -> None:
    """Gives torch MINIMAGEN_THREADS threads where that is set.

    Raises:
        ConfigError: it is not a number from 1.
    """
    wanted = os.environ.get("MINIMAGEN_THREADS")
    if wanted is None:
        return
    if not wanted.isdigit() or int(wanted) < 1:
        raise ConfigError(f"environment: MINIMAGEN_THREADS is {wanted!r}, expected a number from 1")
    torch.set_num_threads(int(wanted))


def _check_room(unet_name: str, section: UNetSection, device: torch.device) -> None:
    """Refuses what this machine has no memory for; processes on CPUs share it, GPUs are their own."""
    is_cpu = device.type == "cpu"
    num_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if is_cpu else 1
    check_memory(unet_name, section, device, free_bytes(device), num_processes=num_processes)
    if not is_cpu:
        check_room_to_save(unet_name, section, free_bytes(torch.device("cpu")))


def _open_split(root: Path, section: UNetSection, split: Split, pictures: Path) -> CaptionedImages:
    is_fixed = split == "validation" and section.training.crop == "random"
    return CaptionedImages.load(
        root / CURATED,
        root / EMBEDDINGS,
        split=split,
        size=section.image_size,
        crop="center" if is_fixed else section.training.crop,
        crop_size=section.training.crop_size,
        cache=pictures,
    )


def _record_of(unet_name: str, section: UNetSection, root: Path, training: CaptionedImages) -> ModelRecord:
    manifest = read_embedding_manifest(root / EMBEDDINGS)
    encoder = EncoderRecord(
        name=manifest.encoder,
        revision=manifest.revision,
        tokenizer_sha256=manifest.tokenizer_sha256,
        max_length=manifest.max_length,
        text_dim=manifest.text_dim,
        precision=manifest.precision,
        identity_sha256=manifest.encoder_sha256,
    )
    return ModelRecord(
        name=unet_name,
        image_size=section.image_size,
        low_res_size=section.low_res_size,
        unet=section.unet,
        diffusion=section.diffusion,
        encoder=encoder,
        num_steps=count_steps(section.training, len(training)),
        data_sha256=training.data_sha256,
    )


def _check_snapshots(unet_name: str, config: TrainingConfig, num_samples: int, num_steps: int) -> None:
    for epoch in config.snapshot_epochs:
        step = step_of_epoch(epoch, config.batch_size, num_samples)
        if not 1 <= step <= num_steps:
            raise ConfigError(
                f"params.yaml: unets.{unet_name}.training.snapshot_epochs: epoch {epoch} ends at step {step}, "
                f"the training has steps 1 to {num_steps}"
            )
