"""The gate lets a better cascade pass and nothing else, and says why; its bound holds at the stated level."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from scipy import stats

from minimagen.evaluation.gate import (
    Evaluation,
    NotComparableError,
    Rule,
    SampleScore,
    bootstrap_lower_bound,
    decide,
)
from minimagen.seeding import generator

METRICS = {"unets.super.psnr": 24.0, "unets.base.loss": 0.05, "alignment.joint": 0.9}
NUM_PAIRS, NUM_SAMPLES, SPREAD_DB = 100, 200, 1.0


def evaluation(scores: Mapping[str, float], *, method: str = "m", **metrics: float) -> Evaluation:
    samples = {key: SampleScore(f"caption {key}", f"picture {key}", {"base": score}) for key, score in scores.items()}
    return Evaluation(samples, method, METRICS | {key.replace("__", "."): value for key, value in metrics.items()})


def pair(number: int, true_gain: float) -> tuple[Evaluation, Evaluation]:
    """Returns a champion and a candidate whose scores differ by ``true_gain`` dB in the mean, and by chance."""
    draws = generator("synthetic pair", number)
    before = 20.0 + 3.0 * torch.randn(NUM_SAMPLES, generator=draws)
    noise = SPREAD_DB * torch.randn(NUM_SAMPLES, generator=draws)
    first, second = ({str(i): float(x) for i, x in enumerate(s)} for s in (before, before + true_gain + noise))
    return evaluation(first), evaluation(second)


def count_promoted(true_gain: float) -> int:
    rule = Rule(guards=(), num_resamples=5000)
    return sum(decide(*pair(number, true_gain), rule).is_promoted for number in range(NUM_PAIRS))


def test_of_100_pairs_none_without_a_sufficient_gain_is_promoted() -> None:
    # At a true gain of exactly min_gain the expectation is level * 100 = 0.1 wrong promotions.
    assert count_promoted(Rule().min_gain) == 0


def test_of_100_pairs_nearly_all_with_a_clear_gain_are_promoted() -> None:
    # Power by the normal law: the bound is 3.09 standard errors of 0.071 dB below the gain.
    expected = stats.norm.cdf((0.4 - Rule().min_gain) / (SPREAD_DB / NUM_SAMPLES**0.5) - stats.norm.ppf(0.999))
    assert expected == pytest.approx(0.97, abs=0.01)
    assert count_promoted(0.4) >= 90


@pytest.mark.parametrize("draw", [torch.randn, lambda *size, generator: torch.rand(*size, generator=generator) ** 3])
def test_bound_is_below_the_true_mean_as_often_as_stated(draw: Callable[..., torch.Tensor]) -> None:
    many = draw(200_000, generator=generator("truth")).double().mean().item()
    misses = 0
    for trial in range(300):
        gains = draw(40, generator=generator("trial", trial)).double()
        misses += bootstrap_lower_bound(gains, level=0.05, num_resamples=1000) > many
    assert misses <= stats.binom.ppf(1 - 1e-4, 300, 0.05)
    assert misses >= 3, "a bound that is never missed promotes nothing"


def test_bound_is_not_bold_on_few_samples() -> None:
    # The percentile bootstrap takes few samples' spread for the truth: it would be missed in 97 of 1,000 trials.
    trials = (torch.randn(6, generator=generator("few", trial), dtype=torch.float64) for trial in range(1000))
    misses = sum(bootstrap_lower_bound(gains, level=0.05, num_resamples=1000) > 0 for gains in trials)
    assert misses <= stats.binom.ppf(1 - 1e-4, 1000, 0.05)


def test_a_sure_gain_has_to_exceed_the_minimum() -> None:
    champion = evaluation({str(i): 20.0 for i in range(30)})
    better = {gain: evaluation({str(i): 20.0 + gain for i in range(30)}) for gain in (0.04, 0.06)}

    assert [decide(champion, one).is_promoted for one in better.values()] == [False, True]
    assert decide(champion, better[0.06], Rule(min_gain=0.1)).is_promoted is False


def test_bound_of_normal_gains_is_that_of_student() -> None:
    gains = torch.randn(400, generator=generator("student"), dtype=torch.float64) + 1.0

    bound = bootstrap_lower_bound(gains, level=0.01, num_resamples=20_000)

    error = gains.std().item() / 20
    assert bound == pytest.approx(gains.mean().item() - stats.t.ppf(0.99, 399) * error, abs=0.15 * error)


@pytest.mark.parametrize("gain", [0.0, 0.3])
def test_gains_that_are_all_the_same_are_their_own_bound(gain: float) -> None:
    assert bootstrap_lower_bound(torch.full((30,), gain, dtype=torch.float64), 0.001, 2000) == gain


def test_asked_again_it_says_the_same_whatever_the_order() -> None:
    champion, candidate = pair(0, 0.4)
    turned = replace(candidate, samples=dict(reversed([*candidate.samples.items()])))

    assert decide(champion, candidate) == decide(champion, candidate) == decide(champion, turned)


def test_the_answer_tells_gain_bound_and_reason() -> None:
    decision = decide(*pair(1, 0.5))

    assert decision.is_promoted
    assert decision.num_samples == NUM_SAMPLES
    assert 0.05 < decision.lower_bound < decision.gain == pytest.approx(0.5, abs=0.25)
    assert decision.reasons[0].endswith("above the 0.05 dB asked for")
    assert f"{decision.lower_bound:+.4f} dB" in decision.reasons[0]


@pytest.mark.parametrize(
    ("name", "held", "worse"),
    [("unets.super.psnr", 23.6, 23.4), ("unets.base.loss", 0.054, 0.056), ("alignment.joint", 0.86, 0.84)],
)
def test_a_guarded_metric_beyond_its_margin_stops_a_better_candidate(name: str, held: float, worse: float) -> None:
    champion, candidate = pair(2, 1.0)

    assert decide(champion, replace(candidate, metrics=METRICS | {name: held})).is_promoted
    decision = decide(champion, replace(candidate, metrics=METRICS | {name: worse}))

    assert not decision.is_promoted
    assert len(decision.reasons) == 2 and decision.reasons[1].startswith(f"{name} worsened from {METRICS[name]:.4g} to")


def test_a_guarded_metric_that_is_no_longer_measured_counts_as_worse() -> None:
    champion, candidate = pair(3, 1.0)
    metrics = {name: value for name, value in METRICS.items() if name != "alignment.joint"}

    decision = decide(champion, replace(candidate, metrics=metrics))

    assert decision.reasons[1:] == ("alignment.joint was 0.9 and is not measured now",)


def test_one_network_much_worse_is_not_bought_by_another_much_better() -> None:
    def both(base: float, upper: float) -> Evaluation:
        scores = {str(i): SampleScore("c", "p", {"base": base + i % 3, "super": upper}) for i in range(30)}
        return Evaluation(scores, "m", {})

    decision = decide(both(20.0, 20.0), both(19.0, 25.0))

    assert decision.lower_bound > 1.9 and not decision.is_promoted
    assert decision.reasons[1].startswith("unets.base.denoising worsened from 21 to 20")


def test_samples_that_only_one_has_are_left_out() -> None:
    champion = evaluation({str(i): 20.0 for i in range(40)})
    candidate = evaluation({str(i): 21.0 if i < 40 else 0.0 for i in range(10, 80)})

    decision = decide(champion, candidate)

    assert (decision.is_promoted, decision.num_samples, decision.gain) == (True, 30, pytest.approx(1.0))


def test_other_samples_are_refused() -> None:
    first, second = (evaluation({f"{name}{i}": 20.0 for i in range(40)}) for name in "ab")
    with pytest.raises(NotComparableError, match="0 samples were scored for both, expected 20"):
        decide(first, second)


@pytest.mark.parametrize(("field", "said"), [("caption", "became 'a lie'"), ("picture", "its picture is another one")])
def test_changed_captions_or_pictures_are_refused_with_an_example(field: str, said: str) -> None:
    champion, candidate = pair(4, 1.0)
    changed = {key: replace(sample, **{field: "a lie"}) for key, sample in candidate.samples.items()}

    with pytest.raises(NotComparableError, match=f"{NUM_SAMPLES} of these have another caption or picture.*{said}"):
        decide(champion, replace(candidate, samples=changed))

    few = {**candidate.samples} | {key: changed[key] for key in list(changed)[:5]}
    decision = decide(champion, replace(candidate, samples=few))
    assert (decision.num_samples, decision.num_changed) == (NUM_SAMPLES - 5, 5)


def test_another_way_of_scoring_and_other_networks_are_refused() -> None:
    champion, candidate = pair(5, 1.0)
    with pytest.raises(NotComparableError, match="scored as m and as other"):
        decide(champion, replace(candidate, method="other"))
    renamed = {key: replace(sample, by_unet={"top": 1.0}) for key, sample in candidate.samples.items()}
    with pytest.raises(NotComparableError, match="U-Nets are base, the candidate's top"):
        decide(champion, replace(candidate, samples=renamed))
