"""Stage train: one U-Net, from the curated data and their embeddings to data/models/ and data/checkpoints/.

Running it again goes on where it stopped, however it stopped. What a training depends on names its run folder in
runs/train/; results are written once, at the end, and hold no clock and no speed.
"""

import logging
import os
import shutil
import sys
from pathlib import Path

from accelerate import Accelerator

from minimagen.config import ConfigError, Params
from minimagen.files import write_json
from minimagen.stages.run_lock import EXIT_CODE, AlreadyRunningError, run_lock
from minimagen.stages.training_inputs import TrainingInputs, build_network, read_inputs, set_threads
from minimagen.stages.training_outs import MODELS, publish
from minimagen.stages.training_session import Session
from minimagen.tracking.location import project_root
from minimagen.tracking.stage import TrackedStage, tracked_stage
from minimagen.training.checkpoint import state_bytes
from minimagen.training.curves import read_curves
from minimagen.training.ema import Ema
from minimagen.training.interrupt import Interrupt, die_with_parent
from minimagen.training.loop import TrainState
from minimagen.training.objective import Objective
from minimagen.training.optimizer import build_optimizer

logger = logging.getLogger(__name__)

RUNS, PICTURES = Path("runs/train"), Path("runs/cache/pictures")
NUM_STATES_OF_ROOM = 2
_MIXED_PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def run_train(params: Params, unet_name: str, root: Path = Path()) -> None:
    """Trains ``unets.<unet_name>`` to its end, or to the end of the step in which SIGTERM or SIGINT comes.

    Raises:
        ConfigError: the parameters do not fit this machine or the data, or the disk has no room.
        ValueError: a stage before this one has not finished, its files have changed, or no saved state is whole.
        TrainingDiverged: a loss or gradient is not finite; the message names step and samples.
        SystemExit: 143 or 130 after a signal, the state being saved; 75 if another process trains this U-Net.
    """
    if "DVC_STAGE" in os.environ:
        die_with_parent()
    set_threads()
    runs, pictures = (project_root(root) / folder for folder in (RUNS, PICTURES))
    try:
        with run_lock(runs / f"{unet_name}.lock"), Interrupt() as interrupt:
            inputs = read_inputs(params, unet_name, root, stage=Path(__file__), pictures=pictures)
            _train(params, inputs, root, runs / inputs.identity.folder_name, interrupt)
    except AlreadyRunningError as error:
        print(f"train {unet_name}: {error}", file=sys.stderr)
        raise SystemExit(EXIT_CODE) from error


def _train(params: Params, inputs: TrainingInputs, root: Path, run_folder: Path, interrupt: Interrupt) -> None:
    name, num_steps = inputs.record.name, inputs.record.num_steps
    if os.environ.get("MINIMAGEN_FRESH") == "1":
        _set_aside(run_folder)
    with tracked_stage(
        root,
        params,
        stage="train",
        name=name,
        run_folder=run_folder,
        fingerprint=inputs.identity.fingerprint,
        is_live=True,
    ) as tracked:
        tracked.params({"data_sha256": inputs.record.data_sha256, "num_train_images": len(inputs.training)})
        session = _open_session(inputs, tracked)
        try:
            session.resume()
            _check_room(run_folder, session.state)
            session.run(interrupt)
        finally:
            write_json(run_folder / "timings.json", session.timings())
        if interrupt.exit_code is not None:
            print(f"train {name}: saved after step {session.state.step} of {num_steps}; run it again to go on")
            raise SystemExit(interrupt.exit_code)
        publish(session, root)
        curves = read_curves(tracked.journal.path)
        tracked.finish(curves[num_steps])
        print(f"train {name}: {num_steps} steps, {session.timings()['images_per_s']} images/s -> {MODELS / name}")


def _open_session(inputs: TrainingInputs, tracked: TrackedStage) -> Session:
    config = inputs.section.training
    accelerator = Accelerator(cpu=inputs.device.type == "cpu", mixed_precision=_MIXED_PRECISION[config.precision])
    network = build_network(inputs.record, config.seed).to(accelerator.device)
    return Session(
        record=inputs.record,
        objective=Objective(inputs.section, accelerator.device),
        state=TrainState(network, build_optimizer(network, config), Ema(network)),
        training=inputs.training,
        held_out=inputs.held_out,
        accelerator=accelerator,
        tracked=tracked,
    )


def _check_room(run_folder: Path, state: TrainState) -> None:
    needed, free = NUM_STATES_OF_ROOM * state_bytes(state), shutil.disk_usage(run_folder).free
    if free < needed:
        raise ConfigError(
            f"{run_folder}: {free / 1e9:.2f} GB are free, {NUM_STATES_OF_ROOM} saved states need {needed / 1e9:.2f} GB"
        )


def _set_aside(run_folder: Path) -> None:
    if run_folder.exists():
        numbers = (run_folder.with_name(f"{run_folder.name}.aside-{number}") for number in range(1, 1000))
        target = next(path for path in numbers if not path.exists())
        run_folder.rename(target)
        logger.info("MINIMAGEN_FRESH: %s set aside as %s", run_folder, target.name)
