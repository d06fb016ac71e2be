"""The processes that train one network together, and what they agree on; a process on its own is the case of one.

torchrun or `accelerate launch` starts them, accelerate connects them. The main process tells, measures and saves; the
others only compute. Knows no network, no loss and no file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from minimagen.config import ConfigError, ExecutionConfig
from minimagen.shapes import PerSample, SomeSamples
from minimagen.training.interrupt import Interrupt

_OVER = 1
"""Told between processes in place of an exit code; those are larger."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that train with it. Every method but the properties is called by all of them."""

    accelerator: Accelerator

    @property
    def num_processes(self) -> int:
        """Processes of this training."""
        return self.accelerator.num_processes

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that tells, measures and saves."""
        return self.accelerator.is_main_process

    def parts(self, batch_size: int, accumulate: int) -> list[slice]:
        """Returns the positions in a batch that this process works through, in ``accumulate`` parts.

        Raises:
            ConfigError: a part of some process would be empty.
        """
        if batch_size < self.num_processes * accumulate:
            raise ConfigError(
                f"batch_size {batch_size} is less than {self.num_processes * accumulate}: "
                f"{self.num_processes} processes with execution.accumulate {accumulate} parts each"
            )
        own = _split(slice(0, batch_size), self.num_processes)[self.accelerator.process_index]
        return _split(own, accumulate)

    def whole(self, part: SomeSamples, start: int, batch_size: int) -> PerSample:
        """Returns the numbers of all processes' samples in the order of the batch.

        Args:
            start: position of this process's first sample.
        """
        if self.num_processes == 1:
            return part
        placed = torch.zeros(batch_size, device=part.device)
        placed[start : start + len(part)] = part.float()
        return self.accelerator.reduce(placed, "sum")  # pyright: ignore[reportReturnType]

    def joined(self, names: list[str]) -> list[str]:
        """Returns the names of all processes, in their order."""
        return names if self.num_processes == 1 else gather_object(names)

    def any_of(self, flag: bool) -> bool:
        """Whether any process says yes."""
        if self.num_processes == 1:
            return flag
        own = torch.tensor([int(flag)], device=self.accelerator.device)
        return bool(self.accelerator.gather(own).any())  # pyright: ignore[reportAttributeAccessIssue]

    def is_told_to_stop(self, interrupt: Interrupt, *, is_over: bool = False) -> bool:
        """Whether any process was told to stop, which ``interrupt`` then knows in every one, or one says it is over.

        Args:
            is_over: what this process says.
        """
        if self.num_processes > 1:
            own = torch.tensor([interrupt.exit_code or int(is_over)], device=self.accelerator.device)
            code = int(self.accelerator.gather(own).max().item())  # pyright: ignore[reportAttributeAccessIssue]
            if code > _OVER:
                interrupt.exit_code = code
            is_over = code == _OVER
        return is_over or interrupt.exit_code is not None

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Lets the others into the block once the main process has left it.

        Raises:
            SystemExit: in the others, if the main process failed in it; that one tells why.
        """
        if not self.is_main and not self._heard(False):
            raise SystemExit(1)
        is_done = False
        try:
            yield
            is_done = True
        finally:
            if self.is_main:
                self._heard(is_done)

    def connect(self, network: nn.Module, execution: ExecutionConfig) -> nn.Module:
        """Returns the network as it is trained through: compiled if asked, its gradients averaged over processes.

        The weights stay the network's own, under their own names.
        """
        # Not accelerator.prepare: it rewrites forward in place, of the network that is averaged, validated and saved.
        connected: nn.Module = network
        if execution.compile:
            # Fixed shapes: with lengths left open, the code generator for CPUs of torch 2.13 fails.
            mode = self._compile_mode(execution)
            connected = torch.compile(network, dynamic=False, mode=mode)  # pyright: ignore[reportAssignmentType]
        return DistributedDataParallel(connected) if self.num_processes > 1 else connected

    def _compile_mode(self, execution: ExecutionConfig) -> str | None:
        """Returns how torch.compile is to launch what it compiled.

        A GPU replays its kernels as CUDA graphs, since launched one by one they take longer than they compute. Not
        where gradients outlive the part of a batch that they are of: a graph would write over them (pytorch issue
        169545).
        """
        is_one_part = self.num_processes == 1 and execution.accumulate == 1
        return "reduce-overhead" if self.accelerator.device.type == "cuda" and is_one_part else None

    def _heard(self, is_done: bool) -> bool:
        """What the main process says of its success."""
        return is_done if self.num_processes == 1 else broadcast_object_list([is_done])[0]


def _split(whole: slice, num_parts: int) -> list[slice]:
    """Cuts a slice into parts of sizes that differ by one at most."""
    size = whole.stop - whole.start
    cuts = [whole.start + size * number // num_parts for number in range(num_parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(cuts)]
