"""Training by the clock: the same pictures and captions for every system, drawn captions at each mark.

The clock counts what the process had of its processors, so that other work beside it takes nothing from a system; that
of training stands while pictures are drawn. What a system has learned is kept at each mark, so that hours can be had in
pieces. Knows neither peer; needs nothing but numpy and torch.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from torch import Tensor

DATA_FILE, LEARNER_FILE, PROGRESS_FILE = "data.npz", "learner.pt", "progress.pt"


@dataclass(frozen=True, slots=True)
class LearningTask:
    """What the driver asks of a system."""

    folder: str
    """Where the data lie, and where drawn pictures are put."""
    marks_s: tuple[float, ...]
    """Seconds of training by ``clock_s``, rising."""
    num_threads: int
    kept_folder: str
    """Where a system keeps what it has learned."""


@dataclass(frozen=True, slots=True)
class Learner:
    """What is asked of a peer."""

    step: Callable[[Tensor], None]
    """One step on the pictures of these positions."""
    draw: Callable[[], Tensor]
    """The asked captions, drawn, in [0, 1]."""
    save: Callable[[Path], None]
    """Writes weights, averages and the optimiser's state."""
    load: Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class LearningData:
    """Pictures uint8 (n, h, w, 3), token vectors float16 (n, tokens, width), which tokens are real; and the captions to
    draw, in the same form."""

    pixels: np.ndarray
    tokens: np.ndarray
    mask: np.ndarray
    asked_tokens: np.ndarray
    asked_mask: np.ndarray

    def images(self) -> Tensor:
        """Returns the pictures in [0, 1], channels first."""
        return torch.from_numpy(self.pixels).permute(0, 3, 1, 2).float() / 255

    def text(self) -> tuple[Tensor, Tensor]:
        """Returns the captions of the pictures."""
        return torch.from_numpy(self.tokens).float(), torch.from_numpy(self.mask)

    def asked(self) -> tuple[Tensor, Tensor]:
        """Returns the captions to draw."""
        return torch.from_numpy(self.asked_tokens).float(), torch.from_numpy(self.asked_mask)


def clock_s() -> float:
    """Returns how long this process has had its threads, in seconds: of one thread that never waits, the time."""
    return time.process_time() / torch.get_num_threads()


def read_task(text: str) -> LearningTask:
    """Reads a worker's argument."""
    values = json.loads(text)
    return LearningTask(**{**values, "marks_s": tuple(values["marks_s"])})


def read_data(folder: str) -> LearningData:
    """Reads what the driver wrote."""
    with np.load(Path(folder) / DATA_FILE, allow_pickle=False) as arrays:
        return LearningData(**{name: arrays[name] for name in arrays.files})


def save_drawn(folder: str, name: str, images: Tensor) -> str:
    """Writes pictures in [0, 1] as they are scored, and returns the file's name."""
    pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    path = Path(folder) / f"{name}.npy"
    np.save(path, pixels, allow_pickle=False)
    return path.name


def learn(
    output: TextIO, task: LearningTask, name: str, learner: Learner, *, num_pictures: int, batch_size: int
) -> None:
    """Trains on random batches to each mark, draws there and tells one line a mark.

    Goes on from the mark that was kept last, unless a mark before it is asked for.
    """
    generator = torch.Generator().manual_seed(0)
    kept = Path(task.kept_folder) / name
    train_s, num_steps = _take_up(kept, learner, generator, task.marks_s[0])
    for mark_s in task.marks_s:
        while train_s < mark_s:
            started_s = clock_s()
            learner.step(torch.randint(num_pictures, (batch_size,), generator=generator))
            train_s += clock_s() - started_s
            num_steps += 1
        progress = {"mark_s": mark_s, "train_s": train_s, "num_steps": num_steps}
        _keep(kept, learner, {**progress, "generator": generator.get_state()})
        started_s = clock_s()
        images = learner.draw()
        draw_s = clock_s() - started_s
        file = save_drawn(task.folder, f"{name}-{mark_s:g}", images)
        tell_mark(output, mark_s, train_s=train_s, num_steps=num_steps, draw_s=draw_s / len(images), file=file)


def _keep(kept: Path, learner: Learner, progress: dict[str, object]) -> None:
    """Keeps where a peer stands; a kill in between leaves nothing that is taken up."""
    kept.mkdir(parents=True, exist_ok=True)
    (kept / PROGRESS_FILE).unlink(missing_ok=True)
    learner.save(kept / LEARNER_FILE)
    torch.save({**progress, "torch": torch.get_rng_state()}, kept / PROGRESS_FILE)


def _take_up(kept: Path, learner: Learner, generator: torch.Generator, first_mark_s: float) -> tuple[float, int]:
    """Returns the seconds and steps that are behind a peer."""
    if not (kept / PROGRESS_FILE).exists():
        return 0.0, 0
    progress = torch.load(kept / PROGRESS_FILE, weights_only=True)
    if progress["mark_s"] > first_mark_s:
        return 0.0, 0
    learner.load(kept / LEARNER_FILE)
    generator.set_state(progress["generator"])
    torch.set_rng_state(progress["torch"])
    return progress["train_s"], progress["num_steps"]


def tell_mark(output: TextIO, mark_s: float, *, train_s: float, num_steps: int, draw_s: float, file: str) -> None:
    """Writes the line of one mark; ``draw_s`` is of one picture."""
    line = {"mark_s": mark_s, "train_s": train_s, "num_steps": num_steps, "draw_s": draw_s, "file": file}
    output.write(json.dumps(line) + "\n")
    output.flush()
