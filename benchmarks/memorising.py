"""Does the monitor tell a training that learns by heart from one that generalises, on its own?

    python -m benchmarks.memorising --seeds 0 1 2

The demo's base U-Net with the demo's recipe, once on all its training scenes and once on 16 of them, is watched as
`minimagen train` watches it: held-out and seen losses, the distance of drawn pictures to training pictures, the
verdict on the grid. Nothing tells the monitor which is which.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.course import changed, demo_params, open_course
from benchmarks.laboratory import device_here, held_out_positions
from benchmarks.scenes_data import SceneSplits, open_scenes
from benchmarks.tables import Cell, Report, describe_machine, show
from minimagen.datasets.captioned import Batch, CaptionedImages, Captions
from minimagen.datasets.pictures import pictures_in_memory
from minimagen.shapes import PerSample
from minimagen.stages.training_watch import Watch
from minimagen.training.curves import HELD_OUT_RATIO, NEAREST_RATIO, SEEN_LOSS, VALIDATION_LOSS
from minimagen.training.grid import draw_grid
from minimagen.training.objective import Draws

SIZE_PX = 16
NUM_FEW = 16
BASE = "base"


def few_of(training: CaptionedImages, num_pictures: int) -> CaptionedImages:
    """Returns the first pictures of different captions as a data set of their own."""
    places = list({caption: place for place, caption in enumerate(training.captions)}.values())[:num_pictures]
    return CaptionedImages(
        keys=[training.keys[place] for place in places],
        captions=[training.captions[place] for place in places],
        extras=[training.extras[place] for place in places],
        text_dim=training.text_dim,
        data_sha256="",
        crop="center",
        crop_size=None,
        pictures=pictures_in_memory(training.pictures.picture(place) for place in places),
        embeds=Captions(training.embeds.tokens, training.embeds.spans[places]),
    )


def watch_training(
    splits: SceneSplits, training: CaptionedImages, *, seed: int, num_steps: int, every: int
) -> Iterator[tuple[int, Mapping[str, float], str, bool]]:
    """Trains the demo's base and yields at each check: step, numbers, verdict, and whether it counts as copying."""
    section = changed(demo_params().unets[BASE], training__seed=seed)
    course = open_course(section, training, name=BASE, num_steps=num_steps, device=device_here())
    watch = Watch(course, splits.held_out)
    positions = held_out_positions(splits, section.training.grid.num_captions)
    for report in course.steps():
        if report.step % every == 0:
            network = course.state.ema.network

            def loss_under(batch: Batch, draws: Draws) -> PerSample:
                return course.objective.loss_under(network, batch, draws)  # noqa: B023

            with torch.inference_mode():
                losses = watch.losses(loss_under)
                grid = draw_grid(course.objective, network, splits.held_out.batch(positions, seed=seed))
                look = watch.look(grid)
            yield report.step, losses | look.metrics, look.text, look.is_copying


def _row(name: str, seed: int, step: int, found: Mapping[str, float], text: str, is_copying: bool) -> dict[str, Cell]:
    return {
        "training": name,
        "seed": seed,
        "step": step,
        "seen loss": f"{found[SEEN_LOSS]:.4f}",
        "held-out loss": f"{found[VALIDATION_LOSS]:.4f}",
        "gap": f"{found[VALIDATION_LOSS] / found[SEEN_LOSS]:.2f}",
        "nearest ratio": f"{found[NEAREST_RATIO]:.2f}",
        "of held-out": f"{found[HELD_OUT_RATIO]:.2f}",
        "copied": f"{found['grid/copied']:.2f}",
        "copies": "yes" if is_copying else "no",
        "verdict": text,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--only", choices=("few", "all"), help="one of the two trainings")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--every", type=int, default=150, help="steps between checks")
    parser.add_argument("--json", type=Path, help="write the table there as well")
    options = parser.parse_args(arguments)
    splits = open_scenes(demo_params(), SIZE_PX)
    data = {"few": few_of(splits.training, NUM_FEW), "all": splits.training}
    rows: list[dict[str, Cell]] = []
    for seed in options.seeds:
        for name, training in data.items():
            if options.only in (None, name):
                checks = watch_training(splits, training, seed=seed, num_steps=options.steps, every=options.every)
                for step, found, text, is_copying in checks:
                    rows.append(_row(f"{len(training)} pictures", seed, step, found, text, is_copying))
                    print(rows[-1], flush=True)
    show(Report("Learning by heart, or not", rows, (), describe_machine()), options.json)


if __name__ == "__main__":
    main()
