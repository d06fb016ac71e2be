"""Worker: pictures drawn by this project's sampler, as many of its steps as are asked for.

    python -m benchmarks.sample_ours SETTING

A step of the measurement is one step of the sampler; the pictures of a batch count by the share of their steps done.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace

import torch

from benchmarks.course import demo_params, open_course, trained_model
from benchmarks.peer_side.case import Case, claim_output, read_case, serve
from benchmarks.peer_side.matrix_rate import DTYPES, count_flops, synchronize
from benchmarks.train_ours import random_pictures, section_of
from minimagen.config import SamplingConfig
from minimagen.diffusion.cascade import CascadeStage, sample_stage
from minimagen.pipeline import Cascade
from minimagen.shapes import Images
from minimagen.stages.device import device_from_environment

NUM_COUNTED = 25
"""Steps whose operations are counted: where guidance has an interval, not all are alike."""


@dataclass(frozen=True, slots=True)
class SampleSetting:
    """How pictures are drawn, and by which network."""

    case: Case
    sampler: str
    num_steps: int
    guidance_scale: float
    interval: tuple[float, float] | None = None
    """Diffusion times with guidance; None is all of them."""

    @property
    def num_threads(self) -> int:
        """Threads of the process."""
        return self.case.num_threads

    @property
    def precision(self) -> str:
        """Arithmetic of the network."""
        return self.case.precision

    def text(self) -> str:
        """Returns the setting as a worker's argument."""
        return json.dumps(asdict(replace(self, case=self.case)) | {"case": self.case.text()})


def read_setting(text: str) -> SampleSetting:
    """Reads what ``SampleSetting.text`` wrote."""
    values = json.loads(text)
    interval = values.pop("interval")
    return SampleSetting(
        **values | {"case": read_case(values["case"])}, interval=None if interval is None else tuple(interval)
    )


def main() -> None:
    """Answers the driver until it closes standard input."""
    output, setting = claim_output(), read_setting(sys.argv[1])
    torch.set_num_threads(setting.num_threads)
    device = torch.device(device_from_environment())
    stage = open_stage(setting, device)
    step = sampling_step(setting, stage, device)
    num_counted = min(setting.num_steps, NUM_COUNTED)
    flops = None if setting.case.compile else count_flops(lambda: [step() for _ in range(num_counted)]) / num_counted
    facts = {
        "flops": flops,
        "num_items": setting.case.batch_size / setting.num_steps,
        "num_evaluations": stage.settings.num_evaluations,
    }
    serve(output, facts, step)


def open_stage(setting: SampleSetting, device: torch.device) -> CascadeStage:
    """Builds the case's base U-Net, untrained, as a cascade of one stage."""
    case = setting.case
    # The weights are fp32 whatever the arithmetic, which is chosen around each step.
    section = section_of(replace(case, precision="fp32"), "base")
    course = open_course(section, random_pictures(case, case.base_px), name="base", num_steps=1, device=device)
    changes = {
        "sampler": setting.sampler,
        "num_steps": setting.num_steps,
        "guidance_scale": setting.guidance_scale,
        "guidance_interval": setting.interval,
    }
    document = demo_params().sampling["base"].model_dump() | changes
    cascade = Cascade({"base": trained_model(course)}, {"base": SamplingConfig(**document)}, device=device)
    stage = cascade.stages[0]
    network = course.state.network.eval()
    if case.channels_last or case.compile:
        fast = torch.compile(network) if case.compile else network
        stage = replace(stage, denoiser=replace(stage.denoiser, network=fast))
    return stage


def sampling_step(setting: SampleSetting, stage: CascadeStage, device: torch.device) -> Callable[[], None]:
    """Returns a function that makes the next step of a batch, of the next batch where one is finished."""
    case = setting.case
    batch = random_pictures(case, case.base_px).batch(range(case.batch_size), seed=0)
    text_embeds, text_mask = batch.text_embeds.to(device), batch.text_mask.to(device)

    def states() -> Iterator[Images]:
        while True:
            for state in sample_stage(stage, text_embeds, text_mask, seed=0, sample_ids=batch.keys):
                yield state.xt

    pictures, arithmetic = states(), _arithmetic(case.precision, device)

    def step() -> None:
        with torch.inference_mode(), arithmetic():
            next(pictures)
        synchronize(device)

    return step


def _arithmetic(precision: str, device: torch.device) -> Callable[[], AbstractContextManager]:
    if precision == "fp32":
        return nullcontext
    return lambda: torch.autocast(device.type, DTYPES[precision])


if __name__ == "__main__":
    main()
