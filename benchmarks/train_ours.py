"""Worker: whole training steps of this project, batches, average of weights and checks included.

    python -m benchmarks.train_ours CASE

Speaks as the peers' workers do, from this project's environment.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.course import Captioned, changed, demo_params, open_course
from benchmarks.peer_side.case import Case, claim_output, read_case, serve
from benchmarks.peer_side.matrix_rate import count_flops, synchronize
from minimagen.config import UNetSection
from minimagen.datasets.captioned import CaptionedImages
from minimagen.stages.device import device_from_environment
from minimagen.training.loop import StepReport

NUM_PICTURES = 64
MANY_STEPS = 10**6


def main() -> None:
    """Answers the driver until it closes standard input."""
    output, case = claim_output(), read_case(sys.argv[1])
    torch.set_num_threads(case.num_threads)
    device = torch.device(device_from_environment())
    step, num_parameters = training_step(case, device)
    facts = {
        "num_parameters": num_parameters,
        # Of a compiled network torch's counter sees nothing.
        "flops": None if case.compile else count_flops(step),
        "num_items": case.batch_size,
    }
    serve(output, facts, step)


def training_step(case: Case, device: torch.device) -> tuple[Callable[[], None], int]:
    """Returns a function that makes one step of each of the case's U-Nets, and how many parameters they have."""
    steps: list[Iterator[StepReport]] = []
    num_parameters = 0
    for stage in case.stages:
        section = section_of(case, stage)
        pictures = random_pictures(case, section.image_size)
        course = open_course(section, pictures, name=stage, num_steps=MANY_STEPS, device=device)
        steps.append(course.steps())
        num_parameters += sum(parameter.numel() for parameter in course.state.network.parameters())

    def step() -> None:
        with nullcontext() if case.fused_attention else sdpa_kernel(SDPBackend.MATH):
            for each in steps:
                next(each)
        synchronize(device)

    return step, num_parameters


def section_of(case: Case, stage: str) -> UNetSection:
    """Returns a U-Net of the original's structure: the super-resolution one halves the resolution first."""
    is_base = stage == "base"
    changes = {
        "image_size": case.base_px if is_base else case.super_px,
        "low_res_size": None if is_base else case.base_px,
        **{f"unet__{key}": value for key, value in case.structure(stage).items()},
        "unet__memory_efficient": not is_base,
        "unet__attn_heads": 8,
        "unet__attn_head_dim": 64,
        "unet__cond_dim": None,
        "unet__init_kernel_sizes": (3, 7, 15),
        "unet__num_null_tokens": case.num_null_tokens,
        "unet__final_skip": False,
        "training__batch_size": case.batch_size,
        "training__precision": case.precision,
        "training__execution__channels_last": case.channels_last,
        "training__execution__compile": case.compile,
        "training__execution__recompute": case.recompute,
    }
    return changed(demo_params().unets["base" if is_base else "super"], **changes)


def random_pictures(case: Case, size_px: int, *, num_pictures: int = NUM_PICTURES) -> CaptionedImages:
    """Draws pictures and captions that hold nothing to learn."""
    source = np.random.default_rng(0)
    pixels = source.integers(0, 256, (num_pictures, size_px, size_px, 3), dtype=np.uint8)
    tokens = source.standard_normal((num_pictures, case.num_tokens, case.text_dim), dtype=np.float32)
    return Captioned([f"caption {number}" for number in range(num_pictures)], list(pixels), list(tokens)).dataset()


if __name__ == "__main__":
    main()
