"""The memory that the training of a U-Net needs at least, and the refusal where there is less.

Allocates nothing: parameters are counted on torch's meta device. Does not know what a step computes: what layers keep
for the way back depends on batch and size, and comes on top.
"""

from dataclasses import dataclass

import torch

from minimagen.config import ConfigError, UNetSection
from minimagen.models.unet import UNet

STATE_BYTES = 20
"""Of a parameter: weight, gradient, two moments of AdamW and the average, each fp32."""
SAVING_BYTES = 12
"""Of a parameter, of the machine's memory: a file of tensors is put together there, where safetensors holds it three
times."""
REST_BYTES = 2**29
"""For all else: a small batch of pictures, and what libraries take at the first step."""
TEXT_DIM_COUNTED = 1
GIB = 2**30


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """What a training takes at least of the memory that its network is in, by all processes that share this memory."""

    state_bytes: int
    """Weights, gradients, moments and averages, of every process."""
    saving_bytes: int
    """While one process saves a state; 0 on a GPU, where that is not done."""
    rest_bytes: int

    @property
    def total_bytes(self) -> int:
        """All together."""
        return self.state_bytes + self.saving_bytes + self.rest_bytes


def memory_need(num_parameters: int, device: torch.device, *, num_processes: int = 1) -> MemoryNeed:
    """Returns what the training of a network needs on ``device``, which ``num_processes`` of its processes share."""
    saving_bytes = num_parameters * SAVING_BYTES if device.type == "cpu" else 0
    return MemoryNeed(num_processes * num_parameters * STATE_BYTES, saving_bytes, num_processes * REST_BYTES)


def count_parameters(section: UNetSection, *, text_dim: int) -> int:
    """Returns how many parameters a U-Net has."""
    with torch.device("meta"):
        network = UNet(section.unet, text_dim=text_dim, has_low_res=section.low_res_size is not None)
    return sum(parameter.numel() for parameter in network.parameters())


def check_memory(
    unet_name: str, section: UNetSection, device: torch.device, available: int | None, *, num_processes: int = 1
) -> None:
    """Makes sure that a U-Net can be trained in ``available`` bytes; None, as nobody knows, refuses nothing.

    The encoder's width is not asked for, so that this needs no file: one layer depends on it, which is counted for a
    width of 1 and makes too little of the whole to matter.

    Raises:
        ConfigError: it cannot; the line says what is needed for what, and what there is.
    """
    num_parameters = count_parameters(section, text_dim=TEXT_DIM_COUNTED)
    need = memory_need(num_parameters, device, num_processes=num_processes)
    if available is not None and need.total_bytes > available:
        parts = f"{gibibytes(need.state_bytes)} for weights, gradients, moments and averages"
        parts += f" in {num_processes} processes" if num_processes > 1 else ""
        if need.saving_bytes:
            parts += f", {gibibytes(need.saving_bytes)} to save them"
        raise ConfigError(
            f"params.yaml: unets.{unet_name}: its training needs {gibibytes(need.total_bytes)} of {device.type} memory "
            f"({parts}, {gibibytes(need.rest_bytes)} for the rest), {gibibytes(available)} are available: choose a "
            f"smaller unet.dim, or a larger machine"
        )


def check_room_to_save(unet_name: str, section: UNetSection, available: int | None) -> None:
    """Makes sure that the machine beside a GPU has the memory to save what is trained there.

    Raises:
        ConfigError: it has not.
    """
    needed = count_parameters(section, text_dim=TEXT_DIM_COUNTED) * SAVING_BYTES
    if available is not None and needed > available:
        raise ConfigError(
            f"params.yaml: unets.{unet_name}: saving its training needs {gibibytes(needed)} of the machine's memory "
            f"beside the GPU's, {gibibytes(available)} are available: choose a smaller unet.dim, or a larger machine"
        )


def gibibytes(num_bytes: int) -> str:
    """Returns a size as people read it."""
    return f"{num_bytes / GIB:,.1f} GiB"
