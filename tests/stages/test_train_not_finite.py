"""Numbers gone bad are met in their step and before its update, and the end is that of a run that never saw them."""

import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from minimagen.datasets.captioned import Batch, CaptionedImages
from minimagen.journal import read_journal
from minimagen.seeding import batch_indices
from minimagen.stages.train import run_train
from minimagen.stages.training_course import Course
from minimagen.training.checkpoint import verify_state
from minimagen.training.faults import TrainingDiverged
from minimagen.training.objective import Objective
from tests.stages.interrupted import edit_saved_state, stop_after, told_to_stop_in
from tests.stages.tiny_project import journalled, outs_of, run_folder, tiny_params, write_tiny_data
from tests.torture import TORTURE, TellTable

pytestmark = pytest.mark.usefixtures("quick_starts")
BAD = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "1e38": 1e38}
STEP = 6
"""In which a number goes bad, from 0; states are saved after 4, 8 and 12."""
POSITION = 1
"""Of the sample whose number goes bad, in its batch."""
SETTINGS = {
    "snapshot_epochs": [],
    "grid": {"every": 0, "num_captions": 1, "num_steps": 1, "guidance_scale": 2.0, "on_copying": "warn"},
}


class Spoiler:
    """Puts a bad number into a training, once, as the batch of a step is asked for or its loss is computed."""

    def __init__(self, place: str, bad: float) -> None:
        self.place, self.bad = place, bad
        self.keys: tuple[str, ...] = ()
        """The batch of the step."""
        self._is_due = False

    def batch_of(self, real: Callable[[Course, int, slice], Batch]) -> Callable[[Course, int, slice], Batch]:
        def spoilt(course: Course, step: int, positions: slice) -> Batch:
            batch = real(course, step, positions)
            if step == STEP and not self.keys:
                self.keys, self._is_due = batch.keys, True
                self._spoil(course, batch)
            return batch

        return spoilt

    def loss_under(self, real: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def spoilt(*arguments: object) -> torch.Tensor:
            losses = real(*arguments)
            if self.place == "loss" and self._is_due:
                self._is_due = False
                return losses.index_put((torch.tensor(POSITION),), torch.tensor(self.bad))
            return losses

        return spoilt

    def _spoil(self, course: Course, batch: Batch) -> None:
        state = course.state
        weight = next(state.network.parameters())
        with torch.no_grad():
            if self.place == "pixel":
                batch.images[POSITION, 0, 0, 0] = self.bad
            elif self.place == "embedding":
                batch.text_embeds[POSITION, 0, 0] = self.bad
            elif self.place == "weight":
                weight.flatten()[0] = self.bad
            elif self.place == "second moment":
                state.optimizer.state[weight]["exp_avg_sq"].flatten()[0] = self.bad
            elif self.place == "average":
                next(iter(state.ema.tensors.values())).flatten()[0] = self.bad
        if self.place == "gradient":
            handle = weight.register_hook(lambda gradient: self._spoilt_gradient(gradient, handle))

    def _spoilt_gradient(self, gradient: torch.Tensor, handle: torch.utils.hooks.RemovableHandle) -> torch.Tensor:
        handle.remove()
        gradient = gradient.clone()
        gradient.flatten()[0] = self.bad
        return gradient


OF_SAMPLES, OF_GRADIENT = ("loss", "pixel", "embedding"), ("gradient",)
OF_STATE = ("weight", "second moment", "average")
PLACES = (*OF_SAMPLES, *OF_GRADIENT, *OF_STATE)
CASES = [(place, name) for place in PLACES for name in BAD]
SLICE = [("pixel", "1e38"), ("gradient", "inf"), ("average", "nan")]


def train_spoilt(root: Path, place: str, bad: float) -> Spoiler:
    spoiler = Spoiler(place, bad)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Course, "_batch_of", spoiler.batch_of(Course._batch_of))
        patch.setattr(Objective, "loss_under", spoiler.loss_under(Objective.loss_under))
        run_train(tiny_params(**SETTINGS), "base", root)
    return spoiler


def events(root: Path, name: str) -> list[tuple[int, dict[str, object]]]:
    entries = read_journal(run_folder(root) / "journal.jsonl")
    return [(entry.step, dict(entry.values)) for entry in entries if entry.values.get("event") == name]


def assert_all_is_finite(root: Path) -> None:
    files = sorted(root.glob("**/*.safetensors"))
    assert len(files) > 8
    assert not [path for path in files if any(not tensor.isfinite().all() for tensor in load_file(path).values())]


def keys_drawn(root: Path, settings: dict[str, Any], steps: range) -> tuple[str, ...]:
    """Returns what single-sample batches draw in some steps (from 0)."""
    section = tiny_params(**settings).unets["base"]
    data = CaptionedImages.load(
        root / "data/curated", root / "data/embeddings", split="train", size=8, crop="center", cache=None
    )
    seed = section.training.seed
    return tuple(data.keys[int(batch_indices(seed, step, 1, len(data)))] for step in steps)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("undisturbed")
    write_tiny_data(root)
    run_train(tiny_params(**SETTINGS), "base", root)
    return root


@pytest.fixture(scope="module")
def without_the_batch(tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[str, ...]], Path]:
    """A run that leaves out the batch of the step, and from then on the samples named."""
    made: dict[tuple[str, ...], Path] = {}

    def make(left_out: tuple[str, ...]) -> Path:
        if left_out not in made:
            root = made[left_out] = tmp_path_factory.mktemp("without")
            write_tiny_data(root)
            stop_after(root, STEP, tiny_params(**SETTINGS))
            edit_saved_state(run_folder(root), step=STEP + 1, left_out=left_out)
            run_train(tiny_params(**SETTINGS), "base", root)
        return made[left_out]

    return make


