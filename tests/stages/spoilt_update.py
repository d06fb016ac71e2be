"""An update of a training that spoils what it changes, once.

Imports no pytest, so that the processes that tests start may use it.
"""

from collections.abc import Callable, Iterable

import torch
from torch import nn

from minimagen.training.ema import Ema

Update = Callable[[Ema, Iterable[nn.Parameter], float], None]


def spoiling_update(at_step: int, place: str, bad: float) -> Update:
    """Returns ``Ema.update``, which in one step (from 1) puts a number into the first "weight" or "average".

    For a training that goes on without a return before that step.
    """
    real, num_done = Ema.update, 0

    def update(ema: Ema, parameters: Iterable[nn.Parameter], decay: float) -> None:
        nonlocal num_done
        parameters = list(parameters)
        real(ema, parameters, decay)
        num_done += 1
        if num_done == at_step:
            spoilt = parameters[0] if place == "weight" else next(iter(ema.tensors.values()))
            with torch.no_grad():
                spoilt.flatten()[0] = bad

    return update
