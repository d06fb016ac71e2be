"""Whether a candidate may take the champion's place: a bound on its gain, sample by sample, and guardrails.

Pure: knows no file, no registry and no model, and its answer is a function of its arguments alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from minimagen.errors import UserError
from minimagen.seeding import generator

CHUNK = 1000


class NotComparableError(UserError):
    """Two evaluations have too little in common to be compared; the message says what differs, with an example."""


@dataclass(frozen=True, slots=True)
class SampleScore:
    """What an evaluation says of one held-out sample."""

    caption: str
    picture: str
    """Names the picture's content."""
    by_unet: Mapping[str, float]
    """Higher is better; dB."""

    @property
    def score(self) -> float:
        """The mean over the U-Nets."""
        return sum(self.by_unet.values()) / len(self.by_unet)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is known of a cascade when it comes to the gate."""

    samples: Mapping[str, SampleScore]
    """By the sample's key."""
    method: str
    """Names how samples were scored; scores of two methods cannot be compared."""
    metrics: Mapping[str, float]
    """metrics.json under dotted names."""


@dataclass(frozen=True, slots=True)
class Guard:
    """A metric that must not worsen by more than a margin."""

    suffix: str
    """Of the metric's dotted name."""
    margin: float
    is_relative: bool
    """Whether the margin is a share of the champion's value."""
    is_better_high: bool


GUARDS = (
    Guard(".denoising", margin=0.1, is_relative=False, is_better_high=True),
    Guard(".psnr", margin=0.5, is_relative=False, is_better_high=True),
    Guard(".loss", margin=0.1, is_relative=True, is_better_high=False),
    Guard("alignment.joint", margin=0.05, is_relative=False, is_better_high=True),
)
"""``<unet>.denoising`` (dB) is measured on the samples that both scored, the others each on its own held-out data."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a candidate has to show."""

    min_gain: float = 0.05
    """The lower bound of the gain has to exceed this; dB."""
    level: float = 0.001
    """Chance that a candidate which gains no more than ``min_gain`` is promoted all the same, at most."""
    min_samples: int = 20
    """Samples scored for both, at least."""
    min_share: float = 0.5
    """Those among the champion's, at least."""
    num_resamples: int = 20_000
    guards: Sequence[Guard] = GUARDS


@dataclass(frozen=True, slots=True)
class GuardResult:
    """A guarded metric of both."""

    name: str
    champion: float
    candidate: float | None
    """None where it was not measured, which counts as worse."""
    limit: float
    """The worst value allowed."""
    is_held: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's answer with its numbers."""

    is_promoted: bool
    reasons: tuple[str, ...]
    gain: float = 0.0
    """Mean of candidate minus champion over the samples of both; dB."""
    lower_bound: float = 0.0
    num_samples: int = 0
    num_changed: int = 0
    """Samples of both left out, as their caption or picture is another one now."""
    guards: tuple[GuardResult, ...] = field(default=())


def decide(champion: Evaluation, candidate: Evaluation, rule: Rule | None = None) -> Decision:
    """Compares two cascades on the samples that both hold out.

    Raises:
        NotComparableError: the samples, their captions or the way of scoring differ too much.
    """
    rule = rule or Rule()
    keys = _shared_keys(champion, candidate, rule)
    gains = torch.tensor(
        [candidate.samples[key].score - champion.samples[key].score for key in keys], dtype=torch.float64
    )
    lower_bound = bootstrap_lower_bound(gains, rule.level, rule.num_resamples)
    guards = tuple(_guard_results(champion, candidate, keys, rule.guards))
    failed = [_failure(guard) for guard in guards if not guard.is_held]
    bound = f"gain {gains.mean().item():+.4f} dB on {len(keys)} samples, lower bound {lower_bound:+.4f} dB"
    if lower_bound > rule.min_gain:
        first = f"{bound}, above the {rule.min_gain:g} dB asked for"
    else:
        first = f"{bound}, not above the {rule.min_gain:g} dB asked for"
    return Decision(
        is_promoted=lower_bound > rule.min_gain and not failed,
        reasons=(first, *failed),
        gain=gains.mean().item(),
        lower_bound=lower_bound,
        num_samples=len(keys),
        num_changed=len(_changed(champion, candidate)),
        guards=guards,
    )