@pytest.mark.parametrize(("place", "name"), CASES if TORTURE else SLICE)
def test_a_bad_number_is_met_in_its_step_and_leaves_no_trace(
    tmp_path: Path,
    undisturbed: Path,
    without_the_batch: Callable[[tuple[str, ...]], Path],
    place: str,
    name: str,
    tell_table: TellTable,
) -> None:
    write_tiny_data(tmp_path)

    spoiler = train_spoilt(tmp_path, place, BAD[name])

    if place in OF_STATE:
        ((step, values),) = events(tmp_path, "rollback")
        assert step == 4 and str(values["why"]).startswith(f"step {STEP + 1}: the {place}s are not finite")
        expected, done = undisturbed, "went back to step 4, equal to the undisturbed run"
    else:
        ((step, values),) = events(tmp_path, "skip")
        left_out = (spoiler.keys[POSITION],) if place in OF_SAMPLES else ()
        assert step == STEP + 1
        assert values["samples"] == "\n".join(left_out or spoiler.keys)
        expected, done = without_the_batch(left_out), "skipped, equal to a run without the batch"
    assert outs_of(tmp_path) == outs_of(expected)
    assert journalled(tmp_path) == journalled(expected)
    assert_all_is_finite(tmp_path)
    head = ("place", "number", "met in", "done", "not finite in saved files")
    tell_table("Numbers gone bad", [head, (place, name, "its step, before the update", done, 0)])


def poison(patch: pytest.MonkeyPatch, keys: Collection[str], *, from_step: int) -> None:
    """Gives pictures NaN for good, but only from a step (from 0) on."""
    real = Course._batch_of

    def batch_of(course: Course, step: int, positions: slice) -> Batch:
        batch = real(course, step, positions)
        for position, key in enumerate(batch.keys):
            if key in keys and step >= from_step:
                batch.images[position] = math.nan
        return batch

    patch.setattr(Course, "_batch_of", batch_of)


def test_the_fourth_skipped_step_goes_back_and_the_samples_were_never_seen_since(tmp_path: Path) -> None:
    roots = [tmp_path / name for name in ("poisoned", "left out")]
    settings: dict[str, Any] = SETTINGS | {"batch_size": 1, "num_steps": 20, "save_every": 8}
    for root in roots:
        write_tiny_data(root)
    keys = keys_drawn(roots[0], settings, range(8, 12))

    with pytest.MonkeyPatch.context() as patch:
        poison(patch, keys, from_step=8)
        run_train(tiny_params(**settings), "base", roots[0])
    stop_after(roots[1], 8, tiny_params(**settings))
    edit_saved_state(run_folder(roots[1]), step=8, left_out=keys)
    run_train(tiny_params(**settings), "base", roots[1])

    ((step, values),) = events(roots[0], "rollback")
    assert step == 8 and set(str(values["left_out"]).split("\n")) == set(keys)
    assert outs_of(roots[0]) == outs_of(roots[1])
    assert journalled(roots[0]) == journalled(roots[1])


@pytest.mark.parametrize(("save_every", "saved_step"), [(8, 8), (100, 0)])
def test_a_signal_while_it_goes_back_loses_no_sample_that_is_left_out(
    tmp_path: Path, save_every: int, saved_step: int
) -> None:
    settings: dict[str, Any] = SETTINGS | {"batch_size": 1, "num_steps": 20, "save_every": save_every}
    write_tiny_data(tmp_path)
    keys = keys_drawn(tmp_path, settings, range(8, 12))

    with pytest.MonkeyPatch.context() as patch, told_to_stop_in("_go_back"):
        poison(patch, keys, from_step=8)
        run_train(tiny_params(**settings), "base", tmp_path)

    newest = verify_state(max((run_folder(tmp_path) / "states").iterdir()))
    assert newest.step == saved_step and set(newest.quarantined) == set(keys)
    run_train(tiny_params(**settings), "base", tmp_path)
    assert not events(tmp_path, "skip")


def test_without_a_saved_state_it_goes_back_to_the_start(tmp_path: Path, undisturbed: Path) -> None:
    write_tiny_data(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.stages.test_train_not_finite.STEP", 2)
        train_spoilt(tmp_path, "weight", math.nan)

    ((step, _),) = events(tmp_path, "rollback")
    assert step == 0
    assert outs_of(tmp_path) == outs_of(undisturbed)


def test_a_training_that_goes_bad_again_and_again_stops_and_keeps_its_last_state(tmp_path: Path) -> None:
    write_tiny_data(tmp_path)
    real = Course._batch_of

    def batch_of(course: Course, step: int, positions: slice) -> Batch:
        if step == STEP:
            with torch.no_grad():
                next(course.state.network.parameters()).fill_(math.inf)
        return real(course, step, positions)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(TrainingDiverged, match="3 times did not help"):
        patch.setattr(Course, "_batch_of", batch_of)
        run_train(tiny_params(**SETTINGS), "base", tmp_path)

    assert [path.name for path in (run_folder(tmp_path) / "states").iterdir()] == ["step-00000004"]
    assert [step for step, _ in events(tmp_path, "rollback")] == [4, 4, 4]
