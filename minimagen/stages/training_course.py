"""The part of a training that every one of its processes has: network, data, and what a step is.

Writes nothing and tells nothing; the main process does that around it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from minimagen.config import TrainingConfig, UNetSection
from minimagen.datasets.captioned import Batch, CaptionedImages
from minimagen.saved_model import ModelRecord
from minimagen.seeding import batch_indices, derive_seed
from minimagen.stages.training_inputs import build_network
from minimagen.training.checkpoint import Beside, Resumed, load_newest
from minimagen.training.ema import Ema
from minimagen.training.faults import StateSpoilt, TrainingDiverged
from minimagen.training.interrupt import Interrupt
from minimagen.training.loop import StepReport, Task, TrainState, train
from minimagen.training.objective import Objective
from minimagen.training.optimizer import build_optimizer
from minimagen.training.ranks import Ranks
from minimagen.training.recovery import Quarantine, Recovery
from minimagen.training.warp import Warped


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The training went back."""

    why: str
    resumed: Resumed
    """Where to; step 0 is the start."""


@dataclass(frozen=True, slots=True)
class Course:
    """One U-Net's training in one process."""

    record: ModelRecord
    """What is trained; ``num_steps`` is the whole length."""
    objective: Objective
    state: TrainState
    training: CaptionedImages
    quarantine: Quarantine
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
        """Takes up the newest saved state of a folder, if there is one, and what is quarantined in it."""
        resumed = load_newest(states, self.state, scaler=self.accelerator.scaler, device=self.objective.device)
        if resumed is not None:
            self.quarantine.add(resumed.beside.quarantined)
        return resumed

    def steps(self) -> Iterator[StepReport]:
        """Trains up to the last step and yields after each."""
        return train(
            self.state,
            self._task(),
            config=self.config,
            num_steps=self.record.num_steps,
            accelerator=self.accelerator,
        )

    def recovering_steps(self, states: Path) -> Iterator[StepReport | RolledBack]:
        """Trains as ``steps`` does; what is not sound is skipped, or left behind by going back to the last saved state.

        Raises:
            TrainingDiverged: that did not help.
        """
        recovery = Recovery(self.config.save_every)
        while True:
            try:
                for report in self.steps():
                    if report.fault is not None and report.fault.is_of_samples:
                        self.quarantine.add(report.fault.sample_keys)
                    yield report
                    recovery.count(report)
                return
            except StateSpoilt as error:
                recovery.count_rollback(error)
                with self.ranks.main_first():
                    resumed = self.resume(states)
                if resumed is None:
                    self._start_afresh()
                yield RolledBack(str(error), Resumed(0, Beside()) if resumed is None else resumed)

    def follow(self, states: Path, interrupt: Interrupt) -> None:
        """Trains as long as the main process does, whose own loop decides what is due after each step.

        Raises:
            SystemExit: the training diverged, which the main process tells.
        """
        steps = self.recovering_steps(states)
        try:
            while not self.ranks.is_told_to_stop(interrupt) and next(steps, None) is not None:
                pass
        except TrainingDiverged as error:
            raise SystemExit(1) from error

    @torch.no_grad()
    def _start_afresh(self) -> None:
        """Puts the state before the first step in place."""
        first = dict(build_network(self.record, self.config).named_parameters())
        for name, parameter in self.state.network.named_parameters():
            parameter.copy_(first[name])
        self.state.ema.load(first)
        self.state.optimizer.state.clear()
        self.state.step = 0

    def _task(self) -> Task:
        objective, probability = self.objective, self.config.warp_prob
        if not probability:
            return Task(self._batch_of, objective.draw, objective.loss_under)
        warped = Warped(probability, objective.draw, objective.loss_under, objective.device)
        return Task(self._batch_of, warped.draw, warped.loss_of)

    def _batch_of(self, step: int, positions: slice) -> Batch:
        config = self.config
        indices = batch_indices(config.seed, step, config.batch_size, len(self.training))[positions]
        batch = self.training.batch(self.quarantine.replace(indices), seed=derive_seed(config.seed, "crops", step))
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
        quarantine=Quarantine(training.keys),
        ranks=ranks,
    )