def bootstrap_lower_bound(gains: torch.Tensor, level: float, num_resamples: int) -> float:
    """Returns a value that the true mean gain is below with probability ``level`` at most.

    The studentised bootstrap: mean - t* s / sqrt(n), t* the (1 - level) quantile over resamples of
    (mean* - mean) / (s* / sqrt(n)) (Efron & Tibshirani 1993, section 12.5). The percentile bootstrap is too bold on few
    samples.

    Args:
        gains: one difference per sample, float64.

    Determinism: draws from a stream of its own, named by what it is for; equal gains give equal bounds.

    Raises:
        ValueError: there are not two samples.
    """
    n = len(gains)
    if n < 2:
        raise ValueError(f"a bound needs two samples at least, not {n}")
    draws = generator("gate", n)
    mean, error = gains.mean(), gains.std() / n**0.5
    parts: list[torch.Tensor] = []
    for start in range(0, num_resamples, CHUNK):
        size = min(CHUNK, num_resamples - start)
        resampled = gains[torch.randint(n, (size, n), generator=draws)]
        shift, spread = resampled.mean(1) - mean, resampled.std(1) / n**0.5
        # A resample of one value repeated has no spread: it speaks for the widest bound, unless nothing varies at all.
        parts.append(torch.where(spread > 0, shift / spread, torch.where(shift.abs() > 0, shift.sign() * 1e9, 0.0)))
    return (mean - torch.quantile(torch.cat(parts), 1 - level) * error).item()


def _shared_keys(champion: Evaluation, candidate: Evaluation, rule: Rule) -> list[str]:
    if champion.method != candidate.method:
        raise NotComparableError(f"samples were scored as {champion.method} and as {candidate.method}: evaluate again")
    shared = champion.samples.keys() & candidate.samples.keys()
    changed = _changed(champion, candidate)
    keys = sorted(shared - set(changed))
    wanted = max(rule.min_samples, round(rule.min_share * len(champion.samples)))
    if len(keys) < wanted:
        example = f"; {_difference(changed[0], champion, candidate)}" if changed else ""
        raise NotComparableError(
            f"{len(keys)} samples were scored for both, expected {wanted}: the champion has {len(champion.samples)}, "
            f"the candidate {len(candidate.samples)}, {len(shared)} of them are the same, and {len(changed)} of these "
            f"have another caption or picture now{example}"
        )
    unets = [tuple(sorted(one.samples[keys[0]].by_unet)) for one in (champion, candidate)]
    if unets[0] != unets[1]:
        raise NotComparableError(
            f"the champion's U-Nets are {', '.join(unets[0])}, the candidate's {', '.join(unets[1])}"
        )
    return keys


def _changed(champion: Evaluation, candidate: Evaluation) -> list[str]:
    return sorted(
        key
        for key in champion.samples.keys() & candidate.samples.keys()
        if (champion.samples[key].caption, champion.samples[key].picture)
        != (candidate.samples[key].caption, candidate.samples[key].picture)
    )


def _difference(key: str, champion: Evaluation, candidate: Evaluation) -> str:
    before, after = champion.samples[key], candidate.samples[key]
    if before.caption != after.caption:
        return f"{key}: caption {before.caption!r} became {after.caption!r}"
    return f"{key}: its picture is another one"


def _guard_results(
    champion: Evaluation, candidate: Evaluation, keys: Sequence[str], guards: Sequence[Guard]
) -> list[GuardResult]:
    before, after = (dict(one.metrics) | _mean_scores(one, keys) for one in (champion, candidate))
    return [
        _check(guard, name, value, after.get(name))
        for guard in guards
        for name, value in sorted(before.items())
        if name == guard.suffix or name.endswith(guard.suffix)
    ]


def _mean_scores(evaluation: Evaluation, keys: Sequence[str]) -> dict[str, float]:
    names = evaluation.samples[keys[0]].by_unet
    sums = {name: sum(evaluation.samples[key].by_unet[name] for key in keys) for name in names}
    return {f"unets.{name}.denoising": total / len(keys) for name, total in sums.items()}


def _check(guard: Guard, name: str, champion: float, candidate: float | None) -> GuardResult:
    margin = guard.margin * abs(champion) if guard.is_relative else guard.margin
    limit = champion - margin if guard.is_better_high else champion + margin
    is_held = candidate is not None and (candidate >= limit if guard.is_better_high else candidate <= limit)
    return GuardResult(name, champion, candidate, limit, is_held)


def _failure(guard: GuardResult) -> str:
    if guard.candidate is None:
        return f"{guard.name} was {guard.champion:.4g} and is not measured now"
    return (
        f"{guard.name} worsened from {guard.champion:.4g} to {guard.candidate:.4g}, beyond its limit {guard.limit:.4g}"
    )
