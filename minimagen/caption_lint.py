"""What is wrong with captions before any training: too short, all alike, not understood, cut off.

Knows counts, no tokenizer and no picture. A caption that says nothing teaches nothing, whatever the network.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

MIN_WORDS = 2
MAX_SHARE = 0.1
"""Share of captions with a fault from which on it is worth a word."""
MIN_DISTINCT_SHARE = 0.1
MAX_QUOTED_CHARS = 60


@dataclass(frozen=True, slots=True)
class CaptionLint:
    """What a check of all captions counted."""

    num_captions: int
    num_distinct: int
    num_short: int
    """Captions of a single word or none."""
    most_common: str
    num_most_common: int
    num_unknown: int
    """Captions half of whose tokens or more the text encoder does not know."""
    num_cut: int
    """Captions that lost their end, being too long."""

    def problems(self) -> list[str]:
        """Returns a sentence for each fault that is frequent."""
        total = self.num_captions
        if not total:
            return []
        found: list[str] = []
        if self.num_short > MAX_SHARE * total:
            found.append(f"{self.num_short} of {total} captions have fewer than {MIN_WORDS} words")
        if self.num_most_common > max(MAX_SHARE * total, 1):
            quoted = self.most_common[:MAX_QUOTED_CHARS]
            found.append(f"{self.num_most_common} of {total} captions are the same: {quoted!r}")
        elif self.num_distinct < MIN_DISTINCT_SHARE * total:
            found.append(f"{total} pictures have only {self.num_distinct} different captions: no others can be asked")
        if self.num_unknown > MAX_SHARE * total:
            found.append(f"{self.num_unknown} of {total} captions are mostly words that the text encoder does not know")
        if self.num_cut > MAX_SHARE * total:
            found.append(
                f"{self.num_cut} of {total} captions are longer than text_encoder.max_length and lost their end"
            )
        return found


def lint_captions(captions: Sequence[str], *, num_unknown: int, num_cut: int) -> CaptionLint:
    """Counts the faults of captions; what a tokenizer has to tell is told by the caller."""
    counts = Counter(captions)
    most_common, num_most_common = min(counts.items(), key=lambda item: (-item[1], item[0]), default=("", 0))
    return CaptionLint(
        num_captions=len(captions),
        num_distinct=len(counts),
        num_short=sum(len(caption.split()) < MIN_WORDS for caption in captions),
        most_common=most_common,
        num_most_common=num_most_common,
        num_unknown=num_unknown,
        num_cut=num_cut,
    )
