"""Stage train: one U-Net, from the curated data and their embeddings to data/models/ and data/checkpoints/.

Running it again goes on where it stopped, however it stopped. What a training depends on names its run folder in
runs/train/; results are written once, at the end, and hold no clock and no speed.
"""

import logging
import os
import shutil
from contextlib import ExitStack, nullcontext
from pathlib import Path

import torch

from minimagen.config import ConfigError, Params
from minimagen.files import write_json
from minimagen.heap import keep_freed_blocks
from minimagen.sealed import remove_leftovers
from minimagen.stages.crash_loop import attempt
from minimagen.stages.device import device_from_environment
from minimagen.stages.launch import check_machine, open_ranks
from minimagen.stages.run_lock import run_lock, stage_lock
from minimagen.stages.training_course import Course, open_course
from minimagen.stages.training_follow_up import GRIDS, SNAPSHOTS
from minimagen.stages.training_inputs import TrainingInputs, read_inputs, set_threads
from minimagen.stages.training_outs import MODELS, publish
from minimagen.stages.training_session import STATES, Session
from minimagen.tracking.location import project_root
from minimagen.tracking.stage import TrackedStage, tracked_stage
from minimagen.training.checkpoint import num_states_to_come, state_bytes
from minimagen.training.cost import unet_cost
from minimagen.training.curves import read_curves
from minimagen.training.forecast import clock, estimate_seconds, forecast
from minimagen.training.interrupt import Interrupt, die_with_parent
from minimagen.training.loop import TrainState
from minimagen.training.ranks import Ranks
from minimagen.training.regularisation import advice

logger = logging.getLogger(__name__)

RUNS, PICTURES = Path("runs/train"), Path("runs/cache/pictures")
ATTEMPT_FILE = "attempt"
"""In a run folder: which step is being done, for the case that it fails."""


def run_train(params: Params, unet_name: str, root: Path = Path()) -> None:
    """Trains ``unets.<unet_name>`` to its end, or to the end of the step in which SIGTERM or SIGINT comes.

    Started by torchrun or `accelerate launch`, every process runs this; the main one alone writes.

    Raises:
        UserError: the parameters do not fit this machine or the data, the disk has no room, a stage before this one has
            not finished, its files have changed, no saved state is whole, or the training diverged.
        AlreadyRunningError: another process trains this U-Net.
        CrashLoopError: the same step has failed three times.
        OSError: the disk refused what cannot be done without.
        SystemExit: 143 or 130 after a signal, the state being saved.
    """
    config, device = params.unets[unet_name].training, torch.device(device_from_environment())
    check_machine(unet_name, config, device)
    set_threads()
    keep_freed_blocks()
    ranks = open_ranks(config, device)
    ranks.parts(config.batch_size, config.execution.accumulate)
    if ranks.num_processes > 1:
        die_with_parent()
    runs, pictures = (project_root(root) / folder for folder in (RUNS, PICTURES))
    with ExitStack() as held:
        interrupt = held.enter_context(Interrupt())
        with ranks.main_first():
            if ranks.is_main:
                held.enter_context(run_lock(stage_lock(project_root(root), "train", unet_name)))
            # The others give nothing up on their own: the main process is waiting for them by then.
            with interrupt.at_once() if ranks.is_main else nullcontext():
                inputs = read_inputs(params, unet_name, root, stage=Path(__file__), pictures=pictures)
        run_folder = runs / inputs.identity.folder_name
        if ranks.is_main:
            _train(params, inputs, root, run_folder, ranks, interrupt)
        else:
            _follow(inputs, run_folder, ranks, interrupt)
    ranks.accelerator.end_training()


