"""Few bad steps are skipped, more lead back, and going back in vain ends the training; bad samples stay away."""

import pytest
import torch

from minimagen.errors import UserError
from minimagen.training.faults import Fault, StateSpoilt, TrainingDiverged
from minimagen.training.loop import StepReport
from minimagen.training.recovery import MAX_ROLLBACKS, MAX_SKIPS, Quarantine, Recovery

KEYS = [f"sample-{number}" for number in range(5)]


def report(step: int, *, is_bad: bool) -> StepReport:
    fault = Fault("the loss is not finite", ("sample-1",), is_of_samples=True) if is_bad else None
    return StepReport(step, 0.0, 0.0, 0.0, 1, is_skipped=False, fault=fault)


def test_three_steps_are_skipped_and_the_fourth_leads_back() -> None:
    recovery = Recovery(save_every=100)
    for step in (1, 5, 9):
        recovery.count(report(step, is_bad=True))
        recovery.count(report(step + 1, is_bad=False))

    with pytest.raises(StateSpoilt, match=f"step 20: the loss is not finite, after {MAX_SKIPS} skipped steps"):
        recovery.count(report(20, is_bad=True))


def test_a_save_after_the_last_bad_step_starts_the_count_again() -> None:
    recovery = Recovery(save_every=10)

    for start in range(1, 400, 10):
        for step in range(start, start + 10):
            recovery.count(report(step, is_bad=step - start < MAX_SKIPS))


def test_the_fourth_rollback_to_the_same_save_ends_the_training() -> None:
    recovery = Recovery(save_every=10)
    recovery.count(report(14, is_bad=True))
    for _ in range(MAX_ROLLBACKS):
        recovery.count_rollback(StateSpoilt(17, ["weights"]))
        recovery.count(report(10, is_bad=False))

    with pytest.raises(TrainingDiverged, match=r"step 17: the weights are not finite, and going back.*sample-1"):
        recovery.count_rollback(StateSpoilt(17, ["weights"]))


def test_a_quarantined_sample_is_replaced_by_the_next_one_that_is_not() -> None:
    quarantine = Quarantine(KEYS)
    indices = torch.tensor([0, 1, 4, 3, 2])
    assert torch.equal(quarantine.replace(indices), indices)

    quarantine.add(["sample-4", "sample-1", "sample-2", "unknown"])

    assert quarantine.names == ("sample-1", "sample-2", "sample-4")
    assert quarantine.replace(indices).tolist() == [0, 3, 0, 3, 3]
    assert quarantine.replace(indices).dtype == indices.dtype


def test_with_every_sample_in_quarantine_there_is_nothing_to_train_on() -> None:
    with pytest.raises(UserError, match="every one of 5 samples"):
        Quarantine(KEYS).add(KEYS)
