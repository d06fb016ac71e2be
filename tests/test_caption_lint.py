"""Captions that teach little are told; good ones are not."""

import pytest

from minimagen.caption_lint import CaptionLint, lint_captions


def _problems(captions: list[str], *, num_unknown: int = 0, num_cut: int = 0) -> list[str]:
    return lint_captions(captions, num_unknown=num_unknown, num_cut=num_cut).problems()


GOOD = [f"a picture of thing {number}" for number in range(100)]


def test_good_captions_have_no_problem():
    assert _problems(GOOD, num_unknown=10, num_cut=10) == []


def test_renders_that_share_their_captions_are_no_problem():
    assert _problems([caption for caption in GOOD for _ in range(4)]) == []


@pytest.mark.parametrize(
    ("captions", "unknown", "cut", "message"),
    [
        (["red", "", *GOOD[:10]], 0, 0, "2 of 12 captions have fewer than 2 words"),
        (["a dog barks"] * 20 + GOOD, 0, 0, "20 of 120 captions are the same: 'a dog barks'"),
        (
            [f"kind {number % 12} of thing" for number in range(240)],
            0,
            0,
            "240 pictures have only 12 different captions",
        ),
        (GOOD, 11, 0, "11 of 100 captions are mostly words that the text encoder does not know"),
        (GOOD, 0, 11, "11 of 100 captions are longer than text_encoder.max_length"),
    ],
)
def test_each_fault_is_told_with_its_number(captions: list[str], unknown: int, cut: int, message: str):
    problems = _problems(captions, num_unknown=unknown, num_cut=cut)

    assert len(problems) == 1 and problems[0].startswith(message)


def test_counts_are_exact_and_no_captions_have_no_problem():
    assert lint_captions(["b", "a a", "b"], num_unknown=1, num_cut=0) == CaptionLint(3, 2, 2, "b", 2, 1, 0)
    assert _problems([]) == []
