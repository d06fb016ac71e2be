"""The paper's run on this machine, by the clock: its main cascade on 16 pictures, then three captions drawn.

    python -m benchmarks.paper_run                  5,600 steps of batch 2 in bf16, for a GPU
    python -m benchmarks.paper_run --case small --steps 20 --precision fp32

Networks, batch and length are the paper's (its 396,565,638 parameters, 64 -> 128 px); the pictures and the caption
vectors, of T5-base's width, hold nothing to learn, since only time is measured. A step is one of `minimagen train`.
Drawing is 25 steps of DPM-Solver++(2M) and 15 for super-resolution, guidance 3.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.course import changed, demo_params, open_course, trained_model
from benchmarks.peer_side.case import Case
from benchmarks.peer_side.matrix_rate import synchronize
from benchmarks.peers import CASES
from benchmarks.tables import Cell, Report, describe_machine, show
from benchmarks.train_ours import random_pictures, section_of
from minimagen.config import SamplingConfig
from minimagen.pipeline import Cascade
from minimagen.saved_model import SavedModel
from minimagen.stages.device import device_from_environment

NUM_PICTURES, NUM_CAPTIONS, NUM_DRAWN = 16, 3, 3
NUM_WARMUP = 5
"""Steps that are not timed: the first ones load kernels."""
NUM_SAMPLER_STEPS = {"base": 25, "super": 15}
GUIDANCE_SCALE, COND_DROP_PROB = 3.0, 0.1


def train(case: Case, stage: str, num_steps: int, device: torch.device) -> tuple[SavedModel, dict[str, Cell]]:
    """Trains one U-Net and returns it with what that took."""
    section = changed(section_of(case, stage), diffusion__cond_drop_prob=COND_DROP_PROB)
    pictures = random_pictures(case, section.image_size, num_pictures=NUM_PICTURES)
    started_s = time.perf_counter()
    course = open_course(section, pictures, name=stage, num_steps=NUM_WARMUP + num_steps, device=device)
    steps = course.steps()
    for _ in range(NUM_WARMUP):
        next(steps)
    synchronize(device)
    ready_s = time.perf_counter()
    for _ in steps:
        pass
    synchronize(device)
    seconds = time.perf_counter() - ready_s
    row: dict[str, Cell] = {
        "part": f"train {stage}",
        "parameters": sum(parameter.numel() for parameter in course.state.network.parameters()),
        "steps": num_steps,
        "seconds": seconds,
        "steps/s": num_steps / seconds,
        "before, s": ready_s - started_s,
        "peak, GB": _peak_gb(device),
    }
    return trained_model(course), row


def draw(models: dict[str, SavedModel], case: Case, device: torch.device) -> list[dict[str, Cell]]:
    """Draws the captions several times and returns what each time took."""
    cascade = Cascade(models, {name: _sampling(name) for name in models}, device=device)
    batch = random_pictures(case, case.base_px).batch(range(NUM_CAPTIONS), seed=0)
    rows: list[dict[str, Cell]] = []
    for number in range(NUM_DRAWN):
        started_s = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=case.precision == "bf16"):
            cascade.draw(batch.text_embeds, batch.text_mask, seed=number, sample_ids=batch.keys)
        seconds = time.perf_counter() - started_s
        rows.append(
            {
                "part": f"draw {NUM_CAPTIONS} captions, time {number + 1}",
                "parameters": None,
                "steps": sum(NUM_SAMPLER_STEPS.values()),
                "seconds": seconds,
                "steps/s": sum(NUM_SAMPLER_STEPS.values()) / seconds,
                "before, s": None,
                "peak, GB": _peak_gb(device),
            }
        )
    return rows


def _sampling(name: str) -> SamplingConfig:
    changes = {
        "sampler": "dpmpp_2m",
        "num_steps": NUM_SAMPLER_STEPS[name],
        "guidance_scale": GUIDANCE_SCALE,
        "guidance_interval": None,
    }
    return SamplingConfig(**demo_params().sampling[name].model_dump() | changes)


def _peak_gb(device: torch.device) -> float | None:
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains both U-Nets, draws, and tells how long each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=tuple(CASES), default="paper-256", help="the networks")
    parser.add_argument("--steps", type=int, default=5600, help="of each U-Net")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", type=Path, help="write the table there as well")
    options = parser.parse_args(arguments)
    case = replace(
        CASES[options.case],
        batch_size=options.batch_size,
        precision=options.precision,
        channels_last=options.channels_last,
        compile=options.compile,
    )
    device, machine = torch.device(device_from_environment()), describe_machine()
    models: dict[str, SavedModel] = {}
    rows: list[dict[str, Cell]] = []
    for stage in ("base", "super"):
        models[stage], row = train(case, stage, options.steps, device)
        rows.append(row)
        print(", ".join(f"{name} {value}" for name, value in row.items()), file=sys.stderr, flush=True)
    rows += draw(models, case, device)
    title = f"The paper's run: {options.case}, batch {case.batch_size}, {case.precision}"
    show(Report(title, rows, (), machine), options.json)


if __name__ == "__main__":
    main()
