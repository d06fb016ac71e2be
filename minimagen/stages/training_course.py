"""The part of a training that every one of its processes has: network, data, and what a step is.

Writes nothing and tells nothing; the main process does that around it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from accelerate import Accelerator
from torch import nn

from minimagen.config import TrainingConfig, UNetSection
from minimagen.datasets.captioned import Batch, CaptionedImages
from minimagen.saved_model import ModelRecord
from minimagen.seeding import batch_indices, derive_seed
from minimagen.stages.training_inputs import build_network
from minimagen.training.checkpoint import Resumed, load_newest
from minimagen.training.ema import Ema
from minimagen.training.interrupt import Interrupt
from minimagen.training.loop import StepReport, Task, TrainingDiverged, TrainState, train
from minimagen.training.objective import Objective
from minimagen.training.optimizer import build_optimizer
from minimagen.training.ranks import Ranks
from minimagen.training.warp import Warped


@dataclass(frozen=True, slots=True)
class Course:
    """One U-Net's training in one process."""

    record: ModelRecord
    """What is trained; ``num_steps`` is the whole length."""
    objective: Objective
    state: TrainState
    training: CaptionedImages
    ranks: Ranks

    @property
    def config(self) -> TrainingConfig:
        """The training's section of the parameters."""
        return self.objective.section.training

    @property
    def accelerator(self) -> Accelerator:
        """Precision and device."""
        return self.ranks.accelerator

    def resume(self, states: Path) -> Resumed | None:
        """Takes up the newest saved state of a folder, if there is one."""
        return load_newest(states, self.state, scaler=self.accelerator.scaler, device=self.objective.device)

    def steps(self) -> Iterator[StepReport]:
        """Trains up to the last step and yields after each."""
        return train(
            self.state,
            self._task(),
            config=self.config,
            num_steps=self.record.num_steps,
            accelerator=self.accelerator,
        )

    def follow(self, interrupt: Interrupt) -> None:
        """Trains as long as the main process does, whose own loop decides what is due after each step.

        Raises:
            SystemExit: the training diverged, which the main process tells.
        """
        steps = self.steps()
        try:
            while not self.ranks.is_told_to_stop(interrupt) and next(steps, None) is not None:
                pass
        except TrainingDiverged as error:
            raise SystemExit(1) from error

    def _task(self) -> Task:
        objective, probability = self.objective, self.config.warp_prob
        if not probability:
            return Task(self._batch_of, objective.draw, objective.loss_under)
        warped = Warped(probability, objective.draw, objective.loss_under, objective.device)
        return Task(self._batch_of, warped.draw, warped.loss_of)

    def _batch_of(self, step: int, positions: slice) -> Batch:
        config = self.config
        indices = batch_indices(config.seed, step, config.batch_size, len(self.training))[positions]
        batch = self.training.batch(indices, seed=derive_seed(config.seed, "crops", step))
        return _with_text_of(batch, self.record.encoder.max_length) if config.execution.compile else batch


def _with_text_of(batch: Batch, num_tokens: int) -> Batch:
    """Pads captions to one length, so that every batch has the shapes that the network was compiled for."""
    missing = num_tokens - batch.text_mask.shape[1]
    text_embeds = nn.functional.pad(batch.text_embeds, (0, 0, 0, missing))
    return replace(batch, text_embeds=text_embeds, text_mask=nn.functional.pad(batch.text_mask, (0, missing)))


def open_course(record: ModelRecord, section: UNetSection, training: CaptionedImages, ranks: Ranks) -> Course:
    """Builds what is trained, on this process's device: network, optimiser and averages."""
    device = ranks.accelerator.device
    network = build_network(record, section.training).to(device)
    return Course(
        record=record,
        objective=Objective(section, device),
        state=TrainState(network, build_optimizer(network, section.training), Ema(network)),
        training=training,
        ranks=ranks,
    )
