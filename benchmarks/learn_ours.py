"""Worker: this project learns the demo's scenes by the demo's recipe, by the clock.

    python -m benchmarks.learn_ours TASK

The learning rate falls to the end of a training, so each mark is a training of its own, as long as its first steps say
that fits; those steps are on its clock too.
"""

import sys

import torch

from benchmarks.course import Captioned, changed, demo_params, open_course, trained_model
from benchmarks.peer_side.case import claim_output, tell
from benchmarks.peer_side.learning import LearningData, clock_s, read_data, read_task, save_drawn, tell_mark
from minimagen.config import Params
from minimagen.datasets.captioned import CaptionedImages
from minimagen.pipeline import Cascade
from minimagen.saved_model import SavedModel
from minimagen.stages.training_course import Course

NAME = "ours"
NUM_TRIED, NUM_WARMUP = 12, 2
"""Steps that say how many fit, and those of them that do not count."""
SHARE_PLANNED = 0.96
"""Of the time that is left, so that a machine that slows down a little does not cut the end off."""
CPU = torch.device("cpu")


def main() -> None:
    """Trains for every mark and draws there."""
    output, task = claim_output(), read_task(sys.argv[1])
    torch.set_num_threads(task.num_threads)
    data, params = read_data(task.folder), demo_params()
    training = dataset_of(data)
    course = _open(params, training, num_steps=1)
    num_parameters = sum(parameter.numel() for parameter in course.state.network.parameters())
    tell(output, {"num_parameters": num_parameters, "batch_size": params.unets["base"].training.batch_size})
    for mark_s in task.marks_s:
        started_s = clock_s()
        model, num_steps = train_for(params, training, mark_s)
        train_s = clock_s() - started_s
        started_s = clock_s()
        images = _draw(params, model, data)
        draw_s = (clock_s() - started_s) / len(images)
        file = save_drawn(task.folder, f"{NAME}-{mark_s:g}", (images + 1) / 2)
        tell_mark(output, mark_s, train_s=train_s, num_steps=num_steps, draw_s=draw_s, file=file)


def dataset_of(data: LearningData) -> CaptionedImages:
    """Returns the pictures and captions as training reads them."""
    tokens = [row[mask] for row, mask in zip(data.tokens, data.mask, strict=True)]
    return Captioned([""] * len(tokens), list(data.pixels), tokens).dataset()


def train_for(params: Params, training: CaptionedImages, seconds: float) -> tuple[SavedModel, int]:
    """Trains as long as fits and returns the averaged weights and the steps behind them."""
    started_s = clock_s()
    step_s = _seconds_a_step(params, training)
    left_s = seconds - (clock_s() - started_s)
    course = _open(params, training, num_steps=max(1, int(SHARE_PLANNED * left_s / step_s)))
    for _ in course.steps():
        if clock_s() - started_s > seconds:
            break
    return trained_model(course), course.state.step


def _seconds_a_step(params: Params, training: CaptionedImages) -> float:
    steps = _open(params, training, num_steps=NUM_TRIED).steps()
    for _ in range(NUM_WARMUP):
        next(steps)
    started_s = clock_s()
    num_timed = sum(1 for _ in steps)
    return (clock_s() - started_s) / num_timed


def _open(params: Params, training: CaptionedImages, *, num_steps: int) -> Course:
    section = changed(params.unets["base"], image_size=int(training.pictures.sizes[0][0]))
    return open_course(section, training, name="base", num_steps=num_steps, device=CPU)


def _draw(params: Params, model: SavedModel, data: LearningData) -> torch.Tensor:
    cascade = Cascade({"base": model}, {"base": params.sampling["base"]}, device=CPU)
    tokens, mask = data.asked()
    names = [f"asked {number}" for number in range(len(tokens))]
    return cascade.draw(tokens, mask, seed=0, sample_ids=names)["base"]


if __name__ == "__main__":
    main()
