"""Worker: training steps of the demo's base U-Net, told in a journal after each step as a training tells every tenth.

    python -m benchmarks.track_ours FOLDER NUM_THREADS

Where its points go besides is the environment's: MINIMAGEN_TRACKING and MLFLOW_TRACKING_URI. Speaks as the peers'
workers do.
"""

import sys
from pathlib import Path

import torch

from benchmarks.course import demo_params, open_course
from benchmarks.peer_side.case import claim_output, serve
from benchmarks.peers import THE_CASE
from benchmarks.train_ours import MANY_STEPS, random_pictures
from minimagen.tracking.stage import tracked_stage


def main() -> None:
    """Answers the driver until it closes standard input."""
    output, params, root = claim_output(), demo_params(), Path(sys.argv[1])
    torch.set_num_threads(int(sys.argv[2]))
    section = params.unets["base"]
    pictures = random_pictures(THE_CASE, section.image_size)
    course = open_course(section, pictures, name="base", num_steps=MANY_STEPS, device=torch.device("cpu"))
    steps, folder = course.steps(), root / "runs/train/base-benchmark"
    with tracked_stage(
        root, params, stage="train", name="base", run_folder=folder, fingerprint="benchmark", is_live=True
    ) as tracked:

        def step() -> None:
            report = next(steps)
            values = {"train_loss": report.loss, "learning_rate": report.learning_rate, "grad_norm": report.grad_norm}
            tracked.metrics(report.step, values | {"num_images": report.num_images})

        serve(output, {"num_items": section.training.batch_size}, step)


if __name__ == "__main__":
    main()
