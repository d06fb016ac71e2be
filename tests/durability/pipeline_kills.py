"""One kill somewhere in a stage under DVC, and what came of it. Imports no pytest."""

import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from minimagen.stages.repair import heal
from tests.durability.toy_pipeline import (
    OUTS,
    Clean,
    Started,
    WarmDvc,
    has_begun,
    outs_of,
    start_cold,
    wait_for_command,
)

Target = Literal["dvc", "stage", "both"]
GONE_WITHIN_S = 5.0
_TARGETS: tuple[Target, ...] = ("dvc", "dvc", "stage", "both")
_LAST_FILES = {
    "data/raw/folder": "manifest.json",
    "data/curated": "manifest.json",
    "data/text_encoder": "encoder.json",
    "data/embeddings": "manifest.json",
    "data/models/base": "MANIFEST.json",
    "data/models/super": "MANIFEST.json",
    "data/checkpoints/base": "curves.csv",
    "data/checkpoints/super": "curves.csv",
    "data/eval": "metrics.json",
}
"""What a stage writes last into an out: where it is, the out is to be whole."""
_DVC_S = 4.0
"""Times 0.15 is about as long as a warm DVC takes to come to a stage's command."""
_SHELLS = ("/bin/sh", "/bin/bash")


@dataclass(frozen=True, slots=True)
class Kill:
    """What is killed, when, and how DVC is started."""

    stage: str
    target: Target
    after: float
    """Share of an undisturbed stage's time, from the start of its command; below 0 that of DVC before it."""
    is_cold: bool
    shell: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a kill left."""

    kill: Kill
    hit: str
    """How far it had come: "dvc" is before the stage's command, "nothing" where all had ended already."""
    gone_s: float
    """Until nothing was left that DVC had started; more than ``GONE_WITHIN_S`` is an orphan."""
    is_partial: bool
    """Whether an out was there that was neither absent, marked unfinished, nor the clean run's."""
    torn: list[str]
    """Which of DVC's own files `minimagen repair` healed, where DVC refused to run again before it."""
    code: int
    """Of the run after it."""
    is_equal: bool
    """Whether that run's outs were the clean run's."""

    @property
    def is_good(self) -> bool:
        """Whether all is as promised."""
        return self.gone_s <= GONE_WITHIN_S and not self.is_partial and self.code == 0 and self.is_equal


def draw_kills(number: int, num_cold: int, seed: int) -> list[Kill]:
    """Returns kills spread evenly over the stages, the first of them cold."""
    draws = random.Random(seed)
    stages = list(OUTS)
    return [
        Kill(stages[n % len(stages)], draws.choice(_TARGETS), draws.uniform(-0.15, 1.0), n < num_cold, _SHELLS[n % 2])
        for n in range(number)
    ]


def run_kill(kill: Kill, clean: Clean, warm: WarmDvc, root: Path, cold_s: float) -> Outcome:
    """Kills a stage in a copy of the project as it was before it, looks at what is left, and runs DVC again.

    Args:
        cold_s: about how long a stage takes whose Python has to start first, beyond the warm one's time.
    """
    clean.copy(kill.stage, root)
    for log in root.glob("*.log"):
        log.unlink()
    arguments = ("repro", "--single-item", kill.stage)
    started = start_cold(root, *arguments, shell_path=kill.shell) if kill.is_cold else warm.start(root, *arguments)
    if kill.after >= 0.0:
        wait_for_command(root, started)
        time.sleep(kill.after * (clean.stage_s[kill.stage] + (cold_s if kill.is_cold else 0.0)))
    else:
        time.sleep(-kill.after * (4 * cold_s if kill.is_cold else _DVC_S))
    family = _strike(started, kill.target)
    hit = "nothing" if not family else "stage" if has_begun(root) else "dvc"
    gone_s = _wait_until_gone(family)
    started.ended()
    is_partial = _has_partial_out(root, kill.stage, clean)
    code, torn = warm.start(root, *arguments).ended(), list[str]()
    # DVC writes dvc.lock and its rwlock in place and refuses a torn one: README tells to repair, and to run it again.
    if code != 0 and (torn := [line for line in heal(root) if "was torn" in line]):
        code = warm.start(root, *arguments).ended()
    return Outcome(kill, hit, gone_s, is_partial, torn, code, outs_of(root, kill.stage) == clean.outs[kill.stage])


def _strike(started: Started, target: Target) -> list[psutil.Process]:
    """Kills, and returns the processes that are to end now; none where all have ended."""
    try:
        family = started.process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    stages = [each for each in family if not _is_shell(each)]
    struck = [started.process] if target == "dvc" or not stages else stages
    for each in [started.process, *stages] if target == "both" else struck:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    return [started.process, *family]


def _is_shell(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.name() in ("sh", "bash", "dash")
    return False


def _wait_until_gone(family: Sequence[psutil.Process]) -> float:
    """Returns how many seconds it took, more than is allowed if something is left, which is then killed."""
    begun = time.monotonic()
    deadline = begun + GONE_WITHIN_S + 1.0
    left = list(family)
    while left and time.monotonic() < deadline:
        left = [each for each in left if _lives(each)]
        time.sleep(0.02)
    for each in left:
        each.kill()
    return time.monotonic() - begun


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _has_partial_out(root: Path, stage: str, clean: Clean) -> bool:
    """Whether an out that says it is finished is not the clean run's."""
    found = {path: content for path, content in outs_of(root, stage).items() if ".tmp-" not in path}
    for folder, last in _LAST_FILES.items():
        if f"{folder}/{last}" in found:
            mine, theirs = (_below(folder, files) for files in (found, clean.outs[stage]))
            if mine != theirs:
                return True
    return False


def _below(folder: str, files: Mapping[str, str]) -> dict[str, str]:
    return {path: content for path, content in files.items() if path.startswith(f"{folder}/")}
