"""What a contestant of a comparison trains, and how it answers: shared by the workers of every environment.

Runs in environments that lack this project, hence nothing but the standard library is imported here. Knows no library
that is measured.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TextIO, TypeVar

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class Case:
    """One network and its batches, in words that every contestant understands."""

    stage: str
    """"base", "super", or "cascade" for both on each batch."""
    dim: int
    dim_mults: tuple[int, ...]
    num_resnet_blocks: tuple[int, ...]
    layer_attns: tuple[bool, ...]
    """Levels with self-attention, and with attention to the caption."""
    base_px: int
    super_px: int
    batch_size: int
    num_tokens: int
    """Tokens of every caption."""
    text_dim: int
    num_threads: int
    super_dim: int = 0
    """Of the super-resolution U-Net, as are the next two; nothing where it is built as the base is."""
    super_num_resnet_blocks: tuple[int, ...] = ()
    super_layer_attns: tuple[bool, ...] = ()
    num_null_tokens: int = 1
    """Of this project's network; the peers have 256."""
    fused_attention: bool = True
    """Of this project's network, as are the next four; else attention is computed as matrix products."""
    channels_last: bool = False
    precision: str = "fp32"
    compile: bool = False
    recompute: bool = False
    folder: str = ""
    """Where a worker finds files that the driver made for it."""

    @property
    def stages(self) -> tuple[str, ...]:
        """The U-Nets that are trained."""
        return ("base", "super") if self.stage == "cascade" else (self.stage,)

    def structure(self, stage: str) -> dict[str, object]:
        """Returns what a U-Net of the original is built with; imagen-pytorch has the same words."""
        is_super = stage == "super"
        layer_attns = (is_super and self.super_layer_attns) or self.layer_attns
        return {
            "dim": (is_super and self.super_dim) or self.dim,
            "dim_mults": self.dim_mults,
            "num_resnet_blocks": (is_super and self.super_num_resnet_blocks) or self.num_resnet_blocks,
            "layer_attns": layer_attns,
            "layer_cross_attns": layer_attns,
        }

    def text(self) -> str:
        """Returns the case as a worker's argument."""
        return json.dumps(asdict(self))


def read_case(text: str) -> Case:
    """Reads what ``Case.text`` wrote."""
    values = json.loads(text)
    return Case(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def claim_output() -> TextIO:
    """Returns standard output for answers alone; what libraries print goes to standard error from here on."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return own


def tell(output: TextIO, facts: Mapping[str, object]) -> None:
    """Writes one line of JSON."""
    output.write(json.dumps(facts) + "\n")
    output.flush()


def serve(output: TextIO, facts: Mapping[str, object], step: Callable[[], None], num_warmup: int = 2) -> None:
    """Warms up, says what is measured, then runs as many steps as each line of standard input asks for."""
    for _ in range(num_warmup):
        step()
    tell(output, facts)
    for line in sys.stdin:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            step()
        tell(output, {"wall_s": time.perf_counter() - wall_s, "cpu_s": time.process_time() - cpu_s})


def gated(output: TextIO, facts: Mapping[str, object], items: Iterator[ItemT], num_warmup: int = 2) -> Iterator[ItemT]:
    """As ``serve``, for a loop that cannot be called step by step: it gets its items only when they are asked for.

    What the loop does with an item is over when it asks for the next one, so a measurement holds both.
    """
    for _ in range(num_warmup):
        yield next(items)
    tell(output, facts)
    for line in sys.stdin:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            yield next(items)
        tell(output, {"wall_s": time.perf_counter() - wall_s, "cpu_s": time.process_time() - cpu_s})
