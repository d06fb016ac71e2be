"""Reasons are told where something is wrong, and only there."""

from dataclasses import replace

import pytest

from minimagen.evaluation.diagnosis import diagnose
from minimagen.evaluation.metrics import PairedInterval, share_of
from minimagen.evaluation.picture_verdict import Verdict
from minimagen.evaluation.results import Results, RetrievalResult
from tests.evaluation.made_up_results import made_up_results

CAUSES = {"shortfalls": ["base: 100 pictures seen"], "caption_problems": ["9 of 10 captions are the same"]}


def _reasons(results: Results, *, num_training_pictures: int = 1000, gap: float = 1.1) -> list[str]:
    return diagnose(results, num_training_pictures=num_training_pictures, loss_gaps={"base": gap}, **CAUSES)


def test_a_good_cascade_has_no_reason_whatever_the_warnings():
    assert _reasons(made_up_results()) == []


def test_noise_is_told_with_what_may_have_caused_it():
    results = made_up_results()
    assert results.features is not None
    noisy = replace(results, features=replace(results.features, look=Verdict("noise", 1.0, 1, 12)))

    reasons = _reasons(noisy)

    assert reasons[0].startswith("The drawn pictures are noise")
    assert reasons[1:] == [
        "It may have been too short: base: 100 pictures seen.",
        "The captions may be at fault: 9 of 10 captions are the same.",
    ]


def test_captions_that_are_not_followed_are_told_from_exact_scores_or_from_retrieval():
    results = made_up_results()
    assert results.alignment is not None and results.features is not None
    joint = replace(results.alignment.joint, share=share_of(0, 144))
    unscored = replace(results, alignment=None)
    guessing = RetrievalResult(share_of(15, 144), None, None, 10)

    exact = _reasons(replace(results, alignment=replace(results.alignment, joint=joint)))
    by_features = _reasons(replace(unscored, features=replace(results.features, retrieval=guessing)))

    assert "do not follow their captions (0 of 144" in exact[0]
    assert "do not follow their captions (15 of 144" in by_features[0]
    assert _reasons(unscored) == []


def test_a_stage_that_is_worse_than_enlarging_is_named():
    results = made_up_results()
    found = results.unets[1].super_resolution
    assert found is not None
    worse = replace(results.unets[1], super_resolution=replace(found, gain=PairedInterval(-1.0, -1.5, -0.5)))

    assert _reasons(replace(results, unets=(results.unets[0], worse)))[0].startswith("super makes pictures worse")


@pytest.mark.parametrize(("num_training_pictures", "is_told"), [(1000, True), (16, False)])
def test_copies_are_told_unless_few_pictures_are_to_be_learnt(num_training_pictures: int, is_told: bool):
    results = made_up_results()
    copying = replace(results.copying, copies=share_of(50, 144))

    reasons = _reasons(replace(results, copying=copying), num_training_pictures=num_training_pictures, gap=5.0)

    assert bool(reasons) == is_told
    if is_told:
        assert "50 of 144 drawn pictures are copies" in reasons[0]
        assert "base knows its training pictures 5.0 times as well" in reasons[1]
