"""Numbers gone bad in a step: how they are met, and what is told of them. Knows no loop and decides nothing."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from minimagen.errors import UserError
from minimagen.soundness import is_sound

MAX_NAMED_SAMPLES = 8
STATE_PARTS = ("weights", "averages", "first moments", "second moments")


class StateSpoilt(UserError):
    """Weights, moments or averages can no longer be computed with; an earlier state has to take their place.

    ``step`` is the one that was not taken, from 1.
    """

    def __init__(self, step: int, parts: Sequence[str], why: str | None = None) -> None:
        """``why`` tells what spoilt the state where that is no part of it."""
        self.step = step
        whose = f"the {' and the '.join(parts)} are" if parts else "the state of another process is"
        self.what = why or f"{whose} not finite"
        super().__init__(f"step {step}: {self.what}")


class TrainingDiverged(UserError):
    """Losses or gradients are no longer finite, or the loss scale of fp16 has sunk below 1.

    ``step`` is the failing one, from 1; ``sample_keys`` are samples that belong to it.
    """

    def __init__(self, step: int, what: str, sample_keys: Sequence[str]) -> None:
        named = named_samples(sample_keys)
        super().__init__(
            f"step {step}: {what}{f'; samples {named}' if named else ''}: "
            f"lower training.learning_rate or lengthen warmup_steps, or look at what is special in these samples"
        )
        self.step, self.what, self.sample_keys = step, what, tuple(sample_keys)


def named_samples(keys: Sequence[str]) -> str:
    """Returns the names of samples, of the first few if there are many."""
    more = len(keys) - MAX_NAMED_SAMPLES
    return ", ".join(keys[:MAX_NAMED_SAMPLES]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a step changed nothing."""

    what: str
    sample_keys: tuple[str, ...]
    """The samples whose own numbers are not sound, or all of the batch where only the gradient is not."""
    is_of_samples: bool
    """Whether these samples are the cause."""


def state_norms(parameters: Sequence[nn.Parameter], optimizer: Optimizer, averages: Iterable[Tensor]) -> list[Tensor]:
    """Returns the L2 norms of the ``STATE_PARTS``, each as a scalar on the parameters' device."""
    weights = [parameter.detach() for parameter in parameters]
    slots = [optimizer.state[parameter] for parameter in parameters]
    moments = [[slot[name] for slot in slots if slot] for name in ("exp_avg", "exp_avg_sq")]
    return [
        torch.nn.utils.get_total_norm(tensors, foreach=True).to(weights[0].device)
        for tensors in (weights, list(averages), *moments)
    ]


def spoilt_parts(norms: Sequence[float]) -> list[str]:
    """Returns which of the ``STATE_PARTS`` are not sound, by the norms of ``state_norms``."""
    return [what for what, norm in zip(STATE_PARTS, norms, strict=True) if not is_sound(norm)]


def fault_of(
    losses: Sequence[float], grad_norm: float, keys: Callable[[], Sequence[str]], *, has_scaler: bool
) -> Fault | None:
    """Returns what is not sound about a step, None if nothing is.

    Args:
        losses: of each sample; NaN where the sample itself is not sound.
        keys: whose they are, asked for only if there is a fault.
        has_scaler: whether gradients of any size are the business of a loss scale (fp16).
    """
    if not all(map(is_sound, losses)):
        culprits = tuple(key for key, loss in zip(keys(), losses, strict=True) if not is_sound(loss))
        return Fault("the loss is not finite", culprits, is_of_samples=True)
    if has_scaler or is_sound(grad_norm):
        return None
    return Fault(f"the norm of the gradients is {grad_norm}", tuple(keys()), is_of_samples=False)