def _train(
    params: Params, inputs: TrainingInputs, root: Path, run_folder: Path, ranks: Ranks, interrupt: Interrupt
) -> None:
    name, num_steps = inputs.record.name, inputs.record.num_steps
    with ExitStack() as held:
        with ranks.main_first():
            if os.environ.get("MINIMAGEN_FRESH") == "1":
                _set_aside(run_folder)
            tracked = held.enter_context(_track(params, inputs, root, run_folder))
            current = held.enter_context(attempt(run_folder / ATTEMPT_FILE))
            for folder in (run_folder, run_folder / GRIDS, run_folder / SNAPSHOTS):
                remove_leftovers(folder)
            session = Session(_open_course(inputs, ranks), inputs.held_out, tracked, interrupt)
            held.callback(_write_timings, run_folder / "timings.json", session)
            session.resume()
            _check_room(run_folder, session.course.state)
        if (num_left := num_steps - session.course.state.step) > 0:
            _advise(inputs, num_left / num_steps)
        session.run(current)
        exit_code = interrupt.exit_code
        with ranks.main_first():
            if exit_code is None:
                publish(session, root)
        if exit_code is not None:
            print(f"train {name}: saved after step {session.saved_step} of {num_steps}; run it again to go on")
            raise SystemExit(exit_code)
        curves, step = read_curves(tracked.journal.path), session.course.state.step
        tracked.finish(curves[step])
        speed = f"{session.timings()['images_per_s']} images/s" if session.num_steps_done else "none of them now"
        print(f"train {name}: {step} steps, {speed} -> {MODELS / name}")


def _follow(inputs: TrainingInputs, run_folder: Path, ranks: Ranks, interrupt: Interrupt) -> None:
    with ranks.main_first():
        course = _open_course(inputs, ranks)
        course.resume(run_folder / STATES)
    course.follow(run_folder / STATES, interrupt)
    with ranks.main_first():
        pass  # all is saved: a launcher kills the main process some time after the first of the others has ended
    if interrupt.exit_code is not None:
        raise SystemExit(interrupt.exit_code)


def _open_course(inputs: TrainingInputs, ranks: Ranks) -> Course:
    return open_course(inputs.record, inputs.section, inputs.training, ranks)


def _track(params: Params, inputs: TrainingInputs, root: Path, run_folder: Path) -> TrackedStage:
    tracked = tracked_stage(
        root,
        params,
        stage="train",
        name=inputs.record.name,
        run_folder=run_folder,
        fingerprint=inputs.identity.fingerprint,
        is_live=True,
    )
    tracked.params({"data_sha256": inputs.record.data_sha256, "num_train_images": len(inputs.training)})
    return tracked


def _advise(inputs: TrainingInputs, share_left: float) -> None:
    line = advice(len(inputs.training), inputs.section.unet.dropout)
    if line is not None:
        logger.info("unets.%s: %s", inputs.record.name, line)
    cost = unet_cost(inputs.section, inputs.record.encoder.text_dim)
    planned = forecast(
        inputs.record.name,
        inputs.section,
        num_parameters=cost.num_parameters,
        num_steps=inputs.record.num_steps,
        num_pictures=len(inputs.training),
    )
    seconds = share_left * estimate_seconds(
        cost.gflop_forward, planned.num_seen, inputs.record.num_steps, inputs.device
    )
    print(f"train {planned}; about {clock(seconds)} on this machine as it is now", flush=True)


def _check_room(run_folder: Path, state: TrainState) -> None:
    num_states = num_states_to_come(run_folder / STATES)
    needed, free = num_states * state_bytes(state), shutil.disk_usage(run_folder).free
    if free < needed:
        raise ConfigError(
            f"{run_folder}: {free / 1e9:.2f} GB are free, {num_states} saved states to come need {needed / 1e9:.2f} GB"
        )


def _write_timings(path: Path, session: Session) -> None:
    """Writes what this process spent; it is no reason to fail."""
    try:
        write_json(path, session.timings())
    except OSError as error:
        logger.warning("%s: not written: %s", path, error)


def _set_aside(run_folder: Path) -> None:
    if run_folder.exists():
        numbers = (run_folder.with_name(f"{run_folder.name}.aside-{number}") for number in range(1, 1000))
        target = next(path for path in numbers if not path.exists())
        run_folder.rename(target)
        logger.info("MINIMAGEN_FRESH: %s set aside as %s", run_folder, target.name)
