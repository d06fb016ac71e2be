"""Training by the clock: the same pictures and captions for every system, drawn captions at each mark.

The clock of training stands while pictures are drawn. Knows neither peer; needs nothing but numpy and torch.
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

DATA_FILE = "data.npz"


@dataclass(frozen=True, slots=True)
class LearningTask:
    """What the driver asks of a system."""

    folder: str
    """Where the data lie, and where drawn pictures are put."""
    marks_s: tuple[float, ...]
    """Seconds of training, rising."""
    num_threads: int


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


def read_task(text: str) -> LearningTask:
    """Reads a worker's argument."""
    values = json.loads(text)
    return LearningTask(values["folder"], tuple(values["marks_s"]), values["num_threads"])


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
    output: TextIO,
    task: LearningTask,
    name: str,
    *,
    step: Callable[[Tensor], None],
    draw: Callable[[], Tensor],
    num_pictures: int,
    batch_size: int,
) -> None:
    """Trains on random batches to each mark, draws there and tells one line a mark."""
    generator = torch.Generator().manual_seed(0)
    train_s, num_steps = 0.0, 0
    for mark_s in task.marks_s:
        while train_s < mark_s:
            started_s = time.perf_counter()
            step(torch.randint(num_pictures, (batch_size,), generator=generator))
            train_s += time.perf_counter() - started_s
            num_steps += 1
        started_s = time.perf_counter()
        images = draw()
        draw_s = time.perf_counter() - started_s
        file = save_drawn(task.folder, f"{name}-{mark_s:g}", images)
        tell_mark(output, mark_s, train_s=train_s, num_steps=num_steps, draw_s=draw_s / len(images), file=file)


def tell_mark(output: TextIO, mark_s: float, *, train_s: float, num_steps: int, draw_s: float, file: str) -> None:
    """Writes the line of one mark; ``draw_s`` is of one picture."""
    line = {"mark_s": mark_s, "train_s": train_s, "num_steps": num_steps, "draw_s": draw_s, "file": file}
    output.write(json.dumps(line) + "\n")
    output.flush()
