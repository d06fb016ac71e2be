"""Walks a plan: one stage after another, or as many at once as the machine has accelerators.

How many that is says Prefect's concurrency limit `accelerator`, which all flows of a server share.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.futures import PrefectFuture, as_completed

from flows.cancellation import cancellation_ends_run
from flows.plan import ACCELERATOR, Outcome, Step, Walk
from flows.reproduce import ignore_signals, signals_raise, stop_stages
from flows.stages import pass_by, run_stage

_OUTCOMES: dict[str | None, Outcome] = {"Ran": "Ran", "RunCache": "RunCache", "UpToDate": "UpToDate"}


def walk(steps: Sequence[Step], root: Path, *, is_forced: bool = False) -> dict[str, Outcome]:
    """Does the steps of a plan; shows those that have nothing to do.

    Returns:
        What became of each stage.

    Raises:
        StageFailed: a stage failed; those that depend on it were not started.
    """
    way = Walk(steps, is_forced=is_forced)
    num_together = num_accelerators()
    with signals_raise(), cancellation_ends_run():
        if num_together == 1:
            _walk_alone(way, root, is_forced=is_forced)
        else:
            _walk_together(way, root, visible_devices(num_together), is_forced=is_forced)
    return way.outcomes


def num_accelerators() -> int:
    """Returns how many stages that keep an accelerator busy may run at once; 1 where nobody has said."""
    with get_client(sync_client=True) as client:
        try:
            return max(1, client.read_global_concurrency_limit_by_name(ACCELERATOR).limit)
        except ObjectNotFound:
            return 1


def visible_devices(num_together: int) -> list[str]:
    """Returns a value of CUDA_VISIBLE_DEVICES for each of the stages that run at once."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    devices = [name for name in chosen.split(",") if name] or [str(number) for number in range(num_together)]
    return [devices[number % len(devices)] for number in range(num_together)]


def _walk_alone(way: Walk, root: Path, *, is_forced: bool) -> None:
    """In the main thread, where a signal ends the stage at once."""
    while (step := way.take()) is not None:
        if way.has_to_run(step):
            accelerator = step.needs_accelerator
            state = run_stage(step.stage, root, is_forced=is_forced, needs_accelerator=accelerator, return_state=True)
        else:
            state = pass_by(step.stage, return_state=True)
        way.done(step.stage, _outcome(state))


def _walk_together(way: Walk, root: Path, devices: list[str], *, is_forced: bool) -> None:
    running: dict[PrefectFuture[State[None]], tuple[str, str]] = {}
    try:
        while True:
            while devices and (step := way.take()) is not None:
                device = devices.pop(0)
                if way.has_to_run(step):
                    future = run_stage.submit(
                        step.stage, root, is_forced=is_forced, needs_accelerator=step.needs_accelerator, device=device
                    )
                else:
                    future = pass_by.submit(step.stage)
                running[future] = (step.stage, device)
            if not running:
                return
            ended = next(as_completed(list(running)))
            ended.wait()  # its state is told late
            stage, device = running.pop(ended)
            devices.insert(0, device)
            way.done(stage, _outcome(ended.state))
    except BaseException as stop:
        if not isinstance(stop, Exception):
            ignore_signals()
            stop_stages()
        raise


def _outcome(state: State) -> Outcome:
    state.result()
    return _OUTCOMES[state.name]
